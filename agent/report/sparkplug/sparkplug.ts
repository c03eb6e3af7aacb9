/** The box as an edge node of Sparkplug B 3.0, its cameras as devices: a second client on the broker, beside the topics of pawl's own. */
import { join } from 'node:path'
import { z } from 'zod'
import { PawlError } from '../../errors.js'
import type { Clock } from '../../lib/clock.js'
import type { Logger } from '../../lib/logger.js'
import { Link, type Message } from '../link.js'
import type { Connection } from '../reporter.js'
import type { StateChange } from '../state.js'
import { clientIdOf } from '../topics.js'
import { BirthDeathNumber } from './birth-death-number.js'
import { EdgeNode, nodeDeath, rebirthMetric, type Said } from './edge-node.js'
import { boxMetrics, cameraMetrics, metricsOf } from './metrics.js'
import { decodeCommand } from './payload.js'

export interface SparkplugOptions {
  group: string
  /** Nothing is said unless this host application is online; "": none is awaited. */
  primaryHost: string
  device: string
  cameras: readonly string[]
  connection: Connection
  /** For what it must remember. */
  folder: string
  clock: Clock
  random: () => number
  logger: Logger
}

const HostState = z.object({ online: z.boolean(), timestamp: z.number() })

export class Sparkplug {
  private readonly options: SparkplugOptions
  private readonly node: EdgeNode
  private readonly number: BirthDeathNumber
  private readonly link: Link
  private death: Message
  /** Of the connection that is, or is tried. */
  private bdSeq = 0
  private up = false
  private hostOnline = false
  private hostHeardMs = -Infinity
  private busy = false

  constructor(options: SparkplugOptions) {
    const { device, cameras, connection, folder, primaryHost, clock, random, logger } = options
    this.options = options
    this.node = new EdgeNode({ metrics: boxMetrics, devices: cameras, deviceMetrics: cameraMetrics, clock })
    this.number = new BirthDeathNumber({ path: join(folder, 'sparkplug.json'), logger })
    this.death = this.deathOf(this.bdSeq)
    this.link = new Link({
      ...connection,
      clientId: `${clientIdOf(device)}-sparkplug`,
      will: heard => this.beforeTry(heard),
      subscriptions: () => [
        { filter: this.topic('NCMD'), essential: true },
        ...primaryHost === '' ? [] : [{ filter: hostTopic(primaryHost), essential: true }],
      ],
      onUp: () => {
        this.up = true
        this.beginSession()
      },
      onDown: () => {
        this.up = false
        this.node.end()
      },
      // The reporter, on the same broker, tells the same.
      onAway: reason => { logger.info({ reason }, 'Sparkplug is away from the broker; trying again') },
      onMessage: (topic, payload, isRetained) => {
        if (topic === hostTopic(primaryHost)) this.hostSays(payload)
        else if (!isRetained) this.commanded(payload)
      },
      clock,
      random,
      logger,
    })
  }

  /** Returns without a connection. */
  start(): void {
    this.link.start()
  }

  /** A new value of a retained topic. */
  accept({ name, camera, value }: StateChange): void {
    this.node.set(camera, metricsOf(name, value as Parameters<typeof metricsOf>[1]))
    if (name === 'cameraStatus') this.node.setPresent(camera, (value as { state: string }).state === 'online')
    void this.send()
  }

  /** Says that the node is gone, and disconnects. */
  async stop(): Promise<void> {
    await this.link.stop(this.endSession())
  }

  private async beforeTry(heard: boolean): Promise<Message> {
    this.hostOnline = false
    // While nothing reaches the broker the number stays, and the disk is spared.
    if (heard) this.bdSeq = await this.number.next()
    this.death = this.deathOf(this.bdSeq)
    return this.death
  }

  private beginSession(): void {
    if (!this.up || this.node.begun || (this.options.primaryHost !== '' && !this.hostOnline)) return
    this.node.begin(this.bdSeq)
    void this.send()
  }

  /** Nothing more is said over this connection. Gives the death to publish; null: there was no birth. */
  private endSession(): Message | null {
    const { begun } = this.node
    this.up = false
    this.node.end()
    return begun ? this.death : null
  }

  private hostSays(payload: Buffer): void {
    const state = parsed(payload)
    if (!state || state.timestamp < this.hostHeardMs) return
    this.hostHeardMs = state.timestamp
    this.hostOnline = state.online
    if (state.online) this.beginSession()
    else if (this.node.begun) void this.link.leave(this.endSession())
  }

  private commanded(payload: Buffer): void {
    try {
      if (!decodeCommand(payload).some(({ name, boolean }) => name === rebirthMetric && boolean === true)) return
    } catch (cause) {
      this.options.logger.warn({ err: cause }, 'a Sparkplug command that cannot be read was ignored')
      return
    }
    this.node.rebirth()
    void this.send()
  }

  /** Says all there is to say, one message after the other. */
  private async send(): Promise<void> {
    if (this.busy) return
    this.busy = true
    try {
      for (let said = this.next(); said; said = this.next()) await this.link.publish(this.messageOf(said))
    } catch (error) {
      if (!(error instanceof PawlError)) throw error
      this.options.logger.debug({ message: error.message }, 'not sent; the next birth tells it')
    } finally {
      this.busy = false
    }
  }

  private next(): Said | null {
    return this.up ? this.node.next() : null
  }

  private messageOf({ type, device, payload }: Said): Message {
    return { topic: device === '' ? this.topic(type) : `${this.topic(type)}/${device}`, payload, qos: 0, retained: false }
  }

  private deathOf(bdSeq: number): Message {
    return { topic: this.topic('NDEATH'), payload: nodeDeath(bdSeq, this.options.clock.nowMs()), qos: 1, retained: false }
  }

  private topic(type: string): string {
    const { group, device } = this.options
    return `spBv1.0/${group}/${type}/${device}`
  }
}

const hostTopic = (host: string) => `spBv1.0/STATE/${host}`

function parsed(payload: Buffer): z.infer<typeof HostState> | null {
  try {
    return HostState.parse(JSON.parse(payload.toString()))
  } catch {
    return null
  }
}
