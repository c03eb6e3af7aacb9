/**
 * Requests to a registry, over which nothing is trusted but the way to it.
 *
 * INVARIANTS
 * - User, password and token go to the registry's own origin alone, and a password over TLS alone; its token service may have another port.
 * - Without TLS only loopback is spoken to, and from TLS nothing leads back to it; uploads are not redirected at all.
 * - Every answer has a bound of bytes and of time.
 */
import { request as requestHttp, type IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { PawlError } from '../errors.js'

export interface RegistryAccess {
  /** https://host[:port]; http:// on loopback alone. */
  registry: string
  /** "": nobody is named. */
  username: string
  /** Asked for when the registry wants it. Errors: CONFIG_INVALID. */
  password: () => Promise<string>
  /** PEM of who signed the registry's certificate, read for each request; null: who the system trusts. Errors: CONFIG_INVALID. */
  ca: () => Promise<Buffer | null>
}

export interface Asked {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE'
  /** Below the registry, or absolute on it. */
  path: string
  headers?: Record<string, string>
  /** Made anew for each try. */
  body?: { size: number; open: () => Readable }
  /** A GET may be answered from another place. */
  mayMove?: boolean
  /** Milliseconds for all of it. */
  withinMs?: number
  signal: AbortSignal
}

/** Without a byte for so long an answer counts as none, milliseconds. */
const idleMs = 30_000
/** For all of a request that carries no model. */
const shortMs = 60_000
const mostMoves = 3
const moved = new Set([301, 302, 303, 307, 308])
/** Bytes of the answer of a token service. */
const mostTokenBytes = 65_536

export class Requests {
  private readonly access: RegistryAccess
  private readonly base: URL
  /** What the registry took last. */
  private authorization: string | null = null

  constructor(access: RegistryAccess) {
    this.access = access
    this.base = new URL(access.registry)
  }

  /** An absolute URL that the registry itself answers. Errors: EXCHANGE_UNAVAILABLE for one elsewhere. */
  own(location: string): URL {
    const url = new URL(location, this.base)
    if (url.origin === this.base.origin) return url
    throw away(`${this.base.origin} sends uploads to ${url.origin}, which is not followed; give the registry its own address (its setting http.host)`)
  }

  /** The answer, its body not read yet, whatever its status but 401 and those that move it. Errors: EXCHANGE_UNAVAILABLE. */
  async send(asked: Asked): Promise<IncomingMessage> {
    const url = this.own(asked.path)
    const { authorization } = this
    const first = await this.once(asked, url, authorization)
    if (first.statusCode !== 401) return this.arrived(asked, url, first)
    const challenge = first.headers['www-authenticate'] ?? ''
    await discarded(first)
    this.authorization = await this.authorized(challenge, asked.signal)
    const second = await this.once(asked, url, this.authorization)
    if (second.statusCode !== 401) return this.arrived(asked, url, second)
    second.destroy()
    this.authorization = null
    throw away(`${this.base.origin} refuses ${this.access.username === '' ? 'whoever gives no name: set exchange.username' : `"${this.access.username}"`}; check exchange.username and its password`)
  }

  private async arrived(asked: Asked, from: URL, answer: IncomingMessage, moves = 0): Promise<IncomingMessage> {
    if (!moved.has(answer.statusCode ?? 0)) return answer
    answer.destroy()
    const location = answer.headers.location ?? ''
    const to = URL.canParse(location, from) ? new URL(location, from) : null
    if (!asked.mayMove || !to || moves >= mostMoves) throw away(`${from.origin} moves ${asked.method} to "${location.slice(0, 200)}", which is not followed`)
    if (to.protocol !== 'https:' && !(to.protocol === 'http:' && isLoopback(to) && this.base.protocol === 'http:')) {
      throw away(`${from.origin} moves to ${to.origin}, which is not https; it is not followed`)
    }
    return this.arrived(asked, to, await this.once(asked, to, null), moves + 1)
  }

  private async once(asked: Asked, url: URL, authorization: string | null): Promise<IncomingMessage> {
    const { method, headers = {}, body, withinMs = shortMs, signal } = asked
    // It speaks for the registry, not for where that sends to.
    const ca = url.hostname === this.base.hostname ? await this.access.ca() : null
    const own = url.origin === this.base.origin && authorization !== null ? { authorization } : {}
    const length = body || method === 'POST' || method === 'PUT' ? { 'content-length': String(body?.size ?? 0) } : {}
    const ends = AbortSignal.any([signal, AbortSignal.timeout(withinMs)])
    try {
      return await new Promise<IncomingMessage>((resolve, reject) => {
        const options = { method, headers: { ...headers, ...length, ...own }, signal: ends, agent: false }
        const request = url.protocol === 'https:' ? requestHttps(url, { ...options, ...ca && { ca } }) : requestHttp(url, options)
        request.setTimeout(idleMs, () => { request.destroy(new Error(`it said nothing for ${String(idleMs / 1000)} s`)) })
        request.on('response', resolve)
        request.on('error', reject)
        if (body) pipeline(body.open(), request).catch(reject)
        else request.end()
      })
    } catch (cause) {
      signal.throwIfAborted()
      throw away(`${url.origin} cannot be reached: ${messageOf(cause)}`, cause)
    }
  }

  /** What answers a challenge (RFC 9110, 11.6.1). Errors: EXCHANGE_UNAVAILABLE, CONFIG_INVALID for a password that cannot be read. */
  private async authorized(challenge: string, signal: AbortSignal): Promise<string> {
    const scheme = /^\s*([a-z]+)/i.exec(challenge)?.[1]?.toLowerCase()
    if (scheme === 'basic') {
      const basic = await this.basic()
      if (basic !== null) return basic
      throw away(`${this.base.origin} wants a name and a password: set exchange.username and exchange.passwordFile`)
    }
    const parameters = Object.fromEntries([...challenge.matchAll(/([a-z]+)="([^"]*)"/gi)].map(([, key = '', value = '']) => [key.toLowerCase(), value]))
    const realm = parameters.realm !== undefined && URL.canParse(parameters.realm) ? new URL(parameters.realm) : null
    if (scheme !== 'bearer' || !realm) throw away(`${this.base.origin} wants an authentication that is not known here: "${challenge.slice(0, 200)}"`)
    if (realm.hostname !== this.base.hostname || realm.protocol !== this.base.protocol) {
      throw away(`${this.base.origin} names ${realm.origin} as the place that gives tokens; another host is told nothing`)
    }
    for (const name of ['service', 'scope']) if (parameters[name] !== undefined) realm.searchParams.set(name, parameters[name])
    return this.token(realm, signal)
  }

  private async token(realm: URL, signal: AbortSignal): Promise<string> {
    const basic = await this.basic()
    const asked: Asked = { method: 'GET', path: realm.href, headers: basic === null ? {} : { authorization: basic }, signal }
    const answer = await this.once(asked, realm, null)
    const text = (await readBounded(answer, mostTokenBytes)).toString()
    if (answer.statusCode !== 200) throw away(`${realm.origin} gives no token (status ${String(answer.statusCode)}); check exchange.username and its password`)
    const given = jsonOf(text) as { token?: unknown; access_token?: unknown } | null
    const token = given?.token ?? given?.access_token
    if (typeof token !== 'string' || !/^[\x21-\x7e]{1,16384}$/.test(token)) throw away(`${realm.origin} gives no token that can be used`)
    return `Bearer ${token}`
  }

  private async basic(): Promise<string | null> {
    const { username } = this.access
    if (username === '') return null
    if (this.base.protocol !== 'https:') throw away(`${this.base.origin} wants a password, and none is sent without TLS; use https`)
    return `Basic ${Buffer.from(`${username}:${await this.access.password()}`).toString('base64')}`
  }
}

export function isLoopback({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname)
}

/** The whole body. Errors: EXCHANGE_UNAVAILABLE where it ends early or is longer than `most` bytes. */
export async function readBounded(answer: IncomingMessage, most: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > most) throw new Error(`an answer is longer than ${String(most)} bytes`)
      chunks.push(chunk)
    }
  } catch (cause) {
    throw away(`the registry's answer was not read: ${messageOf(cause)}`, cause)
  } finally {
    answer.destroy()
  }
  return Buffer.concat(chunks)
}

/** So that the connection ends in order; of a long body no more is waited for. */
export async function discarded(answer: IncomingMessage): Promise<void> {
  await readBounded(answer, mostTokenBytes).catch(() => undefined)
}

export function away(message: string, cause?: unknown): PawlError {
  return new PawlError('EXCHANGE_UNAVAILABLE', message, { cause })
}

/** Of a failure that passes by itself, or with a setting; null: it says nothing of the registry. */
export function reasonOf(cause: unknown): string | null {
  return cause instanceof PawlError && cause.code === 'EXCHANGE_UNAVAILABLE' ? cause.message : null
}

export function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message || String((cause as { code?: unknown }).code) : String(cause)
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
