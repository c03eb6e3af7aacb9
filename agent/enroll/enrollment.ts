/**
 * How a box comes by its certificate: it makes a key, which never leaves it, and a request; the fleet's authority signs; the certificate is put in
 * place. In one folder:
 *
 *   <device>.pem         in use: certificate and key in one file, which mqtt.tls.cert and mqtt.tls.key both name
 *   <device>.new.key     a key that waits for its certificate
 *   <device>.csr         the request for it
 *   <device>.former.pem  what was in use before: to go back to by hand, should the broker not take the new one
 *
 * INVARIANTS
 * - Certificate and key change in one rename: whenever the power goes, the file in use holds two that fit.
 * - A waiting key goes only once the file in use holds it. The file in use changes only for a certificate that passed every check.
 */
import { generateKeyPairSync, type KeyObject, type X509Certificate } from 'node:crypto'
import { link, readFile, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { PawlError } from '../errors.js'
import { certificatesIn, commonNameOf, fingerprintOf, keyIn, timeOf, untimely, validityOf } from '../lib/certificates.js'
import type { Clock } from '../lib/clock.js'
import { isMissing, writeDurably } from '../lib/durable.js'
import { requestFor } from './request.js'

export interface EnrollmentOptions {
  /** Common name of the certificate. */
  device: string
  /** The file in use. */
  identity: string
  clock: Clock
}

/** Its owner alone may read it. */
const secret = 0o600
/** id-kp-clientAuth, RFC 5280. */
const clientUse = '1.3.6.1.5.5.7.3.2'

export class Enrollment {
  readonly identity: string
  readonly key: string
  readonly request: string
  readonly former: string
  private readonly device: string
  private readonly clock: Clock

  constructor({ device, identity, clock }: EnrollmentOptions) {
    const beside = (ending: string) => join(dirname(identity), `${device}.${ending}`)
    this.device = device
    this.clock = clock
    this.identity = identity
    this.key = beside('new.key')
    this.request = beside('csr')
    this.former = identity.replace(/(\.pem)?$/, '.former.pem')
  }

  /**
   * A key and the request for it; a key that waits already is kept, and its request made anew. Gives the fingerprint of the public key.
   * Errors: COMMAND_INVALID, where there is a certificate and it is not to be renewed, or none and it is.
   */
  async ask({ renew }: { renew: boolean }): Promise<{ fingerprint: string; isNew: boolean }> {
    const used = await this.inUse()
    if (used && !renew) throw new PawlError('COMMAND_INVALID', `${this.device} has a certificate until ${timeOf(validityOf(used.certificate).toMs)} in ${this.identity}; --renew asks for the next one`)
    if (!used && renew) throw new PawlError('COMMAND_INVALID', `there is nothing to renew in ${this.identity}; leave --renew out for a first certificate`)
    const waiting = await this.waitingKey()
    // A power cut after the certificate was put in place leaves its key here as well.
    const isNew = waiting === null || used?.certificate.checkPrivateKey(waiting) === true
    const key = isNew ? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey : waiting
    if (isNew) await written(this.key, key.export({ type: 'pkcs8', format: 'pem' }), secret)
    await written(this.request, await requestFor(this.device, key), 0o644)
    return { fingerprint: fingerprintOf(key), isNew }
  }

  /**
   * Puts a certificate in use, with the key that waits for it; `pem` may hold those between it and its authority behind it. Once more with the same
   * one changes nothing. Errors: COMMAND_INVALID, with what is wrong; what is in use stays.
   */
  async install({ pem, authority }: { pem: string; authority: string | null }): Promise<X509Certificate> {
    const chain = read(pem, 'the certificate')
    const certificate = chain[0] as X509Certificate
    const [used, key] = [await this.inUse(), await this.waitingKey()]
    if (used?.certificate.fingerprint256 === certificate.fingerprint256) {
      // A power cut came before this. Another key waits for the next one.
      if (key && certificate.checkPrivateKey(key)) await this.tidy()
      return certificate
    }
    if (!key) throw new PawlError('COMMAND_INVALID', `no key waits for a certificate in ${this.key}; make one with \`pawl enroll\`${used ? ' --renew' : ''}, and have its request signed`)
    const problem = certificate.checkPrivateKey(key) ? this.problemOf(certificate) ?? signatureProblem(chain, authority)
      : `is not for the key in ${this.key}, but for another; have ${this.request} signed`
    if (problem !== null) throw new PawlError('COMMAND_INVALID', `the certificate ${problem}; ${used ? 'the former one stays in use' : 'nothing was put in place'}`)
    if (used) await this.keepFormer()
    await written(this.identity, [...chain.map(String), key.export({ type: 'pkcs8', format: 'pem' })].join(''), secret)
    await this.tidy()
    return certificate
  }

  /** Null: none is. Errors: COMMAND_INVALID for a file that holds no certificate and key that fit. */
  private async inUse(): Promise<{ certificate: X509Certificate } | null> {
    const pem = await textOf(this.identity)
    if (pem === null) return null
    const [certificate] = read(pem, this.identity)
    const key = keyIn(pem)
    if (!certificate || !key || !certificate.checkPrivateKey(key)) throw new PawlError('COMMAND_INVALID', `${this.identity} does not hold a certificate and its key; move it away, or name another folder with --out`)
    return { certificate }
  }

  /** Null: there is none. Errors: COMMAND_INVALID. */
  private async waitingKey(): Promise<KeyObject | null> {
    const pem = await textOf(this.key)
    if (pem === null) return null
    const key = keyIn(pem)
    if (!key) throw new PawlError('COMMAND_INVALID', `${this.key} holds no key that can be read; remove it, and ask anew`)
    return key
  }

  private problemOf(certificate: X509Certificate): string | null {
    const name = commonNameOf(certificate)
    if (name !== this.device) return `is for ${name === null ? `"${certificate.subject.replaceAll('\n', ', ')}"` : `"${name}"`}, and this box is "${this.device}"; have ${this.request} signed`
    // Node calls the extended uses so. None named: any.
    const uses = certificate.keyUsage as string[] | undefined
    if (uses && !uses.includes(clientUse)) return 'is not for a client (extended key usage clientAuth); have it signed as one'
    return untimely(certificate, { nowMs: this.clock.nowMs(), renewal: `have ${this.request} signed anew` })
  }

  /** Under a second name, in one step; the first stays. */
  private async keepFormer(): Promise<void> {
    await rm(this.former, { force: true })
    await link(this.identity, this.former)
  }

  private async tidy(): Promise<void> {
    await rm(this.key, { force: true })
    await rm(this.request, { force: true })
  }
}

/** Whether each of the chain is signed by the next, and the last by the authority. Null: so it is, or no authority was given. */
function signatureProblem(chain: readonly X509Certificate[], authority: string | null): string | null {
  if (authority === null) return null
  const roots = read(authority, 'the authority')
  const trusted = (certificate: X509Certificate) => roots.some(root => isSignedBy(certificate, root))
  const isWhole = (index: number): boolean => {
    const [certificate, next] = [chain[index], chain[index + 1]]
    return certificate !== undefined && (trusted(certificate) || (next !== undefined && isSignedBy(certificate, next) && isWhole(index + 1)))
  }
  return isWhole(0) ? null : `was not signed by the authority that --ca names, but by "${chain[0]?.issuer.replaceAll('\n', ', ') ?? ''}"`
}

function isSignedBy(certificate: X509Certificate, by: X509Certificate): boolean {
  return by.ca && certificate.checkIssued(by) && certificate.verify(by.publicKey)
}

/** One or more. Errors: COMMAND_INVALID. */
function read(pem: string, what: string): X509Certificate[] {
  try {
    const certificates = certificatesIn(pem)
    if (certificates.length > 0) return certificates
  } catch (cause) {
    throw new PawlError('COMMAND_INVALID', `${what} cannot be read (${cause instanceof Error ? cause.message : String(cause)}); give a file in PEM`, { cause })
  }
  throw new PawlError('COMMAND_INVALID', `${what} holds no certificate; give a file in PEM`)
}

/** Null: there is no such file. Errors: COMMAND_INVALID. */
async function textOf(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    if (isMissing(cause)) return null
    throw new PawlError('COMMAND_INVALID', `${path} cannot be read (${cause instanceof Error ? cause.message : String(cause)}); run this as the user who owns it`, { cause })
  }
}

async function written(path: string, data: string | Buffer, mode: number): Promise<void> {
  try {
    await writeDurably(path, data, { mode })
  } catch (cause) {
    throw new PawlError('COMMAND_INVALID', `${basename(path)} cannot be written to ${dirname(path)} (${cause instanceof Error ? cause.message : String(cause)}); make room, or run this as the user who owns the folder`, { cause })
  }
}
