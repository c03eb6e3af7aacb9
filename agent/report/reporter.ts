/**
 * Tells the world over MQTT what happens, and takes its commands.
 *
 * INVARIANTS
 * - The agent never waits for the broker: `start` and `accept` return without a connection.
 * - Memory is bounded: one value for each retained topic (the newest wins), a bounded outbox, one message in flight of each.
 */
import { join } from 'node:path'
import { platform } from 'node:process'
import type { AgentEvent } from '../events.js'
import type { Clock } from '../lib/clock.js'
import { withoutPasswords, type Logger } from '../lib/logger.js'
import type { Mode } from '../registry/state.js'
import type { PromotionRecord } from '../rounds/promotion.js'
import { Answers } from './answers.js'
import { CommandRunner } from './command-runner.js'
import type { CommandHandlers, Verb } from './commands.js'
import { Echo } from './echo.js'
import { announcement, announcements, birthTopic, platformsOf, type Announcement } from './home-assistant.js'
import { FormerNames } from './former-names.js'
import { Link, type LinkOptions, type Message } from './link.js'
import { Outbox } from './outbox.js'
import { Outgoing } from './outgoing.js'
import { reportedEvent } from './reported.js'
import { RetainedMemory } from './retained.js'
import { RetainedState, type StateChange } from './state.js'
import { misnamed, problemsOf, readTlsFiles } from './tls-files.js'
import { Told } from './told.js'
import { clientIdOf, ofCamera, retainedTopics, topics, type Health, type Response } from './topics.js'

const healthEveryMs = 60_000

/** How to reach the broker. */
export type Connection = Pick<LinkOptions, 'url' | 'device' | 'username' | 'password' | 'tls' | 'protocol' | 'longestWaitMs'>

export interface ReporterOptions {
  device: string
  version: string
  connection: Connection
  base: string
  /** Discovery prefix of Home Assistant; "": it is told nothing. */
  homeAssistant: string
  cameras: readonly string[]
  predictionEveryMs: number
  eventsPerSecond: number
  outbox: { folder: string; maxEvents: number }
  /** Time after which a name that this box had, and nobody else took, is cleared. */
  vacantMs: number
  /** Time within which the broker must give back what this box says. */
  echoMs: number
  /** For what it must remember beside the events. */
  folder: string
  handlers: CommandHandlers
  /** Commands that are carried out; the others are refused. */
  accepted: readonly Verb[]
  /** What there is from before this start. */
  former: { decision: PromotionRecord | null; mode: Mode; frames: number; frameBytes: number }
  /** Whether this box offers models; those whose offers are listened to, and who hears them: empty, there is none any more. */
  offers: { gives: boolean; boxes: () => readonly string[]; onOffer: (box: string, payload: Uint8Array) => void }
  /** What else is wrong now: no model answers, models are not exchanged. */
  away: () => readonly string[]
  /** Told when the connection comes and goes. */
  emit: (event: AgentEvent) => void
  /** Told of every new value of a retained topic. */
  onState: (change: StateChange) => void
  clock: Clock
  random: () => number
  logger: Logger
}

export class Reporter {
  private readonly options: ReporterOptions
  private readonly prefix: string
  private readonly bootId: string
  private readonly announced: Announcement | null
  private readonly link: Link
  private readonly outbox: Outbox
  private readonly outgoing: Outgoing
  private readonly echo: Echo
  private readonly told: Told
  private readonly state: RetainedState
  private readonly memory: RetainedMemory
  private readonly names: FormerNames
  private readonly answers: Answers
  private readonly commands: CommandRunner
  private timer: NodeJS.Timeout | null = null
  /** What is wrong with them, or soon will be. */
  private certificates: readonly string[] = []
  /** That its certificate has another name; "": so it has not. */
  private misnamed = ''
  private started = false

  constructor(options: ReporterOptions) {
    this.options = options
    const { device, version, base, cameras, accepted, homeAssistant, folder, connection, clock, logger, random } = options
    this.prefix = `${base}/${device}`
    this.bootId = `${clock.nowMs().toString(36)}${Math.floor(random() * 36 ** 4).toString(36)}`
    this.announced = homeAssistant === '' ? null : announcement(homeAssistant, { device, version, cameras, accepted, prefix: this.prefix })
    this.outbox = new Outbox({ ...options.outbox, logger })
    this.told = new Told({ path: join(folder, 'told.json'), logger })
    this.state = new RetainedState({
      info: { device, version, node: process.version, platform: `${platform} ${process.arch}`, startedAtMs: clock.nowMs() },
      clock,
      predictionEveryMs: options.predictionEveryMs,
      mode: options.former.mode,
      frames: options.former.frames,
      frameBytes: options.former.frameBytes,
      away: options.away,
      outbox: () => ({ waiting: this.outbox.waiting, dropped: this.outbox.dropped }),
      publish: change => { this.retain(change) },
    })
    this.memory = new RetainedMemory({
      path: join(folder, 'retained.json'),
      prefix: this.prefix,
      topics: retainedTopics(cameras, { offers: options.offers.gives }).map(topic => `${this.prefix}/${topic}`),
      announcement: this.announced && { topic: this.announced.topic, components: platformsOf(this.announced) },
      logger,
    })
    this.names = new FormerNames({ memory: this.memory, vacantMs: options.vacantMs, clear: topic => { this.clear(topic) } })
    this.answers = new Answers({ path: join(folder, 'answers.json'), clock, logger })
    this.commands = new CommandRunner({
      handlers: options.handlers, accepted, answers: this.answers, logger, respond: (verb, response) => { this.respond(verb, response) },
    })
    this.link = new Link({
      ...connection,
      clientId: clientIdOf(device),
      will: () => this.availability('offline'),
      subscriptions: () => [
        { filter: `${this.prefix}/request/#`, essential: true },
        ...homeAssistant === '' ? [] : [{ filter: birthTopic(homeAssistant), essential: false }],
        ...options.offers.boxes().map(box => ({ filter: this.offerOf(box), essential: false })),
        ...this.listens ? [{ filter: this.availability('online').topic, essential: false }] : [],
        ...this.names.subscriptions,
      ],
      onUp: () => { this.onUp() },
      onDown: () => { this.onDown() },
      onAway: reason => { options.emit({ type: 'broker', state: 'disconnected', url: withoutPasswords(connection.url), reason }) },
      onMessage: (topic, payload, isRetained) => { this.onMessage(topic, payload, isRetained) },
      logger,
      clock,
      random,
    })
    this.echo = new Echo({
      withinMs: options.echoMs,
      onHeard: () => {
        this.outgoing.eventAdded()
        this.tellOfLink()
      },
      onMissing: () => {
        this.tellOfLink()
        options.emit({ type: 'problem', code: 'BROKER_REFUSES', message: this.missing })
      },
      onAgain: () => { this.outgoing.sendWhole(this.opening()) },
    })
    this.outgoing = new Outgoing({
      publish: message => this.link.publish(message),
      outbox: this.outbox,
      eventOf: payload => ({ topic: `${this.prefix}/${topics.event.topic}`, payload, qos: topics.event.qos, retained: false }),
      eventsPerSecond: options.eventsPerSecond,
      isHeard: () => !this.listens || this.echo.isHeard,
      onRetained: message => { this.onRetained(message) },
      onRefused: refusal => {
        const message = `${refusal}${this.misnamed}`
        logger.warn({ code: 'BROKER_REFUSES' }, message)
        options.emit({ type: 'problem', code: 'BROKER_REFUSES', message })
      },
      clock,
      logger,
    })
  }

  /** Resolves without a connection. */
  async start(): Promise<void> {
    await Promise.all([this.outbox.start(), this.memory.start(), this.answers.start(), this.look()])
    this.started = true
    this.state.begin()
    this.tellOfLink()
    const { decision } = this.options.former
    if (decision) this.retain({ name: 'modelCandidate', camera: '', value: decision })
    this.timer = setInterval(() => {
      this.state.publishHealth()
      void this.look().then(() => { this.tellOfLink() })
    }, healthEveryMs)
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
    await this.link.stop(this.availability('offline'))
    await this.outbox.stop()
    await this.told.stop()
    await Promise.all([this.memory.stop(), this.answers.stop()])
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
    this.outgoing.eventAdded()
  }

  /** A connection may stand for months: certificates are judged beside it. */
  private async look(): Promise<void> {
    const { connection: { tls }, device, clock } = this.options
    // `health` has the time beside it.
    this.certificates = await readTlsFiles(tls).then(
      contents => {
        const name = misnamed(tls, contents, device)
        // What it costs is known where the broker takes nothing: until then it may be meant so.
        this.misnamed = name === null ? '' : `; ${name}`
        return problemsOf(tls, contents, clock.nowMs(), { clock: false })
      },
      (cause: unknown) => [cause instanceof Error ? cause.message : String(cause)])
  }

  private tellOfLink(): void {
    this.state.setLink([...this.echo.isMissing ? [this.missing] : [], ...this.certificates])
  }

  /** MQTT 5 tells what a broker does not take. */
  private get listens(): boolean {
    return this.options.connection.protocol === '3.1.1'
  }

  private get missing(): string {
    return `what this box says does not come back from the broker: its access list must let this box write ${this.prefix}/# and read ${this.availability('online').topic}; events wait on disk until then${this.misnamed}`
  }

  private onUp(): void {
    this.echo.up()
    void this.look().then(() => { this.tellOfLink() })
    for (const topic of this.memory.stale) this.clear(topic)
    this.outgoing.up(this.opening())
    this.options.emit({ type: 'broker', state: 'connected', url: withoutPasswords(this.options.connection.url) })
  }

  private onDown(): void {
    this.echo.down()
    this.outgoing.down()
    this.names.stop()
  }

  private onMessage(topic: string, payload: Buffer, isRetained: boolean): void {
    const requests = `${this.prefix}/request/`
    if (topic.startsWith(requests)) void this.commands.handle(topic.slice(requests.length), payload, isRetained)
    else if (topic === birthTopic(this.options.homeAssistant)) {
      if (payload.toString() === 'online') this.outgoing.sendWhole(this.opening())
    } else if (topic === this.availability('online').topic) {
      // A retained one is from before.
      if (payload.toString() === 'online' && !isRetained) this.echo.heard()
    } else {
      const box = this.options.offers.boxes().find(name => this.offerOf(name) === topic)
      if (box === undefined) this.names.heard(topic, payload.toString())
      else this.options.offers.onOffer(box, payload)
    }
  }

  /** What is announced first, then that the box is there. How it stands follows. */
  private opening(): Message[] {
    return [...this.announced ? announcements(this.announced, this.memory.goneComponents) : [], this.availability('online')]
  }

  private availability(payload: 'online' | 'offline'): Message {
    const { topic, qos, retained } = topics.availability
    return { topic: `${this.prefix}/${topic}`, payload, qos, retained }
  }

  private offerOf(box: string): string {
    return `${this.options.base}/${box}/${topics.modelOffer.topic}`
  }

  private retain({ name, camera, value }: StateChange): void {
    const { topic, qos } = topics[name]
    // What there is no more is empty at the broker.
    this.outgoing.retain({ topic: `${this.prefix}/${ofCamera(topic, camera)}`, payload: value === null ? '' : JSON.stringify(value), qos, retained: true })
    this.options.onState({ name, camera, value })
  }

  private clear(topic: string): void {
    this.outgoing.retain({ topic, payload: '', qos: 1, retained: true })
  }

  /** The broker has it: what was to be taken away need not be remembered. */
  private onRetained({ topic, payload }: Message): void {
    if (topic === this.availability('online').topic) this.echo.said()
    if (payload === '' || (topic === this.announced?.topic && payload === JSON.stringify(this.announced.payload))) this.memory.cleared(topic)
  }

  private respond(verb: string, response: Response): void {
    const { topic, qos, retained } = topics.response
    this.outgoing.respond({ topic: `${this.prefix}/${topic.replace('{verb}', verb)}`, payload: JSON.stringify(response), qos, retained })
  }
}

/** The decision on a round that is over: told again after a power cut, it is the same event. Null for anything else. */
function decisionOf(event: AgentEvent): PromotionRecord | null {
  return event.type === 'round-ended' && event.decision.reason !== 'stopped' ? event.decision : null
}
