/**
 * Who may use the page. Without a password it answers on loopback alone, and only to a browser that asked for loopback by name: a page
 * elsewhere cannot reach it through a name of its own (DNS rebinding). With one, a session that a password opened.
 */
import { createHash, randomBytes, scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto'
import { promisify } from 'node:util'
import { PawlError } from '../errors.js'

const derive = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt)
/** OWASP's least for scrypt: 128 MiB would be too much beside a model, so as many rounds at 16 MiB. */
const cost = { N: 2 ** 14, r: 8, p: 5, maxmem: 64 * 2 ** 20 } as const
const [saltBytes, hashBytes] = [16, 32]
const leastPassword = 8
const sessionMs = 7 * 86_400_000
const mostSessions = 200
/** Wrong passwords of one address, and of all, within a minute. */
const tries = { each: 5, all: 50, withinMs: 60_000 } as const

/** `scrypt:<salt>:<hash>`, hexadecimal. Errors: COMMAND_INVALID for one that is too short. */
export async function hashOf(password: string): Promise<string> {
  if (password.length < leastPassword) throw new PawlError('COMMAND_INVALID', `a password needs ${String(leastPassword)} letters or more`)
  const salt = randomBytes(saltBytes)
  return `scrypt:${salt.toString('hex')}:${(await derive(password.normalize('NFKC'), salt, hashBytes, cost)).toString('hex')}`
}

async function matches(password: string, stored: string): Promise<boolean> {
  const [, salt = '', hash = ''] = stored.split(':')
  return timingSafeEqual(await derive(password.normalize('NFKC'), Buffer.from(salt, 'hex'), hashBytes, cost), Buffer.from(hash, 'hex'))
}

export function isHash(text: string): boolean {
  return new RegExp(`^scrypt:[0-9a-f]{${String(2 * saltBytes)}}:[0-9a-f]{${String(2 * hashBytes)}}$`).test(text)
}

export class Access {
  private readonly hash: string | null
  private readonly nowMs: () => number
  /** By the hash of their token. */
  private readonly sessions = new Map<string, Session>()
  /** Hash of the password that was right last, with a salt of this run: who sends it with every request need not wait each time. */
  private known: string | null = null
  private readonly salt = randomBytes(saltBytes)
  private failures: { from: string; atMs: number }[] = []

  /** `hash`: of the password; null: none is needed. `nowMs`: monotonic. */
  constructor({ hash, nowMs }: { hash: string | null; nowMs: () => number }) {
    this.hash = hash
    this.nowMs = nowMs
  }

  get needsPassword(): boolean {
    return this.hash !== null
  }

  /** Whether it is the password; 'later': there were too many wrong ones. */
  async verify(password: string, from: string): Promise<'right' | 'wrong' | 'later'> {
    const { hash } = this
    if (hash === null) return 'wrong'
    const nowMs = this.nowMs()
    this.failures = this.failures.filter(({ atMs }) => nowMs - atMs < tries.withinMs)
    if (this.failures.length >= tries.all || this.failures.filter(failure => failure.from === from).length >= tries.each) return 'later'
    const known = createHash('sha256').update(this.salt).update(password).digest('hex')
    if (known === this.known) return 'right'
    // Counted before it is known: many at once are no way around.
    const failure = { from, atMs: nowMs }
    this.failures.push(failure)
    if (!await matches(password, hash)) return 'wrong'
    this.failures = this.failures.filter(one => one !== failure)
    this.known = known
    return 'right'
  }

  /** The token of a new session; else why there is none. */
  async open(password: string, from: string): Promise<{ token: string } | 'wrong' | 'later'> {
    const verdict = await this.verify(password, from)
    if (verdict !== 'right') return verdict
    const [token, nowMs] = [randomBytes(32).toString('base64url'), this.nowMs()]
    const ended = [...this.sessions].filter(([, { endsAtMs }]) => endsAtMs < nowMs)
    const tooMany = [...this.sessions].slice(0, Math.max(0, this.sessions.size - ended.length - mostSessions + 1))
    for (const [old] of [...ended, ...tooMany]) this.end(old)
    const session = digest(token)
    const timer = setTimeout(() => { this.end(session) }, sessionMs).unref()
    this.sessions.set(session, { endsAtMs: nowMs + sessionMs, ending: new AbortController(), timer })
    return { token }
  }

  admits(token: string | undefined): boolean {
    if (this.hash === null) return true
    return token !== undefined && (this.sessions.get(digest(token))?.endsAtMs ?? 0) > this.nowMs()
  }

  /** Fires when a session is closed or has lasted its time: whoever still listens by it hears nothing more. */
  ending(token: string | undefined): AbortSignal {
    const session = token === undefined ? undefined : this.sessions.get(digest(token))
    return session?.ending.signal ?? never
  }

  close(token: string | undefined): void {
    if (token !== undefined) this.end(digest(token))
  }

  private end(session: string): void {
    const ended = this.sessions.get(session)
    if (!ended) return
    clearTimeout(ended.timer)
    ended.ending.abort()
    this.sessions.delete(session)
  }
}

interface Session {
  endsAtMs: number
  ending: AbortController
  timer: NodeJS.Timeout
}

/** Does not fire. */
const never = new AbortController().signal

/** Whether an address to listen on is this machine's own. */
export function isOwnAddress(address: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|::1)$/i.test(address)
}

/** Whether a Host header names this machine by a loopback name. */
export function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i.test(host)
}

function digest(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
