/** A camera that sends MJPEG over HTTP and knows when it sent what. It can go away and come back where it was. */
import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

export class MjpegCamera {
  /** When each picture went out, milliseconds of `nowMs`, from when somebody looked. */
  readonly sentAtMs: number[] = []
  private readonly pictures: readonly Buffer[]
  private readonly viewers = new Set<ServerResponse>()
  private server: Server | null = null
  private timer: NodeJS.Timeout | null = null
  private port = 0
  private next: number

  /** `first`: with which of the pictures it begins. */
  constructor(pictures: readonly Buffer[], first = 0) {
    this.pictures = pictures
    this.next = first
  }

  get url(): string {
    return `http://127.0.0.1:${String(this.port)}/`
  }

  async appear(): Promise<void> {
    this.server = createServer((_, response) => {
      response.writeHead(200, { 'content-type': 'multipart/x-mixed-replace; boundary=x' })
      response.flushHeaders()
      this.viewers.add(response)
      response.on('close', () => { this.viewers.delete(response) })
    }).listen(this.port, '127.0.0.1')
    await once(this.server, 'listening')
    this.port = (this.server.address() as AddressInfo).port
  }

  /** With its connections. */
  async vanish(): Promise<void> {
    const { server } = this
    this.server = null
    if (!server?.listening) return
    const closed = once(server, 'close')
    server.close()
    server.closeAllConnections()
    await closed
  }

  /** Resolves when somebody looks. */
  async watched(): Promise<void> {
    while (this.viewers.size === 0) await sleep(5)
  }

  /** Sends the next picture; gives when. */
  send(): number {
    const jpeg = this.pictures[this.next++ % this.pictures.length]!
    const part = Buffer.concat([Buffer.from(`--x\r\nContent-Type: image/jpeg\r\nContent-Length: ${String(jpeg.length)}\r\n\r\n`), jpeg, Buffer.from('\r\n')])
    const atMs = nowMs()
    for (const viewer of this.viewers) viewer.write(part)
    if (this.viewers.size) this.sentAtMs.push(atMs)
    return atMs
  }

  /** So many a second, evenly, until `pause`. */
  play(perSecond: number): void {
    this.pause()
    this.timer = setInterval(() => { this.send() }, 1000 / perSecond)
  }

  pause(): void {
    if (this.timer) clearInterval(this.timer)
    this.timer = null
  }

  async stop(): Promise<void> {
    this.pause()
    await this.vanish()
  }
}

/** Milliseconds since 1970, with their fractions. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now()
}
