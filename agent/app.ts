/**
 * The composition root: constructs every part and connects them in the order in which data flows.
 *
 *   camera ─► sampler ─► classifier ─┬─► predictions ─┬─► report
 *                                    │                ├─► drift ─► report; no pseudo-labels while it lasts
 *                                    │                └─► probation ─► report
 *                                    └─► selection ─► frame store ─► round ─► promotion gate ─► registry ─► hot swap ─┬─► report
 *                                          models of other boxes ─► exchange ─► round                                └─► exchange ─► other boxes
 *
 * The hot swap (training.ts) and the way back in `probed` are the arrows back.
 */
import { join } from 'node:path'
import { presets, Random } from '../trainer/index.js'
import { Cameras } from './camera/cameras.js'
import type { Simulation } from './camera/simulation.js'
import { ClassifierPool } from './classifier/pool.js'
import type { Config } from './config.js'
import { openFolder } from './data/folder.js'
import { Control } from './control.js'
import { Drift } from './drift/drift.js'
import type { ErrorCode } from './errors.js'
import type { AgentEvent, ModelVersion } from './events.js'
import { Exchange } from './exchange/exchange.js'
import { LabelStore } from './frames/label-store.js'
import { LabelWatch } from './frames/label-watch.js'
import { Selection } from './frames/selection.js'
import { setAside } from './frames/set-aside.js'
import { FrameStore } from './frames/store.js'
import { handlersOf } from './handlers.js'
import { Intake } from './intake.js'
import { systemClock } from './lib/clock.js'
import { removeHalfWritten } from './lib/durable.js'
import { EventStream } from './lib/event-stream.js'
import type { Logger } from './lib/logger.js'
import { packageVersion } from './lib/package-root.js'
import { Endpoint } from './metrics/endpoint.js'
import { Metrics } from './metrics/metrics.js'
import { Page } from './page.js'
import { Registry } from './registry/registry.js'
import type { Reply } from './report/commands.js'
import { Report } from './report/report.js'
import { Brake } from './rounds/brake.js'
import { Learning } from './rounds/learning.js'
import type { ProbationRecord } from './rounds/probation.js'
import { ProbationWatch } from './rounds/probation-watch.js'
import { RoundRecords } from './rounds/records.js'
import { Serving } from './serving.js'
import { Training } from './training.js'

export interface AgentOptions {
  config: Config
  logger: Logger
  /** Hears every event, from the first on. */
  onEvent: (event: AgentEvent) => void
  /** Reads the configuration anew, and starts an agent in the place of this one; without it there is none to read. Errors: CONFIG_INVALID. */
  reload?: () => Promise<void>
}

/** Where people and other programs find the running agent. */
export interface Addresses {
  broker: string
  cameras: Record<string, string>
  /** Of the metrics; null: they are served nowhere. */
  monitoring: string | null
  /** Of the page; null: there is none. */
  dashboard: string | null
}

const randomSeed = 0x9a31

export class Agent {
  private readonly config: Config
  private readonly logger: Logger
  private readonly events: EventStream<AgentEvent>
  private readonly random = Random.of(randomSeed, Date.now())
  private readonly cameras: Cameras
  private readonly frames: FrameStore
  private readonly selection: Selection
  private readonly labels: LabelStore
  private readonly labelWatch: LabelWatch
  private readonly classifier: ClassifierPool
  private readonly registry: Registry
  private readonly intake: Intake
  private readonly serving: Serving
  private readonly brake: Brake
  private readonly exchange: Exchange
  private readonly training: Training
  private readonly probation: ProbationWatch
  private readonly drift: Drift
  private readonly control: Control
  private readonly report: Report
  private readonly metrics: Metrics
  private readonly page: Page
  /** Fires as the agent ends, before its parts do: what takes long is given up. */
  private readonly ending = new AbortController()
  /** What to undo, last first. */
  private readonly started: (() => Promise<void>)[] = []

  constructor({ config, logger, onEvent, reload }: AgentOptions) {
    this.config = config
    this.logger = logger
    this.events = new EventStream({ onListenerError: cause => { logger.error(cause, 'a listener failed') } })
    const clock = systemClock
    this.cameras = new Cameras({
      cameras: config.cameras,
      ffmpeg: config.ffmpeg,
      memory: join(config.data, 'cameras'),
      size: () => this.classifier.size ?? presets[config.rounds.preset].size,
      clock,
      random: Math.random,
      onFrame: frame => this.intake.accept(frame),
      onStatus: status => { this.publish({ type: 'camera', status }) },
    })
    this.frames = new FrameStore({
      folder: join(config.data, 'frames'), config: config.frames, clock, onProblem: message => { this.problem('IMAGE_UNREADABLE', message) },
    })
    this.labels = new LabelStore({ data: config.data, config: config.labels })
    this.labelWatch = new LabelWatch({ folder: join(config.data, 'labels'), nowMs: clock.nowMs })
    this.classifier = new ClassifierPool({
      threads: 1,
      loadMs: 60_000,
      signal: this.ending.signal,
      onProblem: message => {
        this.problem('MODEL_INVALID', message)
        this.probation.crashed()
      },
    })
    this.drift = new Drift({
      config: config.drift,
      folder: join(config.data, 'drift'),
      clock,
      onEvent: event => { this.publish(event) },
      onProblem: message => { logger.warn({ message }, 'what the model in service is used to may be gathered anew') },
    })
    this.registry = new Registry({ data: config.data, clock, onProblem: error => { this.problem(error.code, error.message) } })
    this.selection = new Selection({ config: config.frames.select, leastFrames: config.rounds.maxFrames, random: () => this.random.float() })
    this.intake = new Intake({
      classifier: this.classifier,
      selection: this.selection,
      frames: this.frames,
      publish: event => { this.publish(event) },
      onAnswer: ({ camera, capturedAtMs, jpeg }, { version: model, ...answer }) => {
        this.drift.observe({ camera, capturedAtMs, ...answer, model })
        this.probation.observe({ camera, capturedAtMs, jpeg }, model)
      },
      onStored: () => { this.training.frameStored() },
      onUnanswered: (camera, reason) => { logger.warn({ camera, reason }, 'a frame was not classified') },
      onUnstored: (camera, reason) => { logger.warn({ camera, reason }, 'a frame was not stored') },
      onLatency: ms => { this.brake.observe(ms) },
      clock,
    })
    this.serving = new Serving({
      classifier: this.classifier,
      registry: this.registry,
      onProbation: config.rounds.probation.frames > 0,
      onActive: (model, loadedInMs) => this.announce(model, loadedInMs),
      onMode: mode => {
        this.publish({ type: 'mode', mode })
        this.exchange.served()
        // What a person has pinned does not fall back.
        if (mode.kind === 'pin') void this.probation.begin(this.registry.probation())
      },
      onProblem: message => { this.problem('MODEL_INVALID', message) },
      signal: this.ending.signal,
    })
    this.brake = new Brake({ config: config.rounds, clock })
    const learning = new Learning({
      config: config.rounds,
      folder: join(config.data, 'rounds'),
      engines: join(config.data, 'engines.json'),
      registry: this.registry,
      clock,
      brake: this.brake,
      onEvent: (round, event) => {
        this.publish({ type: 'round-event', round, event })
        if (event.type === 'leaked') this.problem('LABEL_JUDGES', event.message)
      },
      onUnreadable: images => setAside(images, {
        frames: this.frames,
        labels: this.labels,
        onSetAside: image => { this.publish({ type: 'quarantine', ...image }) },
        onProblem: message => { this.problem('IMAGE_UNREADABLE', message) },
      }),
      exchanges: config.exchange.registry !== '' && config.exchange.trust !== '',
      onGivenUp: (round, reason) => {
        this.problem('TRAINING_FAILED', `round ${String(round)}, which was interrupted, is given up: ${reason}; a new one begins in its time`)
      },
    })
    const records = new RoundRecords({ folder: join(config.data, 'records'), onProblem: message => { logger.warn({ message }, 'a round is not told whole') } })
    this.exchange = new Exchange({
      config: config.exchange,
      device: config.device,
      data: config.data,
      preset: config.rounds.preset,
      minFreeBytes: config.frames.minFreeBytes,
      registry: this.registry,
      onOffer: offer => { this.publish({ type: 'offer', offer }) },
      onProblem: (code, message) => { this.problem(code, message) },
      clock,
      signal: this.ending.signal,
      random: Math.random,
    })
    this.training = new Training({
      config: config.rounds,
      frames: this.frames,
      labels: this.labels,
      labelWatch: this.labelWatch,
      drift: this.drift,
      registry: this.registry,
      learning,
      records,
      serving: this.serving,
      exchange: this.exchange,
      publish: event => { this.publish(event) },
      onActive: (model, loadedInMs) => this.announce(model, loadedInMs),
      onFailed: message => { this.problem('TRAINING_FAILED', message) },
      clock,
      signal: this.ending.signal,
      random: () => this.random.float(),
    })
    this.probation = new ProbationWatch({
      config: config.rounds.probation,
      file: join(config.data, 'probation.json'),
      compare: async (candidates, images) => (await this.serving.bothAnswer(candidates, images)).filter(pair => pair !== null),
      promotionImages: async () => (await this.labels.read()).promotion.map(({ path }) => path),
      onRecord: record => this.probed(record),
      onProblem: message => { this.problem('MODEL_INVALID', message) },
      signal: this.ending.signal,
      clock,
      random: () => this.random.float(),
    })
    const handled = { training: this.training, serving: this.serving, status: () => this.status(), reload }
    this.control = new Control({ data: config.data, handlers: handlersOf(handled, 'at the box') })
    this.report = new Report({
      config: config.mqtt,
      device: config.device,
      cameras: config.cameras.map(({ id }) => id),
      data: config.data,
      version: packageVersion(),
      handlers: handlersOf(handled, 'over MQTT'),
      offers: {
        gives: config.exchange.registry !== '' && config.exchange.publish,
        boxes: () => this.exchange.boxes,
        onOffer: (box, payload) => { this.exchange.heard(box, payload) },
      },
      away: () => [this.serving.away, this.exchange.away].filter(reason => reason !== null),
      emit: event => { this.publish(event) },
      onState: change => { this.page.state(change) },
      clock,
      random: Math.random,
      logger,
    })
    this.metrics = new Metrics({ device: config.device, version: packageVersion() })
    this.page = new Page({
      config,
      frames: this.frames,
      labels: this.labels,
      classifier: this.classifier,
      intake: this.intake,
      registry: this.registry,
      records,
      serving: this.serving,
      handlers: handlersOf(handled, 'on the page'),
      clock,
      logger,
      signal: this.ending.signal,
    })
    this.events.subscribe(onEvent)
    this.events.subscribe(event => { this.page.accept(event) })
    this.events.subscribe(event => { this.metrics.accept(event) })
    this.events.subscribe(event => { this.report.accept(event) })
  }

  /** Errors: DATA_LOCKED, DATA_UNWRITABLE, DATA_FORMAT, REGISTRY_CORRUPT, BROKER_UNAVAILABLE; whatever was started before is stopped again. */
  async start(): Promise<Addresses> {
    try {
      return await this.startParts()
    } catch (cause) {
      await this.stop()
      throw cause
    }
  }

  async stop(): Promise<void> {
    this.ending.abort()
    for (const undo of this.started.splice(0).reverse()) {
      await undo().catch((cause: unknown) => { this.logger.error(cause, 'a part did not stop as it should') })
    }
  }

  status(): Reply<'status'> {
    const { config, registry, training, frames } = this
    return {
      device: config.device,
      model: registry.active()?.version ?? null,
      serving: this.classifier.version,
      mode: registry.mode,
      probation: registry.probation() !== null,
      training: training.busy,
      frames: frames.count,
      frameBytes: frames.totalBytes,
      drift: this.drift.alarm,
      decisions: registry.decisions().slice(-5),
    }
  }

  /** Simulated cameras by id: a demonstration changes their site. */
  get simulations(): ReadonlyMap<string, Simulation> {
    return this.cameras.simulations
  }

  get models(): Registry {
    return this.registry
  }

  private async startParts(): Promise<Addresses> {
    const { config, registry, frames } = this
    this.began(await openFolder(config.data, what => { this.logger.warn({}, what) }))
    for (const folder of ['.', 'cameras', 'quarantine', 'records', 'report']) await removeHalfWritten(join(config.data, folder), { recursive: folder !== '.' })
    await registry.start()
    this.began(() => registry.stop())
    await frames.start()
    this.started.push(() => {
      frames.stop()
      return Promise.resolve()
    })
    this.selection.recall(frames.list())
    try {
      await this.labels.start()
    } catch (cause) {
      // Without them no round begins, and says so; frames are collected all the same.
      this.problem('LABELS_INSUFFICIENT', cause instanceof Error ? cause.message : String(cause))
    }
    this.began(() => this.labelWatch.stop())
    await this.labelWatch.start()
    this.began(() => this.exchange.stop())
    await this.exchange.start()
    this.began(() => this.report.stop())
    const former = { frames: frames.count, frameBytes: frames.totalBytes, mode: registry.mode }
    const broker = await this.report.start({ decision: registry.decisions().findLast(({ from }) => from === undefined) ?? null, ...former })
    this.metrics.begin(former)
    const monitoring = await this.startMonitoring()
    this.began(() => this.drift.stop())
    await this.drift.start()
    this.began(() => this.probation.stop())
    this.began(() => this.classifier.stop())
    this.began(() => this.serving.stop())
    await this.serving.start()
    await this.report.catchUp(registry.decisions())
    this.exchange.served()
    this.began(() => this.control.stop())
    await this.startControl()
    const dashboard = await this.startPage()
    this.began(() => this.intake.stop())
    // Together: each may take seconds.
    this.began(async () => { await Promise.all([this.cameras.stop(), this.training.stop()]) })
    const cameras = await this.cameras.start()
    await this.training.start()
    return { broker, cameras, monitoring, dashboard }
  }

  /** Errors: the agent ended meanwhile; then nothing more begins. */
  private began(undo: () => Promise<void>): void {
    this.started.push(undo)
    this.ending.signal.throwIfAborted()
  }

  private async startControl(): Promise<void> {
    try {
      await this.control.start()
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      this.problem('CONTROL_UNAVAILABLE', `commands at the box do not reach this agent (${why}); over MQTT they do`)
    }
  }

  private async startPage(): Promise<string | null> {
    const { port, address } = this.config.dashboard
    if (port === 0) return null
    this.began(() => this.page.stop())
    try {
      const url = await this.page.start()
      if (url === null) this.problem('DASHBOARD_UNAVAILABLE', `no port from dashboard.port (${String(port)}) on is free on ${address}; choose another`)
      return url
    } catch (cause) {
      // Cameras and models do not wait for it.
      this.problem('DASHBOARD_UNAVAILABLE', cause instanceof Error ? cause.message : String(cause))
      return null
    }
  }

  private async startMonitoring(): Promise<string | null> {
    const { port, address } = this.config.monitoring
    if (port === 0) return null
    const endpoint = new Endpoint({ metrics: this.metrics, health: () => this.report.health, address, port })
    this.began(() => endpoint.stop())
    try {
      const url = await endpoint.start()
      if (url === null) this.problem('MONITORING_UNAVAILABLE', `no port from monitoring.port (${String(port)}) on is free on ${address}; choose another`)
      return url
    } catch (cause) {
      this.problem('MONITORING_UNAVAILABLE', `nothing can listen on monitoring.address (${address}): ${cause instanceof Error ? cause.message : String(cause)}`)
      return null
    }
  }

  // What serves, and what comes of it.

  private async announce(model: ModelVersion, loadedInMs: number): Promise<void> {
    this.publish({ type: 'model-active', model, loadedInMs, lineage: this.registry.lineage() })
    this.drift.begin(model.version)
    await this.probation.begin(this.registry.probation())
    this.exchange.served()
    await this.intake.answerAgain()
  }

  private async probed(record: ProbationRecord): Promise<void> {
    this.publish({ type: 'probation', record })
    if (record.state === 'passed') {
      await this.registry.endProbation(record.model)
      this.exchange.served()
    }
    if (record.state === 'failed') await this.serving.fallBack(record.model, record.explanation)
  }

  private publish(event: AgentEvent): void {
    this.events.publish(event)
  }

  /** Tells everybody who listens that something is wrong. */
  problem(code: ErrorCode, message: string): void {
    this.logger.warn({ code }, message)
    this.publish({ type: 'problem', code, message })
  }
}
