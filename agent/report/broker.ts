import { createServer, type Server, type Socket } from 'node:net'
import { Aedes } from 'aedes'
import { PawlError } from '../errors.js'

export interface EmbeddedBrokerOptions {
  /** Tried first; then the following ones. */
  port: number
}

const triedPorts = 100

/** A broker inside this process, on loopback only, for a box that has none. */
export class EmbeddedBroker {
  private readonly options: EmbeddedBrokerOptions
  private running: { aedes: Aedes; server: Server; sockets: Set<Socket> } | null = null

  constructor(options: EmbeddedBrokerOptions) {
    this.options = options
  }

  /** Returns its URL. Errors: BROKER_UNAVAILABLE when no port is free. */
  async start(): Promise<string> {
    const aedes = await Aedes.createBroker()
    const last = Math.min(65_535, this.options.port + triedPorts - 1)
    for (let port = this.options.port; port <= last; port++) {
      const sockets = new Set<Socket>()
      const server = createServer(socket => {
        sockets.add(socket)
        socket.once('close', () => { sockets.delete(socket) })
        aedes.handle(socket)
      })
      if (!(await listens(server, port))) continue
      this.running = { aedes, server, sockets }
      return `mqtt://127.0.0.1:${String(port)}`
    }
    throw new PawlError('BROKER_UNAVAILABLE', `ports ${String(this.options.port)} to ${String(last)} are all taken on 127.0.0.1; choose another with the key "mqtt.port"`)
  }

  async stop(): Promise<void> {
    const running = this.running
    this.running = null
    if (!running) return
    const closed = new Promise<void>(resolve => { running.server.close(() => { resolve() }) })
    await new Promise<void>(resolve => { running.aedes.close(() => { resolve() }) })
    // A connection that never spoke MQTT would keep the server open.
    for (const socket of running.sockets) socket.destroy()
    await closed
  }
}

function listens(server: Server, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(false)
      else reject(error)
    })
    server.listen(port, '127.0.0.1', () => { resolve(true) })
  })
}
