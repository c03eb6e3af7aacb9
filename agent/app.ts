/**
 * The composition root: constructs every part and connects them in the order in which data flows.
 *
 *   camera ─► sampler ─► frame store ─┬─► classifier ─► predictions ─► report
 *                                     └─► round ─► promotion gate ─► registry ─► hot swap ─► report
 *
 * The hot swap in `learn` is the one arrow back.
 */
import { mkdir, readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Random } from '../trainer/index.js'
import { Camera } from './camera/camera.js'
import { cameraSources } from './camera/index.js'
import { Sampler } from './camera/sampler.js'
import { Simulation } from './camera/simulation.js'
import { ClassifierPool } from './classifier/pool.js'
import { bundled, type CameraConfig, type Config } from './config.js'
import { PawlError } from './errors.js'
import type { AgentEvent, Frame, ModelVersion } from './events.js'
import { importLabels, quarantine, readLabels } from './frames/labels.js'
import { reservoir } from './frames/reservoir.js'
import { FrameStore } from './frames/store.js'
import { systemClock } from './lib/clock.js'
import { EventStream } from './lib/event-stream.js'
import { holdFolder } from './lib/exclusive.js'
import type { Logger } from './lib/logger.js'
import { packageVersion } from './lib/package-root.js'
import { Registry } from './registry/registry.js'
import { EmbeddedBroker } from './report/broker.js'
import { Reporter } from './report/reporter.js'
import { Learning } from './rounds/learning.js'
import { Schedule, type Trigger } from './rounds/schedule.js'

export interface AgentOptions {
  config: Config
  logger: Logger
  /** Hears every event, from the first on. */
  onEvent: (event: AgentEvent) => void
}

/** Where people and other programs find the running agent. */
export interface Addresses {
  broker: string
  cameras: Record<string, string>
}

/** From the photographs' shelf to the belt: pictures a second, and pixels that the belt moves between two. */
const simulated = { picturesPerSecond: 10, speed: 24 }
const roundJob = 'round'
const randomSeed = 0x9a31

export class Agent {
  private readonly config: Config
  private readonly logger: Logger
  private readonly events: EventStream<AgentEvent>
  private readonly controller = new AbortController()
  private readonly random = Random.of(randomSeed, Date.now())
  private readonly frames: FrameStore
  private readonly classifier: ClassifierPool
  private readonly registry: Registry
  private readonly learning: Learning
  private schedule: Schedule | null = null
  private cameras: Camera[] = []
  /** Newest frame of each camera: judged again when the model changes. */
  private readonly newest = new Map<string, Frame>()
  private collecting: string | null = null
  /** What to undo, last first. */
  private readonly started: (() => Promise<void>)[] = []

  constructor({ config, logger, onEvent }: AgentOptions) {
    this.config = config
    this.logger = logger
    this.events = new EventStream({ onListenerError: cause => { logger.error(cause, 'a listener failed') } })
    this.events.subscribe(onEvent)
    const clock = systemClock
    this.frames = new FrameStore({ folder: join(config.data, 'frames'), config: config.frames, clock })
    this.classifier = new ClassifierPool({ threads: 1, loadMs: 60_000, onProblem: message => { this.problem('MODEL_INVALID', message) } })
    this.registry = new Registry({ data: config.data, clock, logger, onProblem: error => { this.problem(error.code, error.message) } })
    this.learning = new Learning({
      config: config.rounds,
      folder: join(config.data, 'rounds'),
      registry: this.registry,
      clock,
      onEvent: (round, event) => { this.publish({ type: 'round-event', round, event }) },
      onQuarantine: (path, reason) => this.setAside(path, reason),
    })
  }

  /** Simulated cameras by id: a demonstration changes their site. */
  readonly simulations = new Map<string, Simulation>()

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
  train(trigger: Trigger): boolean {
    return this.schedule?.trigger(trigger) ?? false
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
      decisions: registry.decisions().slice(-5),
    }
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
    await this.importLabelsOnce()
    const broker = await this.startReport()
    this.started.push(() => this.classifier.stop())
    await this.serveChampion()
    const cameras = await this.startCameras()
    this.startSchedule()
    return { broker, cameras }
  }

  // Report: first to start and last to stop, so that it hears everything.

  private async startReport(): Promise<string> {
    const { config, logger } = this
    const { mqtt } = config
    let url = mqtt.broker
    if (url === 'embedded') {
      const broker = new EmbeddedBroker({ port: mqtt.port })
      url = await broker.start()
      this.started.push(() => broker.stop())
    }
    const reporter = new Reporter({
      device: config.device,
      version: packageVersion(),
      url,
      username: mqtt.username,
      password: await passwordOf(mqtt),
      base: mqtt.base,
      predictionEveryMs: mqtt.predictionEveryMs,
      outbox: { folder: join(config.data, 'outbox'), maxEvents: mqtt.outboxEvents },
      handlers: {
        train: () => {
          if (!this.train('command')) throw new PawlError('COMMAND_INVALID', 'a round is running already; nothing was started')
          return { started: true }
        },
        status: () => this.status(),
      },
      lastDecision: this.registry.decisions().at(-1) ?? null,
      emit: event => { this.publish(event) },
      clock: systemClock,
      random: Math.random,
      logger,
    })
    await reporter.start()
    const unsubscribe = this.events.subscribe(event => { reporter.accept(event) })
    this.started.push(async () => {
      unsubscribe()
      await reporter.stop()
    })
    return url
  }

  // Camera ─► sampler ─► frame store and classifier.

  private async startCameras(): Promise<Record<string, string>> {
    const addresses: Record<string, string> = {}
    for (const [index, wanted] of this.config.cameras.entries()) {
      const url = wanted.source === 'simulation' ? await this.startSimulation(wanted.id, index) : wanted.url
      const camera: CameraConfig = { ...wanted, url }
      const sampler = new Sampler({ crop: camera.crop })
      const watched = new Camera({
        id: camera.id,
        source: cameraSources[camera.source](camera),
        maxPerSecond: camera.maxPerSecond,
        silentAfterMs: camera.silentAfterSeconds * 1000,
        clock: systemClock,
        random: Math.random,
        onPicture: async picture => {
          for (const frame of await sampler.sample(picture)) await this.frame(frame)
        },
        onStatus: status => { this.publish({ type: 'camera', status }) },
      })
      watched.start()
      this.cameras.push(watched)
      addresses[camera.id] = url
    }
    this.started.push(async () => { await Promise.all(this.cameras.map(camera => camera.stop())) })
    return addresses
  }

  private async startSimulation(id: string, index: number): Promise<string> {
    const simulation = new Simulation({ photographs: bundled('unlabeled'), seed: index + 1, ...simulated })
    this.simulations.set(id, simulation)
    this.started.push(() => simulation.stop())
    return simulation.start()
  }

  private async frame(frame: Frame): Promise<void> {
    this.newest.set(frame.camera, frame)
    await Promise.all([this.store(frame), this.predict(frame)])
  }

  private async store(frame: Frame): Promise<void> {
    const full = await this.frames.full()
    if (full !== this.collecting) {
      this.collecting = full
      this.publish({ type: 'collection', state: full === null ? 'running' : 'stopped', reason: full ?? '' })
    }
    if (full !== null) return
    try {
      await this.frames.add(frame)
    } catch (cause) {
      this.problem('DISK_FULL', `a frame of ${frame.camera} could not be stored: ${cause instanceof Error ? cause.message : String(cause)}`)
      return
    }
    this.publish({ type: 'frame-stored', camera: frame.camera, frames: this.frames.count, bytes: this.frames.totalBytes })
    this.schedule?.frameStored()
  }

  private async predict({ camera, capturedAtMs, jpeg }: Frame): Promise<void> {
    if (this.classifier.version === null) return
    try {
      const { version, label, confidence, probabilities, latencyMs } = await this.classifier.classify(jpeg)
      this.publish({ type: 'prediction', prediction: { camera, capturedAtMs, label, confidence, probabilities, model: version, latencyMs } })
    } catch (cause) {
      this.logger.warn({ camera, reason: cause instanceof Error ? cause.message : String(cause) }, 'a frame was not classified')
    }
  }

  // Round ─► promotion gate ─► registry ─► hot swap.

  private startSchedule(): void {
    const { rounds } = this.config
    const schedule = new Schedule({
      expression: rounds.schedule,
      newFrames: rounds.newFrames,
      clock: systemClock,
      lastRoundAtMs: this.registry.lastRunAtMs(roundJob),
      run: async trigger => {
        try {
          await this.learn(trigger)
        } catch (cause) {
          this.problem('TRAINING_FAILED', cause instanceof Error ? cause.message : String(cause))
        }
      },
    })
    this.schedule = schedule
    schedule.start({ hasModel: this.registry.active() !== null })
    this.started.push(() => schedule.stop())
  }

  private async learn(trigger: Trigger): Promise<void> {
    const { config, frames, registry } = this
    const unlabeled = reservoir(frames.list(), config.rounds.maxFrames, () => this.random.float()).map(({ path }) => path)
    let labels
    try {
      labels = await readLabels(this.folder('labels'), this.config.labels.importValidation ? this.folder('validation') : null)
    } catch (cause) {
      if (!(cause instanceof PawlError)) throw cause
      this.publish({ type: 'round-refused-to-start', reason: cause.message })
      return
    }
    await registry.setLastRun(roundJob)
    const { decision, challenger } = await this.learning.run({ ...labels, unlabeled }, this.controller.signal, round => {
      this.publish({ type: 'round-started', round, trigger, labeled: labels.labeled.length, unlabeled: unlabeled.length })
    })
    this.publish({ type: 'round-ended', round: decision.round, decision })
    if (challenger && decision.promoted) await this.promote(challenger)
  }

  /** Serves the model first; only what serves is written down as the champion. */
  private async promote(model: ModelVersion): Promise<void> {
    try {
      await this.serve(model)
      await this.registry.promote(model.version)
    } catch (cause) {
      this.problem('MODEL_INVALID', cause instanceof Error ? cause.message : String(cause))
    }
  }

  private async serveChampion(): Promise<void> {
    for (let model = this.registry.active(); model; model = this.registry.active()) {
      try {
        await this.serve(model)
        return
      } catch (cause) {
        this.problem('MODEL_INVALID', cause instanceof Error ? cause.message : String(cause))
        // A champion that cannot be served makes way for the one before it, if there is one.
        if (!await this.registry.rollback().then(() => true, () => false)) return
      }
    }
  }

  private async serve(model: ModelVersion): Promise<void> {
    const begin = performance.now()
    await this.classifier.swap({
      version: model.version,
      path: join(this.registry.folderOf(model), 'model.onnx'),
      sha256: model.card.files['model.onnx'],
    })
    this.publish({ type: 'model-active', model, loadedInMs: performance.now() - begin })
    for (const frame of this.newest.values()) await this.predict(frame)
  }

  // Labels.

  /** Copies the configured labels in while there are none; a folder that a person has filled is never touched. */
  private async importLabelsOnce(): Promise<void> {
    const { labels } = this.config
    for (const [from, to] of [[labels.import, 'labels'], [labels.importValidation, 'validation']] as const) {
      await mkdir(this.folder(to), { recursive: true })
      const empty = (await readdir(this.folder(to))).length === 0
      if (from && empty) await importLabels(from, this.folder(to))
    }
  }

  private async setAside(path: string, reason: string): Promise<void> {
    if (path.startsWith(this.folder('frames'))) await this.frames.remove(path)
    else await quarantine(path, reason, this.folder('quarantine'))
    this.publish({ type: 'quarantine', path, reason })
  }

  private folder(part: 'frames' | 'labels' | 'validation' | 'quarantine'): string {
    return join(this.config.data, part)
  }

  private publish(event: AgentEvent): void {
    this.events.publish(event)
  }

  private problem(code: string, message: string): void {
    this.logger.warn({ code }, message)
    this.publish({ type: 'problem', code, message })
  }
}

async function passwordOf({ passwordFile }: Config['mqtt']): Promise<string> {
  if (!passwordFile) return process.env.PAWL_MQTT_PASSWORD ?? ''
  try {
    return (await readFile(passwordFile, 'utf8')).trimEnd()
  } catch (cause) {
    throw new PawlError('CONFIG_INVALID', `mqtt.passwordFile is "${passwordFile}", which cannot be read; create it, or set PAWL_MQTT_PASSWORD`, { cause })
  }
}
