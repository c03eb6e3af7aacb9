/**
 * Tells the world over MQTT what happens, and takes its commands.
 *
 * INVARIANTS
 * - The agent never waits for the broker: `start` and `accept` return without a connection.
 * - Memory is bounded: one value for each retained topic (the newest wins), a bounded outbox, one message in flight of each.
 */
import { platform } from 'node:process'
import { PawlError } from '../errors.js'
import type { AgentEvent } from '../events.js'
import type { Clock } from '../lib/clock.js'
import { withoutPasswords, type Logger } from '../lib/logger.js'
import type { PromotionRecord } from '../rounds/promotion.js'
import { CommandRunner, type CommandHandlers } from './commands.js'
import { announcement, birthTopic } from './home-assistant.js'
import { Link, type LinkOptions, type Message } from './link.js'
import { Outbox } from './outbox.js'
import { RetainedState } from './state.js'
import { Told } from './told.js'
import { topics, type Health, type ReportedEvent } from './topics.js'

const healthEveryMs = 60_000
const maxWaitingResponses = 100

/** How to reach the broker. */
export type Connection = Pick<LinkOptions, 'url' | 'username' | 'password' | 'tls' | 'protocol' | 'longestWaitMs'>

export interface ReporterOptions {
  device: string
  version: string
  connection: Connection
  base: string
  /** Discovery prefix of Home Assistant; "": it is told nothing. */
  homeAssistant: string
  cameras: readonly string[]
  predictionEveryMs: number
  outbox: { folder: string; maxEvents: number }
  /** File that remembers which decisions were told. */
  told: string
  handlers: CommandHandlers
  /** What there is from before this start. */
  former: { decision: PromotionRecord | null; frames: number; frameBytes: number }
  /** Told when the connection comes and goes. */
  emit: (event: AgentEvent) => void
  clock: Clock
  random: () => number
  logger: Logger
}

export class Reporter {
  private readonly options: ReporterOptions
  private readonly prefix: string
  private readonly bootId: string
  private readonly link: Link
  private readonly outbox: Outbox
  private readonly told: Told
  private readonly state: RetainedState
  private readonly commands: CommandRunner
  private readonly retained = new Map<string, Message>()
  private readonly dirty = new Set<string>()
  private readonly responses: Message[] = []
  private up = false
  private readonly busy = { retained: false, events: false, responses: false }
  private timer: NodeJS.Timeout | null = null
  private started = false

  constructor(options: ReporterOptions) {
    this.options = options
    const { device, base, connection, clock, logger, random } = options
    this.prefix = `${base}/${device}`
    this.bootId = `${clock.nowMs().toString(36)}${Math.floor(random() * 36 ** 4).toString(36)}`
    this.outbox = new Outbox({ ...options.outbox, logger })
    this.told = new Told({ path: options.told, logger })
    this.state = new RetainedState({
      info: { device, version: options.version, node: process.version, platform: `${platform} ${process.arch}`, startedAtMs: clock.nowMs() },
      clock,
      predictionEveryMs: options.predictionEveryMs,
      frames: options.former.frames,
      frameBytes: options.former.frameBytes,
      outbox: () => ({ waiting: this.outbox.waiting, dropped: this.outbox.dropped }),
      publish: (topic, value, qos) => { this.retain(topic, JSON.stringify(value), qos) },
    })
    this.commands = new CommandRunner({
      handlers: options.handlers,
      logger,
      respond: (verb, response) => { this.respond(verb, JSON.stringify(response)) },
    })
    this.link = new Link({
      ...connection,
      clientId: `pawl-${device}`,
      will: { topic: `${this.prefix}/${topics.availability.topic}`, payload: 'offline' },
      subscribe: `${this.prefix}/request/#`,
      onUp: () => { this.onUp() },
      onDown: () => { this.onDown() },
      alsoSubscribe: options.homeAssistant === '' ? null : birthTopic(options.homeAssistant),
      onMessage: (topic, payload, isRetained) => {
        if (topic === birthTopic(options.homeAssistant)) {
          if (payload.toString() === 'online') this.sendAllRetained()
          return
        }
        const verb = topic.slice(`${this.prefix}/request/`.length)
        void this.commands.handle(verb, payload, isRetained)
      },
      logger,
      random,
    })
  }

  /** Resolves without a connection. */
  async start(): Promise<void> {
    await this.outbox.start()
    this.started = true
    this.state.begin()
    const { decision } = this.options.former
    if (decision) this.retain(topics.modelCandidate.topic, JSON.stringify(decision), topics.modelCandidate.qos)
    this.timer = setInterval(() => { this.state.publishHealth() }, healthEveryMs)
    this.timer.unref()
    this.link.start()
  }

  get health(): Health | null {
    return this.state.health
  }

  /** One event of the agent's stream. */
  accept(event: AgentEvent): void {
    if (!this.started) return
    this.state.accept(event)
    this.store(event)
  }

  /** Tells of decisions, oldest first, that a power cut kept from being told. */
  async catchUp(decisions: readonly PromotionRecord[]): Promise<void> {
    await this.told.start(decisions)
    for (const decision of this.told.untold(decisions)) this.store({ type: 'round-ended', round: decision.round, decision })
  }

  /** Says `offline` and disconnects; what was not sent waits on disk. */
  async stop(): Promise<void> {
    this.started = false
    if (this.timer) clearInterval(this.timer)
    await this.link.stop({ topic: `${this.prefix}/${topics.availability.topic}`, payload: 'offline', qos: 1, retained: true })
    await this.outbox.stop()
    await this.told.stop()
  }

  private onUp(): void {
    this.up = true
    this.sendAllRetained()
    this.options.emit({ type: 'broker', state: 'connected', url: withoutPasswords(this.options.connection.url) })
    void this.sendEvents()
    void this.sendResponses()
  }

  /** What is announced first, then that the box is there, then how it stands. */
  private sendAllRetained(): void {
    const { device, version, cameras, homeAssistant } = this.options
    const availability = { topic: `${this.prefix}/${topics.availability.topic}`, payload: 'online' }
    const announced = homeAssistant === '' ? [] : [announcement(homeAssistant, { device, version, cameras, prefix: this.prefix })]
    const first = [...announced, availability].map((message): Message => ({ ...message, qos: 1, retained: true }))
    for (const message of first) this.retained.set(message.topic, message)
    this.dirty.clear()
    for (const topic of [...first.map(message => message.topic), ...this.retained.keys()]) this.dirty.add(topic)
    void this.sendRetained()
  }

  private onDown(): void {
    this.up = false
    this.responses.length = 0
    this.options.emit({ type: 'broker', state: 'disconnected', url: withoutPasswords(this.options.connection.url) })
  }

  private retain(topic: string, payload: string, qos: 0 | 1): void {
    const message: Message = { topic: `${this.prefix}/${topic}`, payload, qos, retained: true }
    if (this.retained.get(message.topic)?.payload === payload) return
    this.retained.set(message.topic, message)
    this.dirty.add(message.topic)
    void this.sendRetained()
  }

  private respond(verb: string, payload: string): void {
    if (this.responses.length >= maxWaitingResponses) this.responses.shift()
    this.responses.push({ topic: `${this.prefix}/response/${verb}`, payload, qos: topics.response.qos, retained: false })
    void this.sendResponses()
  }

  private store(event: AgentEvent): void {
    const decision = decisionOf(event)
    this.outbox.add(sequence => {
      const head = decision ? { id: `round-${String(decision.round)}-${decision.decidedAtMs.toString(36)}`, atMs: decision.decidedAtMs }
        : { id: `${this.bootId}-${String(sequence)}`, atMs: this.options.clock.nowMs() }
      const reported = reportedEvent(event, head)
      return reported && JSON.stringify(reported)
    })
    if (decision) void this.outbox.settled().then(settled => { if (settled) this.told.tell(decision.round) })
    void this.sendEvents()
  }

  private async sendRetained(): Promise<void> {
    await this.pump('retained', async () => {
      const [topic] = this.dirty
      const message = topic === undefined ? undefined : this.retained.get(topic)
      if (topic === undefined || !message) return false
      this.dirty.delete(topic)
      await this.link.publish(message)
      return true
    })
  }

  private async sendEvents(): Promise<void> {
    await this.pump('events', async () => {
      const entry = this.outbox.oldest()
      if (!entry) return false
      await this.link.publish({ topic: `${this.prefix}/${topics.event.topic}`, payload: entry.payload, qos: topics.event.qos, retained: false })
      this.outbox.remove(entry)
      return true
    })
  }

  private async sendResponses(): Promise<void> {
    await this.pump('responses', async () => {
      const message = this.responses.shift()
      if (message) await this.link.publish(message)
      return message !== undefined
    })
  }

  /** Sends one after the other while connected; a failure ends it until the next connection. */
  private async pump(lane: keyof typeof this.busy, sendOne: () => Promise<boolean>): Promise<void> {
    if (this.busy[lane]) return
    this.busy[lane] = true
    try {
      while (this.up && await sendOne());
    } catch (error) {
      if (!(error instanceof PawlError)) throw error
      this.options.logger.debug({ message: error.message }, 'not sent; it goes out with the next connection')
    } finally {
      this.busy[lane] = false
    }
  }
}

/** The decision on a round that is over: told again after a power cut, it is the same event. Null for anything else. */
function decisionOf(event: AgentEvent): PromotionRecord | null {
  return event.type === 'round-ended' && event.decision.reason !== 'stopped' ? event.decision : null
}

/** Null for what has its own topic. */
function reportedEvent(event: AgentEvent, head: { id: string; atMs: number }): ReportedEvent | null {
  switch (event.type) {
    case 'model-active':
      return { ...head, type: event.type, version: event.model.version, loadedInMs: event.loadedInMs }
    case 'drift':
      return event.state === 'alarm' || event.state === 'over' ? { ...head, ...event } : null
    case 'round-started':
    case 'round-ended':
    case 'round-refused-to-start':
    case 'quarantine':
    case 'collection':
    case 'problem':
      return { ...head, ...event }
    case 'camera':
    case 'frame-stored':
    case 'prediction':
    case 'round-event':
    case 'broker':
      return null
  }
}
