/** The key of the box (Ed25519), made at its first start: what it signs is known to be its own. */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { chmod, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isMissing, moveAside, writeDurably } from '../lib/durable.js'

export interface Identity {
  /** Holds the private key and every public key that the box ever had. */
  folder: string
  privateKey: KeyObject
  /** First 16 hexadecimal digits of the SHA-256 of the public key (SPKI, DER). */
  fingerprint: string
}

export interface IdentityOptions {
  folder: string
  nowMs: () => number
  /** Hears that there was a key which cannot be used; it is moved aside. */
  onLost: (problem: string) => void
}

/** Reads the key, or makes one where there is none or it cannot be read. */
export async function identityIn({ folder, nowMs, onLost }: IdentityOptions): Promise<Identity> {
  const path = join(folder, 'private.pem')
  const found = await readFile(path, 'utf8').then(privateKeyOf, (cause: unknown) => (isMissing(cause) ? 'missing' : 'unreadable'))
  if (typeof found !== 'string') {
    await chmod(path, 0o600)
    return { folder, privateKey: found, fingerprint: fingerprintOf(found) }
  }
  const aside = found === 'missing' ? null : await moveAside(path, nowMs())
  if (aside !== null) onLost(`${path}: it is no private key, or cannot be read; it is ${aside} now, and a new one is made: what it signs from now on tells so`)
  const { privateKey } = generateKeyPairSync('ed25519')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await writeDurably(join(folder, publicName(fingerprintOf(privateKey))), createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }))
  await writeDurably(path, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  return { folder, privateKey, fingerprint: fingerprintOf(privateKey) }
}

/** Null: there is no such key. */
export async function readPublicKey(folder: string, fingerprint: string): Promise<KeyObject | null> {
  if (!/^[0-9a-f]{16}$/.test(fingerprint)) return null
  const pem = await readFile(join(folder, publicName(fingerprint)), 'utf8').catch(() => null)
  try {
    const key = pem === null ? null : createPublicKey(pem)
    return key && fingerprintOf(key) === fingerprint ? key : null
  } catch {
    return null
  }
}

/** The key of a box that was started once, for people; null: there is none yet. Errors: a file that cannot be read, or is no key. */
export async function publicKeyIn(folder: string): Promise<{ pem: string; fingerprint: string } | null> {
  const text = await readFile(join(folder, 'private.pem'), 'utf8').catch((cause: unknown) => {
    if (isMissing(cause)) return null
    throw cause
  })
  if (text === null) return null
  const privateKey = createPrivateKey(text)
  return { pem: publicPemOf({ privateKey }), fingerprint: fingerprintOf(privateKey) }
}

/** As a person or a program gets it: SPKI in PEM. */
export function publicPemOf({ privateKey }: Pick<Identity, 'privateKey'>): string {
  return createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString()
}

const publicName = (fingerprint: string) => `${fingerprint}.public.pem`

/** First 16 hexadecimal digits of the SHA-256 of the public key (SPKI, DER). */
export function fingerprintOf(key: KeyObject): string {
  const own = key.type === 'private' ? createPublicKey(key) : key
  return createHash('sha256').update(own.export({ type: 'spki', format: 'der' })).digest('hex').slice(0, 16)
}

function privateKeyOf(pem: string): KeyObject | 'unreadable' {
  try {
    const key = createPrivateKey(pem)
    return key.asymmetricKeyType === 'ed25519' ? key : 'unreadable'
  } catch {
    return 'unreadable'
  }
}
