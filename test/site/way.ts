/** A way to a registry that can break and stand still. */
import { createServer, request as ask, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export class Way {
  /** Requests that still pass; those after them are cut off. */
  requests = Infinity
  /** Bytes of one answer that pass; then it stands still. */
  bytes = Infinity
  private readonly server: Server

  private constructor(to: string) {
    this.server = createServer((request, response) => {
      if (this.requests-- <= 0) {
        response.destroy()
        return
      }
      const { method, headers, url = '' } = request
      const onward = ask(`${to}${url}`, { method, headers }, answer => {
        response.writeHead(answer.statusCode ?? 500, answer.headers)
        let passed = 0
        answer.on('data', (data: Buffer) => {
          response.write(data.subarray(0, Math.max(0, this.bytes - passed)))
          passed += data.length
        })
        answer.on('end', () => { if (passed <= this.bytes) response.end() })
      })
      onward.on('error', () => { response.destroy() })
      response.on('close', () => { onward.destroy() })
      request.pipe(onward)
    })
  }

  static async to(url: string): Promise<Way> {
    const way = new Way(url)
    await new Promise<void>(resolve => way.server.listen(0, '127.0.0.1', () => { resolve() }))
    return way
  }

  get url(): string {
    return `http://127.0.0.1:${String((this.server.address() as AddressInfo).port)}`
  }

  close(): void {
    this.server.close().closeAllConnections()
  }
}
