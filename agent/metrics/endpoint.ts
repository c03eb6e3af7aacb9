/** What a monitoring system asks the box for, over HTTP on loopback: `/metrics` for Prometheus, `/healthz` for a probe. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { listenOnLoopback } from '../lib/listen.js'
import type { Health } from '../report/topics.js'
import type { Metrics } from './metrics.js'

export interface EndpointOptions {
  metrics: Metrics
  /** How the agent stands, as it says over MQTT; null: it has only begun. */
  health: () => Health | null
  /** Tried first; then the following ones. */
  port: number
}

const triedPorts = 20

export class Endpoint {
  private readonly options: EndpointOptions
  private server: Server | null = null

  constructor(options: EndpointOptions) {
    this.options = options
  }

  /** Gives its address; null: no port is free. */
  async start(): Promise<string | null> {
    const makeServer = () => createServer((request, response) => { void this.answer(request, response) })
    const listening = await listenOnLoopback(makeServer, { port: this.options.port, tries: triedPorts })
    if (!listening) return null
    this.server = listening.server
    return `http://127.0.0.1:${String(listening.port)}`
  }

  async stop(): Promise<void> {
    const { server } = this
    this.server = null
    if (!server) return
    const closed = new Promise<void>(resolve => { server.close(() => { resolve() }) })
    server.closeAllConnections()
    await closed
  }

  private async answer({ method = '', url = '' }: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, type, body } = ['GET', 'HEAD'].includes(method) ? await this.page(url.replace(/\?.*/, '')).catch(() => plain(500, 'the numbers cannot be gathered'))
      : plain(405, 'only GET is answered')
    response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
    response.end(method === 'HEAD' ? undefined : body)
  }

  private async page(path: string): Promise<Page> {
    const { metrics, health } = this.options
    if (path === '/metrics') return { status: 200, type: metrics.contentType, body: await metrics.text() }
    if (path !== '/healthz') return plain(404, 'there is /metrics, and /healthz')
    const now = health()
    return { status: now?.state === 'ok' ? 200 : 503, type: 'application/json', body: `${JSON.stringify(now ?? { state: 'starting' })}\n` }
  }
}

interface Page {
  status: number
  type: string
  body: string
}

function plain(status: number, text: string): Page {
  return { status, type: 'text/plain', body: `${text}\n` }
}
