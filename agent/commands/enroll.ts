import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { identifier, loadConfig, type Config } from '../config.js'
import { Enrollment } from '../enroll/enrollment.js'
import { PawlError } from '../errors.js'
import { timeOf, validityOf } from '../lib/certificates.js'
import { systemClock } from '../lib/clock.js'
import { print, type OutputOptions } from './output.js'

interface EnrollOptions extends OutputOptions {
  config?: string | undefined
  device?: string | undefined
  out?: string | undefined
  renew: boolean
  install?: string | undefined
  ca?: string | undefined
}

/** Makes a key and its certificate request; with `install`, puts the certificate in place. Errors: COMMAND_INVALID, CONFIG_INVALID. */
export async function enroll({ config: file, device: named, out, renew, install, ca, ...options }: EnrollOptions): Promise<void> {
  if (install !== undefined && renew) throw new PawlError('COMMAND_INVALID', '--install puts in place what --renew has asked for; give one of them')
  if (install === undefined && ca !== undefined) throw new PawlError('COMMAND_INVALID', '--ca says who must have signed what --install puts in place; give both')
  const config = file === undefined ? null : await loadConfig(file)
  const device = deviceOf(named, config)
  const identity = out === undefined ? identityIn(config) : join(resolve(out), `${device}.pem`)
  const enrollment = new Enrollment({ device, identity, clock: systemClock })
  const again = [...file === undefined ? [`--device ${device}`] : [`--config ${file}`], ...out === undefined ? [] : [`--out ${out}`]].join(' ')

  if (install === undefined) {
    const { fingerprint, isNew } = await enrollment.ask({ renew })
    const { key, request } = enrollment
    print(options, { device, key, request, fingerprint, isNew }, [
      isNew ? `a new key is in ${key}; it stays on this box` : `the key that waits in ${key} is kept; remove it for a new one`,
      `its request is in ${request}; SHA-256 of its public key: ${fingerprint}`,
      `1. have it signed: deploy/broker/ca.sh sign${renew ? ' --renew' : ''} ${device}.csr ${device}   (where the fleet's authority is; compare the SHA-256)`,
      `2. put it in place: pawl enroll ${again} --install ${device}.crt --ca ca.crt`,
      ...renew ? [`until then ${identity} stays in use`] : [],
    ])
    return
  }
  const certificate = await enrollment.install({ pem: await pemOf('--install', install), authority: ca === undefined ? null : await pemOf('--ca', ca) })
  const { fromMs, toMs } = validityOf(certificate)
  const isNamed = config?.mqtt.tls.cert === identity && config.mqtt.tls.key === identity
  print(options, { device, identity, serial: certificate.serialNumber, fromMs, toMs }, [
    `${identity} is in use from the next connection on, until ${timeOf(toMs)}`,
    ...isNamed ? [] : ['name it in mqtt.tls.cert and in mqtt.tls.key'],
    'whether the broker takes it: pawl doctor',
  ])
}

/** Errors: COMMAND_INVALID. */
function deviceOf(named: string | undefined, config: Config | null): string {
  const device = named ?? config?.device
  if (device === undefined) throw new PawlError('COMMAND_INVALID', 'whose certificate? Give --device, or --config')
  if (config && device !== config.device) throw new PawlError('COMMAND_INVALID', `--device is "${device}", and device is "${config.device}" in the configuration; the certificate must have the name that the box reports under`)
  const problem = identifier.safeParse(device).error?.issues[0]?.message
  if (problem !== undefined) throw new PawlError('COMMAND_INVALID', `--device is "${device}": ${problem}`)
  return device
}

/** The one file that holds certificate and key. Errors: COMMAND_INVALID. */
function identityIn(config: Config | null): string {
  const { cert, key } = config?.mqtt.tls ?? { cert: '', key: '' }
  if (cert === '') throw new PawlError('COMMAND_INVALID', `where to? Give --out with a folder${config ? ', as mqtt.tls.cert names no file' : ''}`)
  if (cert !== key) throw new PawlError('COMMAND_INVALID', `mqtt.tls.cert and mqtt.tls.key are two files, "${cert}" and "${key}", which cannot be changed at once; give --out with a folder, and name the file that comes to be there in both`)
  return cert
}

/** Errors: COMMAND_INVALID. */
async function pemOf(option: string, file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause: unknown) => {
    throw new PawlError('COMMAND_INVALID', `${option} is "${file}", which cannot be read (${cause instanceof Error ? cause.message : String(cause)})`, { cause })
  })
}
