/** A camera on loopback that speaks HTTP and behaves as it is told. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Behaviour = (response: ServerResponse, request: IncomingMessage) => void

export const boundary = 'frame-7'

export class HttpCamera {
  behaviour: Behaviour
  readonly askedAtMs: number[] = []
  private server: Server | null = null

  constructor(behaviour: Behaviour) {
    this.behaviour = behaviour
  }

  async start(port = 0): Promise<string> {
    const server = createServer((request, response) => {
      this.askedAtMs.push(performance.now())
      this.behaviour(response, request)
    })
    this.server = server
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/video`
  }

  /** Whoever looks on looks on no more, and is asked to ask again. */
  cut(): void {
    this.server?.closeAllConnections()
  }

  async stop(): Promise<void> {
    const { server } = this
    this.server = null
    if (!server?.listening) return
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
}

/** One picture of an MJPEG stream. */
export const part = (picture: Uint8Array) =>
  Buffer.concat([Buffer.from(`--${boundary}\r\ncontent-length: ${String(picture.length)}\r\n\r\n`), picture, Buffer.from('\r\n')])

export const head = (response: ServerResponse) => response.writeHead(200, { 'content-type': `multipart/x-mixed-replace; boundary=${boundary}` })

export const sends = (picture: () => Uint8Array, everyMs = 20): Behaviour => response => {
  head(response)
  const timer = setInterval(() => response.write(part(picture())), everyMs)
  response.on('close', () => { clearInterval(timer) })
}
