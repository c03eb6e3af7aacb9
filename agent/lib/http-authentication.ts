/**
 * What a server is told that asks who is there: Digest (RFC 7616: MD5 and SHA-256, `auth` or, as RFC 2069 has it, without quality of protection)
 * where it offers that, else Basic (RFC 7617).
 */
import { createHash } from 'node:crypto'

export interface Credentials {
  user: string
  password: string
}

export interface Request {
  method: string
  /** Path and query. */
  uri: string
  /** Requests with this challenge so far, this one counted. */
  count: number
  /** A nonce of the client's own. */
  cnonce: string
}

const hashes: Record<string, string> = { md5: 'md5', 'sha-256': 'sha256' }
/** Characters of a challenge that is answered. */
const longestChallenge = 4096

/** The Authorization header that answers a WWW-Authenticate header; null where it offers nothing that is known here. */
export function authorization(challenge: string, { user, password }: Credentials, request: Request): string | null {
  const offers = offersOf(challenge.slice(0, longestChallenge))
  // The strongest that is known; servers that follow the specification name it first.
  const digest = offers.find(({ scheme, values }) => scheme === 'digest' && hashOf(values) !== undefined)
  if (digest) return answer(digest.values, { user, password }, request)
  if (offers.some(({ scheme }) => scheme === 'basic')) return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  return null
}

type Values = Readonly<Record<string, string>>

function hashOf({ algorithm = 'MD5' }: Values): string | undefined {
  return hashes[algorithm.toLowerCase()]
}

/** A scheme, a value with its name, or a scheme before its first value. */
const schemeOrValue = /(?:([\w-]+)(?!\s*=)(?:\s+|$))?(?:([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?/g

/** `Digest realm="a", nonce="b", Basic realm="a"` → its schemes, each with its values. */
function offersOf(challenge: string): { scheme: string; values: Values }[] {
  const offers: { scheme: string; values: Record<string, string> }[] = []
  for (const [, scheme, name, quoted, bare] of challenge.matchAll(schemeOrValue)) {
    if (scheme !== undefined) offers.push({ scheme: scheme.toLowerCase(), values: {} })
    const last = offers.at(-1)
    if (last && name !== undefined) last.values[name.toLowerCase()] = quoted?.replaceAll(/\\(.)/g, '$1') ?? bare ?? ''
  }
  return offers
}

function answer(values: Values, { user, password }: Credentials, { method, uri, count, cnonce }: Request): string {
  const { realm = '', nonce = '', opaque, algorithm, qop } = values
  const hash = (...parts: string[]) => createHash(hashOf(values) ?? 'md5').update(parts.join(':')).digest('hex')
  const nc = count.toString(16).padStart(8, '0')
  const protection = qop === undefined ? [] : [nc, cnonce, 'auth']
  const response = hash(hash(user, realm, password), nonce, ...protection, hash(method, uri))
  const quoted = (text: string) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`
  return `Digest ${[
    `username=${quoted(user)}`, `realm=${quoted(realm)}`, `uri=${quoted(uri)}`, ...algorithm === undefined ? [] : [`algorithm=${algorithm}`],
    `nonce=${quoted(nonce)}`, ...qop === undefined ? [] : [`nc=${nc}`, `cnonce=${quoted(cnonce)}`, 'qop=auth'], `response="${response}"`,
    ...opaque === undefined ? [] : [`opaque=${quoted(opaque)}`],
  ].join(', ')}`
}
