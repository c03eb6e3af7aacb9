/**
 * What a monitoring system asks the box for, over HTTP: `/metrics` for Prometheus; `/healthz`, whether all is well; `/livez`, whether the process
 * answers at all, for what starts a box anew that does not: a camera that is away is no reason to.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { listenOn } from '../lib/listen.js'
import type { Health } from '../report/topics.js'
import type { Metrics } from './metrics.js'

export interface EndpointOptions {
  metrics: Metrics
  /** How the agent stands, as it says over MQTT; null: it has only begun. */
  health: () => Health | null
  address: string
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

  /** Gives its address; null: no port is free. Errors: the address is not this machine's. */
  async start(): Promise<string | null> {
    const makeServer = () => createServer((request, response) => { void this.answer(request, response) })
    const { address, port } = this.options
    const listening = await listenOn(makeServer, { address, port, tries: triedPorts })
    if (!listening) return null
    this.server = listening.server
    return `http://${address.includes(':') ? `[${address}]` : address}:${String(listening.port)}`
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
    if (path === '/livez') return plain(200, 'it answers')
    if (path !== '/healthz') return plain(404, 'there is /metrics, /healthz and /livez')
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
