/** Watches the model on probation: gathers frames of the site, has both models answer them now and then, and says what came of it. */
import { readFile, rm } from 'node:fs/promises'
import { z } from 'zod'
import type { Pair } from '../classifier/side-by-side.js'
import type { Config } from '../config.js'
import type { Frame, ModelVersion } from '../events.js'
import { writeDurably } from '../lib/durable.js'
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
  compare: (candidates: Candidates, jpegs: readonly Uint8Array[]) => Promise<Pair[]>
  /** Paths of the promotion images. */
  promotionImages: () => Promise<string[]>
  /** Hears of every look, and when nothing more will come of one. Awaited: nothing is gathered meanwhile. */
  onRecord: (record: ProbationRecord) => Promise<void>
  onProblem: (message: string) => void
  random: () => number
}

/** Both tests are taken so often. */
const looks = 4
/** The process of a sound model does not die so often. */
const mostCrashes = 3

const Pairs = z.array(z.strictObject({ former: z.string(), now: z.string(), gain: z.number() }))
const Stored = z.strictObject({ model: z.number().int(), former: z.number().int(), site: Pairs, promotion: Pairs })

/** What is known of the model on probation. */
interface Trial {
  candidates: Candidates
  site: Pair[]
  promotion: Pair[]
  /** Frames that both models are to answer. */
  waiting: Uint8Array[]
  crashes: number
}

export class ProbationWatch {
  private readonly options: ProbationWatchOptions
  private trial: Trial | null = null
  private readonly takenAtMs = new Map<string, number>()
  private looking: Promise<void> | null = null

  constructor(options: ProbationWatchOptions) {
    this.options = options
  }

  /** Null: the model in service is not on probation. What was seen of the same two before a restart counts. */
  async begin(candidates: Candidates | null): Promise<void> {
    const { config, file } = this.options
    this.trial = null
    const stored = await readFile(file, 'utf8').then(text => Stored.parse(JSON.parse(text))).catch(() => null)
    const same = stored !== null && config.frames > 0 && stored.model === candidates?.model.version && stored.former === candidates.former.version
    if (stored && !same) await this.end(stored)
    if (!candidates || config.frames === 0) return
    this.trial = { candidates, site: same ? stored.site : [], promotion: same ? stored.promotion : [], waiting: [], crashes: 0 }
  }

  /** A frame that model `version` has answered. */
  observe({ camera, capturedAtMs, jpeg }: Pick<Frame, 'camera' | 'capturedAtMs' | 'jpeg'>, version: number): void {
    const { trial, options: { config } } = this
    if (trial?.candidates.model.version !== version || this.looking) return
    const former = this.takenAtMs.get(camera)
    if (former !== undefined && Math.abs(capturedAtMs - former) < config.everySeconds * 1000) return
    this.takenAtMs.set(camera, capturedAtMs)
    trial.waiting.push(jpeg)
    if (trial.waiting.length >= config.frames / looks) this.settle(trial, () => this.look(trial))
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
    const { config: { frames: of, alpha }, file, onRecord } = this.options
    await rm(file, { force: true }).catch(() => undefined)
    await onRecord(endedProbation(site, promotion, { model, former, of, alpha: alpha / looks }))
  }

  private async look(trial: Trial): Promise<ProbationRecord> {
    const { config, compare, promotionImages, random, file } = this.options
    const { candidates, site } = trial
    const [model, former] = [candidates.model.version, candidates.former.version]
    if (trial.promotion.length === 0) {
      const images = await Promise.all((await promotionImages()).map(path => readFile(path).catch(() => new Uint8Array())))
      trial.promotion = await compare(candidates, images)
    }
    site.push(...await compare(candidates, trial.waiting.splice(0)))
    await writeDurably(file, JSON.stringify({ model, former, site, promotion: trial.promotion } satisfies z.infer<typeof Stored>))
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
    this.looking ??= this.told(trial, find).catch((cause: unknown) => {
      this.options.onProblem(`the model on probation could not be compared with the one before it: ${cause instanceof Error ? cause.message : String(cause)}`)
    }).finally(() => { this.looking = null })
  }

  private async told(trial: Trial, find: () => Promise<ProbationRecord>): Promise<void> {
    const record = await find()
    if (this.trial !== trial) return
    if (record.state !== 'running') {
      this.trial = null
      await rm(this.options.file, { force: true })
    }
    await this.options.onRecord(record)
  }
}
