/** The files of `mqtt.tls`: read at every try, as certificates are replaced while the agent runs, and judged as far as a box can. */
import type { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { PawlError } from '../errors.js'
import { certificatesIn, keyIn, subjectNameOf, timeOf, untimely, validityOf } from '../lib/certificates.js'

/** Files in PEM; "": none. */
export interface TlsFiles {
  /** Of who signed the broker's certificate; else those that the system trusts. */
  ca: string
  /** The box's own certificate and its key, where the broker wants one. They may be in one file. */
  cert: string
  key: string
}

export type TlsContents = Partial<Record<keyof TlsFiles, Buffer>>

const names = ['ca', 'cert', 'key'] as const
/** Of its life: what is left when a certificate is to be renewed. */
const renewedWhenLeft = 1 / 3

/**
 * A file that is named twice is read once: it may be replaced just then. Errors: CONFIG_INVALID, naming a file that cannot be read, and a key that
 * does not fit its certificate.
 */
export async function readTlsFiles(files: TlsFiles): Promise<TlsContents> {
  const paths = [...new Set(names.map(name => files[name]))].filter(path => path !== '')
  const read = new Map(await Promise.all(paths.map(async path => [path, await readFile(path).catch((cause: unknown) => {
    const name = names.find(each => files[each] === path) ?? 'ca'
    const denied = cause instanceof Error && 'code' in cause && cause.code === 'EACCES'
    throw new PawlError('CONFIG_INVALID', `mqtt.tls.${name} is "${path}", which cannot be read${denied ? ': give it to the user that the agent runs as' : ''}`, { cause })
  })] as const)))
  const contents = Object.fromEntries(names.flatMap(name => {
    const content = read.get(files[name])
    return content ? [[name, content]] : []
  })) as TlsContents
  checkPair(files, contents)
  return contents
}

/** What is wrong with certificates that can be read, or soon will be: each with its file, both times unless `clock` is false, and the fix. */
export function problemsOf(files: TlsFiles, { ca, cert }: TlsContents, nowMs: number, { clock = true } = {}): string[] {
  const authorities = ca ? readable(ca).map(certificate => untimely(certificate, { nowMs, clock, renewal: 'take the authority\'s new one' })) : []
  const own = cert ? readable(cert).slice(0, 1).map(certificate => ownProblem(certificate, nowMs, clock)) : []
  return [
    ...authorities.filter(problem => problem !== null).map(problem => `the authority in mqtt.tls.ca ("${files.ca}") ${problem}`),
    ...own.filter(problem => problem !== null).map(problem => `the certificate of this box ("${files.cert}") ${problem}`),
  ]
}

/** That a certificate has another name than its box, and the fix; null: they are one, or there is no certificate. */
export function misnamed(files: TlsFiles, { cert }: TlsContents, device: string): string | null {
  const [own] = cert ? readable(cert) : []
  const name = own && subjectNameOf(own)
  if (!own || name === device) return null
  const known = name ?? own.subject.replaceAll('\n', ', ')
  return `the certificate of this box ("${files.cert}") is for "${known}", and \`device\` is "${device}": the access list of a broker goes by the certificate; set \`device\` to "${known}", or have a certificate for "${device}" (pawl enroll --device ${device})`
}

function ownProblem(certificate: X509Certificate, nowMs: number, clock: boolean): string | null {
  const { fromMs, toMs } = validityOf(certificate)
  const isSoon = toMs - nowMs < renewedWhenLeft * (toMs - fromMs)
  const renewal = 'renew it (pawl enroll --renew)'
  return untimely(certificate, { nowMs, renewal, clock }) ?? (isSoon ? `ends at ${timeOf(toMs)}: ${renewal}` : null)
}

/** Errors: CONFIG_INVALID. */
function checkPair(files: TlsFiles, { cert, key }: TlsContents): void {
  if (!cert || !key) return
  const [own, ownKey] = [readable(cert)[0], keyIn(key.toString())]
  if (!own) throw new PawlError('CONFIG_INVALID', `mqtt.tls.cert is "${files.cert}", which holds no certificate in PEM`)
  if (!ownKey) throw new PawlError('CONFIG_INVALID', `mqtt.tls.key is "${files.key}", which holds no key in PEM without a passphrase`)
  if (!own.checkPrivateKey(ownKey)) throw new PawlError('CONFIG_INVALID', `mqtt.tls.key ("${files.key}") does not fit the certificate in mqtt.tls.cert ("${files.cert}"): put the two in place that belong together`)
}

function readable(pem: Buffer): X509Certificate[] {
  try {
    return certificatesIn(pem.toString())
  } catch {
    return []
  }
}
