/** The retained topics, computed from the agent's events. Pure but for the clock. */
import type { DriftEvent } from '../drift/alarm.js'
import type { AgentEvent, CameraStatus } from '../events.js'
import type { Clock } from '../lib/clock.js'
import { calibrationErrorOf } from '../figures.js'
import type { Mode } from '../registry/state.js'
import type { DriftState, Health, Info, ModelActive, TopicName, TrainState } from './topics.js'

const problemMs = 3_600_000
const keptProblems = 10
const progressEveryMs = 2_000

export interface RetainedStateOptions {
  info: Info
  clock: Clock
  predictionEveryMs: number
  outbox: () => Health['outbox']
  /** What else is wrong now: no model answers, models are not exchanged. */
  away: () => readonly string[]
  mode: Mode
  /** Frames on disk at the start, and their bytes. */
  frames: number
  frameBytes: number
  publish: (change: StateChange) => void
}

/** The newest value of a retained topic, in the shape of its schema; `camera` is "" where the topic is of the box. */
export interface StateChange {
  name: TopicName
  camera: string
  value: unknown
}

const idle: TrainState = {
  state: 'idle', round: null, trigger: null, phase: null, fraction: 0, secondsLeft: null, imagesPerSecond: null, gateOpen: null, paused: null, refused: null,
}

export class RetainedState {
  private readonly options: RetainedStateOptions
  private readonly cameras = new Map<string, CameraStatus>()
  /** Why the broker is away; null: it is not. */
  private broker: string | null = null
  private link: readonly string[] = []
  private readonly predictions = new Map<string, { label: string; model: number; atMs: number }>()
  private readonly startedMs: number
  /** With the monotonic time at which each was told: the time of day may jump. */
  private problems: { told: Health['problems'][number]; sinceMs: number }[] = []
  private collection: Health['collection'] = { state: 'running', reason: '' }
  private frames: number
  private frameBytes: number
  private train = idle
  private progressAtMs = -Infinity
  private newestHealth: Health | null = null

  constructor(options: RetainedStateOptions) {
    this.options = options
    this.startedMs = options.clock.monotonicMs()
    this.frames = options.frames
    this.frameBytes = options.frameBytes
  }

  /** What is known before the first event. */
  begin(): void {
    this.set('info', this.options.info)
    this.set('trainState', this.train)
    this.set('modelMode', this.options.mode)
    this.set('drift', { state: 'off', model: null, alarm: null } satisfies DriftState)
    this.publishHealth()
  }

  accept(event: AgentEvent): void {
    switch (event.type) {
      case 'camera': {
        const { camera, state, reason } = event.status
        const former = this.cameras.get(camera)
        this.cameras.set(camera, event.status)
        this.set('cameraStatus', event.status, camera)
        if (state !== former?.state || reason !== former.reason) this.publishHealth()
        return
      }
      case 'prediction':
        this.acceptPrediction(event)
        return
      case 'frame-stored':
        this.frames = event.frames
        this.frameBytes = event.bytes
        return
      case 'round-started':
        this.setTrain({ ...idle, state: 'running', round: event.round, trigger: event.trigger })
        return
      case 'round-event':
        this.acceptRoundEvent(event)
        return
      case 'round-ended':
        this.setTrain({ ...idle, round: event.round })
        // One that was only stopped says nothing of a candidate, and one that judged a model of another box learned nothing.
        if (event.decision.reason !== 'stopped' && !event.decision.from) this.set('modelCandidate', event.decision)
        return
      case 'round-refused-to-start':
        this.setTrain({ ...idle, round: this.train.round, refused: event.reason })
        return
      case 'model-active':
        this.set('modelActive', activeModel(event))
        this.publishHealth()
        return
      case 'probation':
        this.set('modelProbation', event.record)
        return
      case 'offer':
        this.set('modelOffer', event.offer)
        return
      case 'mode':
        this.set('modelMode', event.mode)
        return
      case 'drift':
        this.set('drift', driftState(event))
        return
      case 'collection':
        this.collection = { state: event.state, reason: event.reason }
        this.publishHealth()
        return
      case 'problem': {
        const { code, message } = event
        const { clock } = this.options
        this.problems = [...this.problems, { told: { code, message, atMs: clock.nowMs() }, sinceMs: clock.monotonicMs() }].slice(-keptProblems)
        this.publishHealth()
        return
      }
      case 'broker':
        this.broker = event.state === 'connected' ? null : event.reason
        this.publishHealth()
        return
      case 'quarantine':
        return
    }
  }

  /** What is wrong with the connection that stands, or with what the next one needs, in words: told where it changes. */
  setLink(wrong: readonly string[]): void {
    const changes = wrong.join('\n') !== this.link.join('\n')
    this.link = wrong
    if (changes) this.publishHealth()
  }

  publishHealth(): void {
    const { clock, outbox } = this.options
    const [atMs, nowMs] = [clock.nowMs(), clock.monotonicMs()]
    this.problems = this.problems.filter(({ sinceMs }) => nowMs - sinceMs < problemMs)
    const problems = this.problems.map(({ told }) => told)
    const wrong = this.wrong()
    const health: Health = {
      state: wrong.length + problems.length === 0 ? 'ok' : 'degraded',
      atMs,
      uptimeSeconds: Math.round((nowMs - this.startedMs) / 1000),
      rssBytes: process.memoryUsage.rss(),
      collection: this.collection,
      camerasOnline: [...this.cameras.values()].filter(({ state }) => state === 'online').length,
      cameras: this.cameras.size,
      frames: this.frames,
      frameBytes: this.frameBytes,
      outbox: outbox(),
      wrong,
      problems,
    }
    this.newestHealth = health
    this.set('health', health)
  }

  /** Now, in words. */
  private wrong(): string[] {
    const { broker, collection: { state, reason }, cameras, link, options: { away } } = this
    return [
      ...[...cameras.values()].filter(camera => camera.state !== 'online').map(camera => `camera ${camera.camera} is ${camera.state}${camera.reason === null ? '' : `: ${camera.reason}`}`),
      ...state === 'running' ? [] : [`no frames are collected: ${reason}`],
      ...broker === null ? link : [`the broker is away: ${broker}`],
      ...away(),
    ]
  }

  /** As it was said last; null: not yet. */
  get health(): Health | null {
    return this.newestHealth
  }

  private acceptPrediction({ prediction }: Extract<AgentEvent, { type: 'prediction' }>): void {
    const { clock, predictionEveryMs } = this.options
    const { camera, label, model } = prediction
    const atMs = clock.monotonicMs()
    const former = this.predictions.get(camera)
    if (former?.label === label && former.model === model && atMs - former.atMs < predictionEveryMs) return
    this.predictions.set(camera, { label, model, atMs })
    this.set('cameraPrediction', prediction, camera)
  }

  private acceptRoundEvent({ event }: Extract<AgentEvent, { type: 'round-event' }>): void {
    if (event.type === 'phase') this.setTrain({ ...this.train, phase: event.phase })
    if (event.type === 'pause') this.setTrain({ ...this.train, paused: event.reason })
    if (event.type === 'gate') this.setTrain({ ...this.train, gateOpen: event.look.open })
    if (event.type !== 'progress') return
    const atMs = this.options.clock.monotonicMs()
    if (atMs - this.progressAtMs < progressEveryMs && this.train.phase === event.phase) return
    this.progressAtMs = atMs
    const { phase, fraction, secondsLeft, imagesPerSecond } = event
    this.setTrain({ ...this.train, phase, fraction, secondsLeft, imagesPerSecond })
  }

  private setTrain(train: TrainState): void {
    this.train = train
    this.set('trainState', train)
  }

  private set(name: TopicName, value: unknown, camera = ''): void {
    this.options.publish({ name, camera, value })
  }
}

function driftState(event: DriftEvent): DriftState {
  switch (event.state) {
    case 'gathering':
    case 'watching': return { state: event.state, model: event.model, alarm: null }
    case 'alarm':
    case 'still': return { state: 'alarm', model: event.alarm.model, alarm: event.alarm }
    case 'over': return { state: 'watching', model: event.alarm.model, alarm: null }
  }
}

function activeModel({ model, loadedInMs, lineage }: Extract<AgentEvent, { type: 'model-active' }>): ModelActive {
  const { version, createdAtMs, card, decision } = model
  return {
    version,
    createdAtMs,
    loadedInMs,
    sha256: card.files['model.onnx'],
    method: card.method,
    preset: card.preset,
    classes: card.classes,
    accuracy: decision.accuracyChallenger,
    ece: calibrationErrorOf(model),
    parent: card.parent?.version ?? null,
    lineage,
  }
}
