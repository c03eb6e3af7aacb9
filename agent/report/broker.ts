import { createServer, type Server, type Socket } from 'node:net'
import { Aedes } from 'aedes'
import { PawlError } from '../errors.js'
import { listenOnLoopback } from '../lib/listen.js'

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
    const sockets = new Set<Socket>()
    const { port } = this.options
    const listening = await listenOnLoopback(() => createServer(socket => {
      sockets.add(socket)
      socket.once('close', () => { sockets.delete(socket) })
      aedes.handle(socket)
    }), { port, tries: triedPorts })
    if (!listening) {
      const last = Math.min(65_535, port + triedPorts - 1)
      throw new PawlError('BROKER_UNAVAILABLE', `ports ${String(port)} to ${String(last)} are all taken on 127.0.0.1; choose another with the key "mqtt.port"`)
    }
    this.running = { aedes, server: listening.server, sockets }
    return `mqtt://127.0.0.1:${String(listening.port)}`
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
