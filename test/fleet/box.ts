/** A simulated box: what it retains is computed by the agent's own code from events that somebody made up. */
import type { AgentEvent, CameraStatus } from '../../agent/events.js'
import type { Clock } from '../../agent/lib/clock.js'
import type { Mode } from '../../agent/registry/state.js'
import { commands, verbs, type CommandHandlers, type Verb } from '../../agent/report/commands.js'
import { RetainedState } from '../../agent/report/state.js'
import { ofCamera, topics, type Response, type TopicName } from '../../agent/report/topics.js'
import type { PromotionReason, PromotionRecord } from '../../agent/rounds/promotion.js'
import type { Random } from '../../trainer/index.js'
import { pick } from '../hostile/draw.js'
import { classes, decisionOf, modelOf } from './decision.js'

export interface SimulatedBoxOptions {
  device: string
  cameras: number
  random: Random
  clock: Clock
  /** `topic` below the box. */
  publish: (message: { topic: string; payload: string; qos: 0 | 1; retained: boolean }) => void
}

const versions = ['0.9.4', '1.0.0', '1.0.1', '1.1.0']
const reasons: readonly PromotionReason[] = ['inconclusive', 'inconclusive', 'inconclusive', 'regressed', 'class-regressed', 'likelihood-worse', 'out-of-time']
const troubles = ['connection refused', 'no picture for 10 s', '401 Unauthorized', 'shows the same picture to the bit for 300 s'] as const

/** What may happen to a box, with how often beside the others. */
const happenings = { round: 5, progress: 8, camera: 3, frames: 4, drift: 1, availability: 2, problem: 1 } as const

export class SimulatedBox {
  readonly device: string
  online = true
  private readonly options: SimulatedBoxOptions
  private readonly state: RetainedState
  private readonly cameras: CameraStatus[]
  private readonly rssBytes: number
  private readonly startedAtMs: number
  private mode: Mode = { kind: 'follow' }
  private round = 0
  private model = 0
  private accuracy = 0
  private running: { fraction: number } | null = null
  private alarm = false
  private frames: number

  constructor(options: SimulatedBoxOptions) {
    const { device, cameras, random, clock } = options
    this.options = options
    this.device = device
    this.rssBytes = 150e6 + random.below(120e6)
    this.frames = random.below(20_000)
    this.startedAtMs = clock.nowMs() - random.below(30 * 86_400_000)
    this.cameras = Array.from({ length: cameras }, (_, index) => ({
      camera: `cam-${String(index + 1)}`, state: 'online', lastPictureAtMs: clock.nowMs(), picturesPerSecond: 5 + random.below(20) / 4,
      restarts: random.below(4), reason: null,
    }))
    this.state = new RetainedState({
      info: { device, version: pick(random, versions), node: process.version, platform: 'linux arm64', startedAtMs: this.startedAtMs },
      clock, predictionEveryMs: 1000, outbox: () => ({ waiting: 0, dropped: 0 }), away: () => [], mode: this.mode,
      frames: this.frames, frameBytes: this.frames * 24_000,
      publish: ({ name, camera, value }) => { this.retain(name, camera, value) },
    })
  }

  /** Says everything once: as it is some time after its start. */
  begin(): void {
    const { random } = this.options
    this.say('availability', 'online')
    this.state.begin()
    for (const status of this.cameras) this.state.accept({ type: 'camera', status: { ...status } })
    this.round = random.below(40)
    this.accuracy = 0.7 + random.float() * 0.25
    if (this.round > 0) {
      this.state.accept({ type: 'drift', state: 'watching', model: this.round })
      this.decide()
      if (random.float() < 0.8) {
        this.round++
        this.decide()
      }
    }
    if (random.float() < 0.05) this.breakCamera()
    if (random.float() < 0.03) this.drift()
    if (random.float() < 0.03) this.setOnline(false)
    if (random.float() < 0.04) this.beginRound()
  }

  health(): void {
    if (this.online) this.state.publishHealth()
  }

  cameraStatus(): void {
    if (this.online) for (const status of this.cameras) this.state.accept({ type: 'camera', status: { ...status, lastPictureAtMs: this.options.clock.nowMs() } })
  }

  predict(): void {
    const { random, clock } = this.options
    if (!this.online || this.model === 0) return
    const label = pick(random, classes)
    const prediction = { camera: 'cam-1', capturedAtMs: clock.nowMs(), label, confidence: 0.9, probabilities: { [label]: 0.9 }, model: this.model, latencyMs: 12 }
    this.state.accept({ type: 'prediction', prediction })
  }

  /** Something happens. */
  change(): void {
    const { random } = this.options
    if (!this.online) return this.setOnline(true)
    const kinds = Object.entries(happenings) as [keyof typeof happenings, number][]
    const all = kinds.flatMap(([what, times]) => Array.from({ length: times }, () => what))
    switch (pick(random, all)) {
      case 'round': return this.nextRound()
      case 'progress': return this.progress()
      case 'camera': return this.camera()
      case 'frames': return this.storeFrame()
      case 'drift': return this.drift()
      case 'availability': return this.setOnline(false)
      case 'problem': return this.event({ type: 'problem', code: 'IMAGE_UNREADABLE', message: 'a frame of camera cam-1 could not be decoded' })
    }
  }

  setOnline(online: boolean): void {
    this.online = online
    this.say('availability', online ? 'online' : 'offline')
  }

  /** As the agent answers. */
  answer(name: string, text: string): void {
    const verb = verbs.find(known => known === name)
    const json = JSON.parse(text || '{}') as { transaction?: string }
    const parsed = verb && commands[verb].payload.safeParse(json)
    const response: Response = verb && parsed?.success ? { status: 'ok', data: this.carryOut(verb, parsed.data) }
      : { status: 'error', error: { code: 'COMMAND_INVALID', message: parsed?.error?.issues[0]?.message ?? `there is no command "${name}"` } }
    const { topic, qos, retained } = topics.response
    const payload = JSON.stringify({ ...response, ...json.transaction !== undefined && { transaction: json.transaction } })
    this.options.publish({ topic: topic.replace('{verb}', name), payload, qos, retained })
  }

  private carryOut(verb: Verb, request: object): unknown {
    const { version } = request as { version?: number }
    const moded = (mode: Mode) => {
      this.mode = mode
      this.event({ type: 'mode', mode })
      return { mode }
    }
    const handlers: CommandHandlers = {
      train: () => {
        if (!this.running) this.beginRound()
        return { started: true }
      },
      status: () => ({
        device: this.device, model: this.model || null, serving: this.model || null, mode: this.mode, probation: false,
        training: this.running !== null, frames: this.frames,
        frameBytes: this.frames * 24_000, drift: null, decisions: [],
      }),
      promote: request => ({ model: request.version }),
      rollback: () => ({ model: Math.max(1, this.model - 1) }),
      pin: () => moded({ kind: 'pin', version: version ?? Math.max(1, this.model) }),
      follow: () => moded({ kind: 'follow' }),
      pause: () => moded({ kind: 'pause' }),
      reload: () => ({ reloading: true }),
    }
    return (handlers[verb] as (request: object) => unknown)(request)
  }

  private beginRound(): void {
    this.round++
    this.running = { fraction: 0 }
    this.event({ type: 'round-started', round: this.round, trigger: 'schedule', labeled: 120, unlabeled: 3000, pseudoLabels: true })
    this.event({ type: 'round-event', round: this.round, event: { type: 'phase', phase: 'reconstruct' } })
  }

  private progress(): void {
    if (!this.running) return this.storeFrame()
    this.running.fraction = Math.min(0.99, this.running.fraction + 0.1)
    this.event({
      type: 'round-event', round: this.round,
      event: {
        type: 'progress', phase: 'semi-supervised', step: Math.round(this.running.fraction * 600), steps: 600, fraction: this.running.fraction,
        secondsLeft: 600 * (1 - this.running.fraction), losses: { reconstruction: 0.3, labeled: 0.5, unlabeled: 0.4 }, imagesPerSecond: 180,
      },
    })
  }

  private nextRound(): void {
    if (!this.running) return this.beginRound()
    this.running = null
    this.decide()
  }

  private decide(): void {
    const { random, clock } = this.options
    const promoted = this.model === 0 || random.float() < 0.6
    const first = this.model === 0
    const decision = decisionOf({
      round: this.round, promoted, reason: first ? 'first-model' : promoted ? 'better' : pick(random, reasons), champion: this.model || null,
      accuracyChampion: first ? null : this.accuracy, accuracyChallenger: Math.min(0.99, this.accuracy + (promoted ? 0.004 : -0.01)),
      decidedAtMs: clock.nowMs() - random.below(86_400_000),
    })
    this.event({ type: 'round-ended', round: this.round, decision })
    if (!promoted) return
    this.accuracy = decision.accuracyChallenger ?? this.accuracy
    this.serve(decision)
  }

  private serve(decision: PromotionRecord): void {
    this.model = this.round
    const model = modelOf({ version: this.model, accuracy: this.accuracy, decision })
    this.event({ type: 'model-active', loadedInMs: 140, lineage: null, model })
  }

  private camera(): void {
    if (this.cameras.some(({ state }) => state !== 'online')) this.mendCameras()
    else this.breakCamera()
  }

  private breakCamera(): void {
    const { random } = this.options
    const status = pick(random, this.cameras)
    Object.assign(status, { state: 'offline', reason: pick(random, troubles), picturesPerSecond: 0, restarts: status.restarts + 1 })
    this.event({ type: 'camera', status: { ...status } })
  }

  private mendCameras(): void {
    for (const status of this.cameras.filter(({ state }) => state !== 'online')) {
      Object.assign(status, { state: 'online', reason: null, picturesPerSecond: 5 })
      this.event({ type: 'camera', status: { ...status } })
    }
  }

  private drift(): void {
    const { clock } = this.options
    this.alarm = !this.alarm
    const alarm = {
      detector: 'two-sample' as const, model: this.model, sinceMs: clock.nowMs() - 900_000, raisedAtMs: clock.nowMs(), p: 1e-9, alpha: 1e-6,
      moved: [{ kind: 'confidence' as const, name: 'confidence', distance: 0.4, from: 0.9, to: 0.6 }], message: 'the pictures have changed since this morning (confidence 0.90 → 0.60; p 1e-9)',
    }
    this.event(this.alarm ? { type: 'drift', state: 'alarm', alarm } : { type: 'drift', state: 'over', alarm, reason: 'fits-again' })
  }

  private storeFrame(): void {
    this.frames++
    this.event({ type: 'frame-stored', camera: 'cam-1', id: `cam-1/${String(this.frames)}`, reason: 'novel', frames: this.frames, bytes: this.frames * 24_000 })
    this.state.publishHealth()
  }

  private event(event: AgentEvent): void {
    this.state.accept(event)
  }

  private retain(name: TopicName, camera: string, value: unknown): void {
    this.say(name, JSON.stringify(name === 'health' ? { ...value as object, rssBytes: this.rssBytes } : value), camera)
  }

  private say(name: TopicName, payload: string, camera = ''): void {
    const { topic, qos, retained } = topics[name]
    this.options.publish({ topic: ofCamera(topic, camera), payload, qos, retained })
  }
}
