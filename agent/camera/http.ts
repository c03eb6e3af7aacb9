/** What is asked of a camera over HTTP. */
import { randomBytes } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import { PawlError } from '../errors.js'
import { authorization } from '../lib/http-authentication.js'
import type { Address } from './address.js'

export class HttpCamera {
  readonly shown: string
  private readonly url: URL
  private readonly credentials: { user: string; password: string } | null
  /** What the camera asked for when it refused, and how often that was answered. */
  private challenge: { text: string; count: number } | null = null

  constructor({ url, shown }: Address) {
    const { username, password } = url
    this.shown = shown
    this.credentials = username === '' ? null : { user: decodeURIComponent(username), password: decodeURIComponent(password) }
    this.url = new URL(url)
    this.url.username = ''
    this.url.password = ''
  }

  /** Errors: CAMERA_UNAVAILABLE, with what it answered or why it did not. */
  async get(signal: AbortSignal): Promise<Response> {
    const first = await this.fetch(signal)
    const challenge = first.status === 401 && this.credentials ? first.headers.get('www-authenticate') : null
    if (challenge !== null) {
      await first.body?.cancel()
      // Asked anew, also where a former answer is no longer good.
      this.challenge = { text: challenge, count: 0 }
    }
    const response = challenge === null ? first : await this.fetch(signal)
    if (!response.ok) {
      await response.body?.cancel()
      throw new PawlError('CAMERA_UNAVAILABLE', `${this.shown} answered ${String(response.status)} ${STATUS_CODES[response.status] ?? ''}`.trimEnd() + this.hint(response.status))
    }
    return response
  }

  private hint(status: number): string {
    if (status !== 401) return ''
    return this.credentials ? ': user or password are not what it expects' : '; give the camera\'s username, and passwordFile or its environment variable'
  }

  private async fetch(signal: AbortSignal): Promise<Response> {
    const headers = this.authorization()
    return fetch(this.url, { signal, headers }).catch((cause: unknown) => {
      throw new PawlError('CAMERA_UNAVAILABLE', `${this.shown} cannot be reached: ${rootReason(cause)}`, { cause })
    })
  }

  private authorization(): Record<string, string> {
    if (!this.challenge || !this.credentials) return {}
    const [uri, count] = [`${this.url.pathname}${this.url.search}`, ++this.challenge.count]
    const header = authorization(this.challenge.text, this.credentials, { method: 'GET', uri, count, cnonce: randomBytes(8).toString('hex') })
    return header === null ? {} : { authorization: header }
  }
}

/** What a camera says it sends, as far as that is the name of a type: what else it says is for nobody. */
export function typeOf({ headers }: Response): string {
  return /^[a-z]{1,20}\/[a-z0-9.+-]{1,40}/i.exec(headers.get('content-type') ?? '')?.[0].toLowerCase() ?? ''
}

/** fetch hides the real reason ("connect ECONNREFUSED …") one level down. */
function rootReason(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause)
  return cause.cause instanceof Error ? cause.cause.message : cause.message
}
