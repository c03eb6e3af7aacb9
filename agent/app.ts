/**
 * The composition root: constructs every part and connects them in the order in which data flows.
 *
 *   camera ─► sampler ─► frame store ─┬─► classifier ─► predictions ─┬─► report
 *                                     │                              └─► drift ─► report; no pseudo-labels while it lasts
 *                                     └─► round ─► promotion gate ─► registry ─► hot swap ─► report
 *
 * The hot swap in `learn` is the one arrow back.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Random } from '../trainer/index.js'
import { Cameras } from './camera/cameras.js'
import type { Simulation } from './camera/simulation.js'
import { ClassifierPool } from './classifier/pool.js'
import type { Config } from './config.js'
import { Drift } from './drift/drift.js'
import { PawlError, type ErrorCode } from './errors.js'
import type { AgentEvent, Frame, ModelVersion } from './events.js'
import { LabelStore } from './frames/label-store.js'
import { LabelWatch } from './frames/label-watch.js'
import { reservoir } from './frames/reservoir.js'
import { FrameStore } from './frames/store.js'
import { systemClock } from './lib/clock.js'
import { EventStream } from './lib/event-stream.js'
import { holdFolder } from './lib/exclusive.js'
import type { Logger } from './lib/logger.js'
import { packageVersion } from './lib/package-root.js'
import { Endpoint } from './metrics/endpoint.js'
import { Metrics } from './metrics/metrics.js'
import { Registry } from './registry/registry.js'
import { Report } from './report/report.js'
import { Brake } from './rounds/brake.js'
import { Learning, type RoundData } from './rounds/learning.js'
import { Schedule, type Trigger } from './rounds/schedule.js'
import { Serving } from './serving.js'

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
}

const roundJob = 'round'
const randomSeed = 0x9a31

export class Agent {
  private readonly config: Config
  private readonly logger: Logger
  private readonly events: EventStream<AgentEvent>
  private readonly controller = new AbortController()
  private readonly random = Random.of(randomSeed, Date.now())
  private readonly cameras: Cameras
  private readonly frames: FrameStore
  private readonly labels: LabelStore
  private readonly labelWatch: LabelWatch
  private readonly classifier: ClassifierPool
  private readonly registry: Registry
  private readonly serving: Serving
  private readonly brake: Brake
  private readonly learning: Learning
  private readonly drift: Drift
  private readonly report: Report
  private readonly metrics: Metrics
  private schedule: Schedule | null = null
  /** Newest frame of each camera: judged again when the model changes. */
  private readonly newest = new Map<string, Frame>()
  private collecting = true
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
      clock,
      random: Math.random,
      onFrame: frame => this.frame(frame),
      onStatus: status => { this.publish({ type: 'camera', status }) },
    })
    this.frames = new FrameStore({ folder: join(config.data, 'frames'), config: config.frames, clock })
    this.labels = new LabelStore({ data: config.data, config: config.labels })
    this.labelWatch = new LabelWatch({ folder: join(config.data, 'labels'), nowMs: clock.nowMs })
    this.classifier = new ClassifierPool({ threads: 1, loadMs: 60_000, onProblem: message => { this.problem('MODEL_INVALID', message) } })
    this.drift = new Drift({
      config: config.drift,
      folder: join(config.data, 'drift'),
      clock,
      onEvent: event => { this.publish(event) },
      onProblem: message => { this.problem('DISK_FULL', message) },
    })
    this.registry = new Registry({ data: config.data, clock, logger, onProblem: error => { this.problem(error.code, error.message) } })
    this.serving = new Serving({
      classifier: this.classifier,
      registry: this.registry,
      onActive: (model, loadedInMs) => this.announce(model, loadedInMs),
      onProblem: message => { this.problem('MODEL_INVALID', message) },
    })
    this.brake = new Brake({ config: config.rounds, clock })
    this.learning = new Learning({
      config: config.rounds,
      folder: join(config.data, 'rounds'),
      engines: join(config.data, 'engines.json'),
      registry: this.registry,
      clock,
      brake: this.brake,
      onEvent: (round, event) => { this.publish({ type: 'round-event', round, event }) },
      onQuarantine: (path, reason) => this.setAside(path, reason),
      onGivenUp: (round, reason) => {
        this.problem('TRAINING_FAILED', `round ${String(round)}, which was interrupted, is given up: ${reason}; a new one begins in its time`)
      },
    })
    this.report = new Report({
      config: config.mqtt,
      device: config.device,
      cameras: config.cameras.map(({ id }) => id),
      data: config.data,
      version: packageVersion(),
      handlers: {
        train: () => {
          if (!this.train()) throw new PawlError('COMMAND_INVALID', 'a round is running already; nothing was started')
          return { started: true }
        },
        status: () => this.status(),
        reload: async () => {
          if (!reload) throw new PawlError('COMMAND_INVALID', 'this agent has no configuration to read anew')
          await reload()
          return { reloading: true }
        },
      },
      emit: event => { this.publish(event) },
      clock,
      random: Math.random,
      logger,
    })
    this.metrics = new Metrics({ device: config.device, version: packageVersion() })
    this.events.subscribe(onEvent)
    this.events.subscribe(event => { this.metrics.accept(event) })
    this.events.subscribe(event => { this.report.accept(event) })
  }

  /** Errors: DATA_LOCKED, REGISTRY_CORRUPT, BROKER_UNAVAILABLE; whatever was started before is stopped again. */
  async start(): Promise<Addresses> {
    try {
      return await this.startParts()
    } catch (cause) {
      await this.stop()
      throw cause
    }
  }

  async stop(): Promise<void> {
    this.controller.abort()
    for (const undo of this.started.splice(0).reverse()) {
      await undo().catch((cause: unknown) => { this.logger.error(cause, 'a part did not stop as it should') })
    }
  }

  /** Starts a round unless one is running; says whether it did. */
  train(): boolean {
    return this.schedule?.command() ?? false
  }

  status(): unknown {
    const { config, registry, schedule, frames } = this
    return {
      device: config.device,
      model: registry.active()?.version ?? null,
      serving: this.classifier.version,
      training: schedule?.busy ?? false,
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
    await mkdir(config.data, { recursive: true })
    this.started.push(await holdFolder(config.data))
    await registry.start()
    this.started.push(() => registry.stop())
    await frames.start()
    await this.learning.start()
    try {
      await this.labels.start()
    } catch (cause) {
      // Without them no round begins, and says so; frames are collected all the same.
      this.problem('LABELS_INSUFFICIENT', cause instanceof Error ? cause.message : String(cause))
    }
    this.started.push(() => this.labelWatch.stop())
    await this.labelWatch.start()
    this.started.push(() => this.report.stop())
    const stored = { frames: frames.count, frameBytes: frames.totalBytes }
    const broker = await this.report.start({ decision: registry.decisions().at(-1) ?? null, ...stored })
    this.metrics.begin(stored)
    const monitoring = await this.startMonitoring()
    this.started.push(() => this.drift.stop())
    await this.drift.start()
    this.started.push(() => this.classifier.stop())
    await this.serving.start()
    this.started.push(() => this.cameras.stop())
    const cameras = await this.cameras.start()
    this.startSchedule()
    return { broker, cameras, monitoring }
  }

  private async startMonitoring(): Promise<string | null> {
    const { port } = this.config.monitoring
    if (port === 0) return null
    const endpoint = new Endpoint({ metrics: this.metrics, health: () => this.report.health, port })
    this.started.push(() => endpoint.stop())
    const address = await endpoint.start()
    if (address === null) this.problem('MONITORING_UNAVAILABLE', `no port from monitoring.port (${String(port)}) on is free on 127.0.0.1; choose another`)
    return address
  }

  // Camera ─► sampler ─► frame store and classifier.

  private async frame(frame: Frame): Promise<void> {
    this.newest.set(frame.camera, frame)
    await Promise.all([this.store(frame), this.predict(frame)])
  }

  private async store(frame: Frame): Promise<void> {
    const { full } = await this.frames.add(frame)
    const collecting = full === null
    if (collecting !== this.collecting) {
      this.collecting = collecting
      this.publish({ type: 'collection', state: collecting ? 'running' : 'stopped', reason: full ?? '' })
    }
    if (!collecting) return
    this.publish({ type: 'frame-stored', camera: frame.camera, frames: this.frames.count, bytes: this.frames.totalBytes })
    this.schedule?.frameStored()
  }

  private async predict({ camera, capturedAtMs, jpeg }: Frame): Promise<void> {
    if (this.classifier.version === null) return
    const beganMs = systemClock.monotonicMs()
    try {
      const { version, embedding, ...answer } = await this.classifier.classify(jpeg)
      this.publish({ type: 'prediction', prediction: { camera, capturedAtMs, ...answer, model: version } })
      this.drift.observe({ camera, capturedAtMs, ...answer, embedding, model: version })
    } catch (cause) {
      this.logger.warn({ camera, reason: cause instanceof Error ? cause.message : String(cause) }, 'a frame was not classified')
    } finally {
      this.brake.observe(systemClock.monotonicMs() - beganMs)
    }
  }

  // Round ─► promotion gate ─► registry ─► hot swap.

  private startSchedule(): void {
    const { registry, learning, drift, labelWatch, frames } = this
    const lastRoundAtMs = registry.lastRunAtMs(roundJob)
    const schedule = new Schedule({
      config: this.config.rounds,
      clock: systemClock,
      lastRoundAtMs,
      framesSince: lastRoundAtMs === null ? 0 : frames.list().filter(({ capturedAtMs }) => capturedAtMs > lastRoundAtMs).length,
      surroundings: {
        hasModel: () => registry.active() !== null,
        interrupted: () => learning.interrupted,
        driftAlarmAtMs: () => drift.alarm?.raisedAtMs ?? null,
        labelsSince: ms => labelWatch.since(ms),
        newestLabelAtMs: () => labelWatch.newestAtMs,
      },
      run: async (trigger, closing) => {
        try {
          await this.learn(trigger, closing)
        } catch (cause) {
          this.problem('TRAINING_FAILED', cause instanceof Error ? cause.message : String(cause))
        }
      },
    })
    this.schedule = schedule
    schedule.start()
    this.started.push(() => schedule.stop())
  }

  private async learn(trigger: Trigger, closing: AbortSignal): Promise<void> {
    let end
    try {
      end = await this.learning.run({
        gather: () => this.gather(),
        signal: this.controller.signal,
        closing,
        began: begin => { this.publish({ type: 'round-started', trigger, ...begin }) },
      })
    } catch (cause) {
      if (!(cause instanceof PawlError && cause.code === 'LABELS_INSUFFICIENT')) throw cause
      this.publish({ type: 'round-refused-to-start', reason: cause.message })
      return
    }
    const { decision, challenger } = end
    const proven = challenger && decision.promoted ? await this.serving.promote(challenger) : null
    const outcome = proven?.decision ?? decision
    this.publish({ type: 'round-ended', round: outcome.round, decision: outcome })
    if (challenger && outcome.promoted) await this.announce(challenger, proven?.loadedInMs ?? 0)
  }

  /** What a new round learns from. Errors: LABELS_INSUFFICIENT. */
  private async gather(): Promise<RoundData> {
    const { config, frames, labels, drift, random } = this
    const unlabeled = reservoir(frames.list(), config.rounds.maxFrames, () => random.float()).map(({ path }) => path)
    const split = await labels.read()
    await this.registry.setLastRun(roundJob)
    // The gate split is from before the change: it does not speak for what the camera sees now.
    return { ...split, unlabeled, switches: drift.alarm ? { gate: 'never' } : {} }
  }

  private async announce(model: ModelVersion, loadedInMs: number): Promise<void> {
    this.publish({ type: 'model-active', model, loadedInMs })
    this.drift.begin(model.version)
    for (const frame of this.newest.values()) await this.predict(frame)
  }

  private async setAside(path: string, reason: string): Promise<void> {
    if (this.frames.holds(path)) await this.frames.remove(path)
    else await this.labels.quarantine(path, reason)
    this.publish({ type: 'quarantine', path, reason })
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
