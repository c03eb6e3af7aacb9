/** What is asked of a camera over HTTP. */
import { randomBytes } from 'node:crypto'
import { request as ask, STATUS_CODES, type IncomingMessage } from 'node:http'
import { request as askSecurely } from 'node:https'
import { PawlError } from '../errors.js'
import { authorization } from '../lib/http-authentication.js'
import type { Address } from './address.js'

const redirections: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
const mostRedirections = 5

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

  /** A good answer. Errors: CAMERA_UNAVAILABLE, with what it answered or why it did not. */
  async get(signal: AbortSignal): Promise<IncomingMessage> {
    const first = await this.ask(signal)
    const challenge = first.statusCode === 401 && this.credentials ? first.headers['www-authenticate'] : undefined
    if (challenge !== undefined) {
      first.destroy()
      // Asked anew, also where a former answer is no longer good.
      this.challenge = { text: challenge, count: 0 }
    }
    const response = challenge === undefined ? first : await this.ask(signal)
    const { statusCode = 0 } = response
    if (statusCode >= 200 && statusCode < 300) return response
    response.destroy()
    throw new PawlError('CAMERA_UNAVAILABLE', `${this.shown} answered ${String(statusCode)} ${STATUS_CODES[statusCode] ?? ''}`.trimEnd() + this.hint(statusCode))
  }

  private hint(status: number): string {
    if (status !== 401) return ''
    return this.credentials ? ': user or password are not what it expects' : '; give the camera\'s username, and passwordFile or its environment variable'
  }

  private async ask(signal: AbortSignal): Promise<IncomingMessage> {
    const headers = this.authorization()
    try {
      for (let [url, count] = [this.url, 0]; count <= mostRedirections; count++) {
        // What opens one camera is for no other.
        const response = await answerOf(url, { signal, headers: url.origin === this.url.origin ? headers : {} })
        const { statusCode = 0, headers: { location } } = response
        if (location === undefined || !redirections.has(statusCode)) return response
        response.destroy()
        if (!URL.canParse(location, url.href)) throw new Error('it sends to an address that is none')
        url = new URL(location, url.href)
        if (!/^https?:$/.test(url.protocol)) throw new Error(`it sends to a ${url.protocol} address`)
      }
      throw new Error(`it sends from one address to the next, more than ${String(mostRedirections)} times`)
    } catch (cause) {
      throw new PawlError('CAMERA_UNAVAILABLE', `${this.shown} cannot be reached: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    }
  }

  private authorization(): Record<string, string> {
    if (!this.challenge || !this.credentials) return {}
    const [uri, count] = [`${this.url.pathname}${this.url.search}`, ++this.challenge.count]
    const header = authorization(this.challenge.text, this.credentials, { method: 'GET', uri, count, cnonce: randomBytes(8).toString('hex') })
    return header === null ? {} : { authorization: header }
  }
}

/** What a camera says it sends, as far as that is the name of a type: what else it says is for nobody. */
export function typeOf({ headers }: IncomingMessage): string {
  return /^[a-z]{1,20}\/[a-z0-9.+-]{1,40}/i.exec(headers['content-type'] ?? '')?.[0].toLowerCase() ?? ''
}

/** As it is sent: what is compressed stays so, and is no picture. */
function answerOf(url: URL, options: { signal: AbortSignal; headers: Record<string, string> }, isSecond = false): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asking = (url.protocol === 'https:' ? askSecurely : ask)(url, options, response => {
      // Whoever reads it hears of it; nobody may be reading yet, or any more.
      response.on('error', () => undefined)
      resolve(response)
    })
    asking.on('error', (cause: NodeJS.ErrnoException) => {
      // The camera closed the connection of the last picture just as it was asked for the next.
      if (asking.reusedSocket && cause.code === 'ECONNRESET' && !isSecond) resolve(answerOf(url, options, true))
      else reject(cause)
    })
    asking.on('upgrade', (_response, socket) => {
      socket.destroy()
      reject(new Error('it speaks another protocol'))
    })
    asking.end()
  })
}
