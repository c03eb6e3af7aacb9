/** X.509 certificates as far as a box can judge them by itself. Node reads them; here is what to ask of them. */
import { createHash, createPrivateKey, createPublicKey, X509Certificate, type KeyObject } from 'node:crypto'

const pemCertificate = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** All in a text, in its order. Errors: one that cannot be read. */
export function certificatesIn(pem: string): X509Certificate[] {
  return [...pem.matchAll(pemCertificate)].map(([text]) => new X509Certificate(text))
}

/** The first key in a text; null: there is none that can be read without a passphrase. */
export function keyIn(pem: string): KeyObject | null {
  try {
    return createPrivateKey(pem)
  } catch {
    return null
  }
}

/** The subject's common name, whatever else the subject says: as brokers name whoever shows it. Null: it has none. */
export function subjectNameOf({ subject }: X509Certificate): string | null {
  return /^CN=([^\n]+)$/m.exec(subject)?.[1] ?? null
}

/** The common name, where the subject is that and nothing else; null: it is not. */
export function commonNameOf({ subject }: X509Certificate): string | null {
  return /^CN=([^\n]+)$/.exec(subject)?.[1] ?? null
}

const unknownSigner: ReadonlySet<unknown> = new Set([
  'SELF_SIGNED_CERT_IN_CHAIN', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
])

/** Whether a connection failed since nobody who is trusted signed the other side's certificate: that error, or what it is the cause of. */
export function isOfUnknownSigner(error: unknown): boolean {
  return error instanceof Error && (('code' in error && unknownSigner.has(error.code)) || isOfUnknownSigner(error.cause))
}

/** Milliseconds since 1970. */
export function validityOf({ validFrom, validTo }: { validFrom: string; validTo: string }): { fromMs: number; toMs: number } {
  return { fromMs: Date.parse(validFrom), toMs: Date.parse(validTo) }
}

export interface Untimeliness {
  nowMs: number
  /** What to do about one that ended. */
  renewal: string
  /** Whether to say what this box's clock says; not where that is told beside it, in what would be said anew each time. */
  clock?: boolean
}

/** Why a certificate does not count now, with both times, as one may be wrong, and the fix. Null: it counts. */
export function untimely(certificate: { validFrom: string; validTo: string }, { nowMs, renewal, clock = true }: Untimeliness): string | null {
  const { fromMs, toMs } = validityOf(certificate)
  const told = clock ? `, and the clock of this box says ${timeOf(nowMs)}` : ''
  if (nowMs < fromMs) return `begins at ${timeOf(fromMs)}${told}: set the clock, or let NTP do it`
  if (nowMs > toMs) return `ended at ${timeOf(toMs)}${told}: ${renewal}, or set the clock`
  return null
}

/** In UTC, to the second, as certificates tell it. */
export function timeOf(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z')
}

/** SHA-256 of the public key (its SubjectPublicKeyInfo in DER), in hexadecimal: what two people can compare over the telephone. */
export function fingerprintOf(key: KeyObject): string {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('hex')
}
