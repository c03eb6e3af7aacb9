/** Rounds from their trigger to what serves: gather the data, learn, judge, register, swap. */
import { PawlError } from './errors.js'
import type { Config } from './config.js'
import type { Drift } from './drift/drift.js'
import type { AgentEvent, ModelVersion } from './events.js'
import type { Exchange } from './exchange/exchange.js'
import type { Judgement } from './exchange/receiver.js'
import type { LabelStore } from './frames/label-store.js'
import type { LabelWatch } from './frames/label-watch.js'
import { reservoir } from './frames/reservoir.js'
import type { FrameStore } from './frames/store.js'
import type { Clock } from './lib/clock.js'
import type { Registry } from './registry/registry.js'
import type { Learning, RoundBegin, RoundData, RoundEnd, RunOptions } from './rounds/learning.js'
import { isVerdict } from './rounds/promotion.js'
import type { RoundRecords } from './rounds/records.js'
import { Schedule, type Trigger } from './rounds/schedule.js'
import type { Serving } from './serving.js'

export interface TrainingOptions {
  config: Config['rounds']
  frames: FrameStore
  labels: LabelStore
  labelWatch: LabelWatch
  drift: Drift
  registry: Registry
  learning: Learning
  records: RoundRecords
  serving: Serving
  exchange: Exchange
  publish: (event: AgentEvent) => void
  /** A challenger serves from now on; milliseconds that it took to load. */
  onActive: (model: ModelVersion, loadedInMs: number) => Promise<void>
  /** A round that did not begin or end as it should. */
  onFailed: (message: string) => void
  clock: Clock
  /** The agent ends: so does the round that runs, and the next start takes it up again. */
  signal: AbortSignal
  /** Uniform in [0, 1). */
  random: () => number
}

const job = 'round'

export class Training {
  private readonly options: TrainingOptions
  private schedule: Schedule | null = null

  constructor(options: TrainingOptions) {
    this.options = options
  }

  /** After the model in service serves: an interrupted round goes on for it. */
  async start(): Promise<void> {
    const { config, frames, labelWatch, drift, registry, learning, exchange, clock, onFailed } = this.options
    await learning.start()
    const lastRoundAtMs = registry.lastRunAtMs(job)
    this.schedule = new Schedule({
      config,
      clock,
      lastRoundAtMs,
      framesSince: lastRoundAtMs === null ? 0 : frames.list().filter(({ capturedAtMs }) => capturedAtMs > lastRoundAtMs).length,
      surroundings: {
        mayLearn: () => registry.mode.kind !== 'pause',
        hasModel: () => registry.active() !== null,
        interrupted: () => learning.interrupted,
        driftAlarmAtMs: () => drift.alarm?.raisedAtMs ?? null,
        offered: () => exchange.ready,
        labelsSince: ms => labelWatch.since(ms),
        newestLabelAtMs: () => labelWatch.newestAtMs,
      },
      run: async (trigger, closing, began) => {
        try {
          return await this.round(trigger, closing, began)
        } catch (cause) {
          const message = cause instanceof Error ? cause.message : String(cause)
          onFailed(message)
          return message
        }
      },
    })
    this.schedule.start()
  }

  /** Waits for the end of the round that runs. Before, the signal must have fired. */
  async stop(): Promise<void> {
    await this.schedule?.stop()
  }

  get busy(): boolean {
    return this.schedule?.busy ?? false
  }

  /** Starts a round, and waits until it has begun; why it has not, else null. */
  async begin(): Promise<string | null> {
    if (this.options.signal.aborted) return 'the agent ends'
    return this.schedule ? await this.schedule.command() : 'the agent is still starting'
  }

  frameStored(): void {
    this.schedule?.frameStored()
  }

  /** Why it did not begin; null: it did. */
  private async round(trigger: Trigger, closing: AbortSignal, began: () => void): Promise<string | null> {
    const { learning, records, registry, serving, publish, onActive, signal } = this.options
    let end
    const running = {
      signal,
      closing,
      began: (begin: RoundBegin) => {
        began()
        publish({ type: 'round-started', trigger, ...begin })
      },
    }
    try {
      end = trigger === 'offer' ? await this.judge(running) : await learning.run({ ...running, gather: () => this.gather() })
      if (!end) return 'what was offered is withdrawn'
    } catch (cause) {
      const waits = cause instanceof PawlError && (cause.code === 'LABELS_INSUFFICIENT' || (cause.code === 'DISK_FULL' && trigger !== 'offer'))
      if (!waits) throw cause
      if (trigger !== 'offer') publish({ type: 'round-refused-to-start', reason: cause.message })
      return cause.message
    }
    const { decision, challenger, result } = end
    if (challenger && result) await records.keep(decision.round, result, registry.folderOf(challenger))
    if (!challenger || !decision.promoted) {
      publish({ type: 'round-ended', round: decision.round, decision })
      return null
    }
    const entered = await serving.promote(challenger)
    // What came of it the next start tells.
    if (!entered) return null
    publish({ type: 'round-ended', round: entered.decision.round, decision: entered.decision })
    if (entered.decision.promoted) await onActive(challenger, entered.loadedInMs)
    return null
  }

  /** A model that another box made; null: it is withdrawn. Errors: LABELS_INSUFFICIENT, and it waits on. */
  private async judge(running: Omit<RunOptions, 'gather' | 'given'>): Promise<RoundEnd | null> {
    const { exchange, labels, learning } = this.options
    const given = await exchange.take()
    if (!given) return null
    let judgement: Judgement = 'stopped'
    try {
      const end = await learning.run({ ...running, given, gather: async () => ({ ...await labels.read(), unlabeled: [], switches: {} }) })
      if (end.decision.reason !== 'stopped') judgement = isVerdict(end.decision) ? 'verdict' : 'failed'
      return end
    } finally {
      await exchange.settle(judgement)
    }
  }

  /** What a new round learns from. Errors: LABELS_INSUFFICIENT, DISK_FULL. */
  private async gather(): Promise<RoundData> {
    const { config, frames, labels, drift, registry, random } = this.options
    const full = await frames.fullForRounds()
    if (full !== null) throw new PawlError('DISK_FULL', full)
    const unlabeled = reservoir(frames.list(), config.maxFrames, random).map(({ path }) => path)
    const split = await labels.read()
    await registry.setLastRun(job)
    // The gate split is from before the change: it does not speak for what the camera sees now.
    return { ...split, unlabeled, switches: drift.alarm ? { gate: 'never' } : {} }
  }
}
