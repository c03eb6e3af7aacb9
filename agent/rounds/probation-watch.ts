/** Watches the model on probation: gathers frames of the site, has both models answer them now and then, and says what came of it. */
import { z } from 'zod'
import type { Image, Pair } from '../classifier/side-by-side.js'
import type { Config } from '../config.js'
import type { Frame, ModelVersion } from '../events.js'
import { Backoff } from '../lib/backoff.js'
import type { Clock } from '../lib/clock.js'
import { KeptFile } from '../lib/kept-file.js'
import { endedProbation, judgeProbation, type ProbationRecord } from './probation.js'

/** A model on probation, and what it would fall back to. */
export interface Candidates {
  model: ModelVersion
  former: ModelVersion
}

export interface ProbationWatchOptions {
  config: Config['rounds']['probation']
  /** Keeps what was seen over a restart. */
  file: string
  /** What both models make of images; those that cannot be read are left out. */
  compare: (candidates: Candidates, images: readonly Image[]) => Promise<Pair[]>
  /** Paths of the promotion images. */
  promotionImages: () => Promise<string[]>
  /** Hears of every look, and when nothing more will come of one. Awaited: nothing is gathered meanwhile. */
  onRecord: (record: ProbationRecord) => Promise<void>
  onProblem: (message: string) => void
  /** The agent ends: what fails from then on is no problem of the model's. */
  signal: AbortSignal
  clock: Clock
  random: () => number
}

/** Both tests are taken so often. */
const looks = 4
/** The process of a sound model does not die so often. */
const mostCrashes = 3
/** From a look that could not be taken to the next try, in milliseconds: a person may be about to put the labels in order. */
const retry = { firstMs: 60_000, longestMs: 3_600_000, random: () => 1 } as const

const Pairs = z.array(z.strictObject({ former: z.string(), now: z.string(), gain: z.number() }))
const Stored = z.strictObject({ model: z.number().int(), former: z.number().int(), site: Pairs, promotion: Pairs })

/** What is known of the model on probation. */
interface Trial {
  candidates: Candidates
  site: Pair[]
  promotion: Pair[]
  /** Frames that both models are to answer; no more than one look needs. */
  waiting: Uint8Array[]
  crashes: number
}

export class ProbationWatch {
  private readonly options: ProbationWatchOptions
  private trial: Trial | null = null
  private readonly takenAtMs = new Map<string, number>()
  private looking: Promise<void> | null = null
  private readonly file: KeptFile<z.infer<typeof Stored>>
  private readonly backoff = new Backoff(retry)
  /** On the monotonic clock: not before then is it looked again. */
  private retryAtMs = -Infinity
  /** Why it could not be looked, as it was told last. */
  private toldProblem = ''
  /** What came of a trial is being told: another model begins for that reason. */
  private concluding = false

  constructor(options: ProbationWatchOptions) {
    const { file: path, onProblem } = options
    this.options = options
    this.file = new KeptFile({ path, schema: Stored, onProblem })
  }

  /** Null: the model in service is not on probation. What was seen of the same two before a restart counts. */
  async begin(candidates: Candidates | null): Promise<void> {
    this.trial = null
    this.lookedWell()
    const { config } = this.options
    const stored = await this.file.read()
    const same = stored !== null && config.frames > 0 && stored.model === candidates?.model.version && stored.former === candidates.former.version
    if (stored && !same && !this.concluding) await this.end(stored)
    if (!candidates || config.frames === 0) return
    this.trial = { candidates, site: same ? stored.site : [], promotion: same ? stored.promotion : [], waiting: [], crashes: 0 }
  }

  /** A frame that model `version` has answered. */
  observe({ camera, capturedAtMs, jpeg }: Pick<Frame, 'camera' | 'capturedAtMs' | 'jpeg'>, version: number): void {
    const { trial, options: { config, clock } } = this
    if (trial?.candidates.model.version !== version || this.looking) return
    const enough = config.frames / looks
    const former = this.takenAtMs.get(camera)
    const due = former === undefined || Math.abs(capturedAtMs - former) >= config.everySeconds * 1000
    if (due && trial.waiting.length < enough) {
      this.takenAtMs.set(camera, capturedAtMs)
      trial.waiting.push(jpeg)
    }
    if (trial.waiting.length >= enough && clock.monotonicMs() >= this.retryAtMs) this.settle(trial, () => this.look(trial))
  }

  /** The process of the model in service died by itself. */
  crashed(): void {
    const { trial } = this
    if (!trial) return
    trial.crashes++
    if (trial.crashes >= mostCrashes) this.settle(trial, () => Promise.resolve(this.ofCrashes(trial)))
  }

  async stop(): Promise<void> {
    this.trial = null
    await this.looking
  }

  /** It was said to be running, before a restart perhaps. */
  private async end({ model, former, site, promotion }: z.infer<typeof Stored>): Promise<void> {
    const { config: { frames: of, alpha }, onRecord } = this.options
    await onRecord(endedProbation(site, promotion, { model, former, of, alpha: alpha / looks }))
    await this.file.write(null)
  }

  private async look(trial: Trial): Promise<ProbationRecord> {
    const { config, compare, promotionImages, random } = this.options
    const { candidates, site, waiting } = trial
    const [model, former] = [candidates.model.version, candidates.former.version]
    if (trial.promotion.length === 0) trial.promotion = await compare(candidates, await promotionImages())
    site.push(...await compare(candidates, waiting))
    waiting.length = 0
    if (this.trial === trial) await this.file.write({ model, former, site, promotion: trial.promotion })
    return judgeProbation(site, trial.promotion, { model, former, of: config.frames, alpha: config.alpha / looks, random })
  }

  private ofCrashes({ candidates: { model, former }, site, crashes }: Trial): ProbationRecord {
    const { frames: of, alpha } = this.options.config
    return {
      model: model.version, former: former.version, state: 'failed', reason: 'crashes', frames: site.length, of, site: null, promotion: null, p: null, alpha,
      explanation: `the process of model ${String(model.version)} died ${String(crashes)} times while it was on probation`,
    }
  }

  /** One at a time; what another model was put in service during counts for nothing. */
  private settle(trial: Trial, find: () => Promise<ProbationRecord>): void {
    this.looking ??= this.told(trial, find)
      .then(() => { this.lookedWell() }, (cause: unknown) => { this.lookAgain(cause) })
      .finally(() => { this.looking = null })
  }

  private async told(trial: Trial, find: () => Promise<ProbationRecord>): Promise<void> {
    const record = await find()
    if (this.trial !== trial) return
    this.concluding = record.state !== 'running'
    if (this.concluding) this.trial = null
    await this.options.onRecord(record).finally(() => { this.concluding = false })
    if (record.state !== 'running') await this.file.write(null)
  }

  private lookedWell(): void {
    this.backoff.reset()
    this.retryAtMs = -Infinity
    this.toldProblem = ''
  }

  private lookAgain(cause: unknown): void {
    const { signal, clock, onProblem } = this.options
    if (signal.aborted) return
    this.retryAtMs = clock.monotonicMs() + this.backoff.nextMs()
    const why = cause instanceof Error ? cause.message : String(cause)
    if (why !== this.toldProblem) onProblem(`the model on probation could not be compared with the one before it: ${why}; it is tried again`)
    this.toldProblem = why
  }
}
