/** A round as the agent sees it: gather the data, train in a child, judge, and say what to put in service. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { Random, type RoundEvent, type RoundResult, type RoundSpec } from '../../trainer/index.js'
import type { Config } from '../config.js'
import type { ModelVersion } from '../events.js'
import type { Clock } from '../lib/clock.js'
import { accuracyOf, decide, lackOf, promotionSetOf, type Origin, type PromotionRecord, type Verdict } from './promotion.js'
import { runInChild, type RoundBrake, type RoundOutcome } from './round.js'
import { beginUnfinished, endUnfinished, findUnfinished, type UnfinishedRound } from './unfinished.js'

/** What a round needs of the registry. */
export interface RoundRegistry {
  active: () => ModelVersion | null
  folderOf: (model: Pick<ModelVersion, 'folder'>) => string
  beginRound: () => Promise<number>
  countAttempt: (promotionSet: string) => Promise<number>
  register: (challenger: { folder: string; card: ModelVersion['card']; decision: (version: number) => PromotionRecord }) => Promise<ModelVersion>
  recordDecision: (decision: PromotionRecord) => Promise<void>
}

/** What a round learns from, and what it leaves out because of it. A round that is taken up again keeps what it began with. */
export type RoundData = Pick<RoundSpec, 'labeled' | 'gate' | 'promotion' | 'unlabeled' | 'switches'>

export interface LearningOptions {
  config: Config['rounds']
  /** Models of other boxes are judged too: they spend one half of alpha, those of this box the other, so that neither leaves the other nothing. */
  exchanges: boolean
  /** Folder for unfinished rounds, on the disk of the registry. */
  folder: string
  /** File that remembers which engines were verified on this machine. */
  engines: string
  registry: RoundRegistry
  clock: Clock
  /** Says when a round should stand still. */
  brake: RoundBrake
  /** From the child's own minutes to the kill. */
  graceMs?: number
  onEvent: (round: number, event: RoundEvent) => void
  /** What the round could not read. Never raises: it is no reason to lose what was learned from the rest. */
  onUnreadable: (images: { path: string; reason: string }[]) => Promise<void>
  /** A round that was interrupted is not taken up again. */
  onGivenUp: (round: number, reason: string) => void
}

/** A model that was made elsewhere, to be judged. */
export interface GivenModel {
  /** With its weights.safetensors and card.json. */
  folder: string
  from: Origin
}

export interface RunOptions {
  /** What a new round learns from; not asked for where one goes on that was interrupted. */
  gather: () => Promise<RoundData>
  /** Nothing is learned: this model is judged, and what was interrupted stays so. */
  given?: GivenModel
  /** The agent ends; the round goes on after its next start. */
  signal: AbortSignal
  /** The round has to make way; it goes on in the next run. */
  closing: AbortSignal
  /** Hears of the round before it starts. */
  began: (begin: RoundBegin) => void
}

export interface RoundEnd {
  decision: PromotionRecord
  /** The challenger, in the registry but not in service, and what it showed; null: the round ended without a model. */
  challenger: ModelVersion | null
  result: RoundResult | null
}

/** What is known of a decision before it falls. */
type Facts = Pick<PromotionRecord, 'round' | 'decidedAtMs' | 'champion' | 'from'>

/** What a round learns from, told as it begins. */
export interface RoundBegin {
  round: number
  labeled: number
  unlabeled: number
  pseudoLabels: boolean
}

export class Learning {
  private readonly options: LearningOptions
  private unfinished: UnfinishedRound | null = null

  constructor(options: LearningOptions) {
    this.options = options
  }

  /** Finds the round that was interrupted and removes what others left behind. */
  async start(): Promise<void> {
    await mkdir(this.options.folder, { recursive: true })
    this.unfinished = await this.find()
  }

  /** Whether a round waits to be taken up again. */
  get interrupted(): boolean {
    return this.unfinished !== null
  }

  /** Runs a round to its end, first the one that was interrupted. Never leaves a half-finished model. Errors: those of `gather`. */
  async run({ gather, given, signal, closing, began }: RunOptions): Promise<RoundEnd> {
    const { registry, config, clock, brake, onEvent, onUnreadable } = this.options
    const champion = registry.active()
    const { round, spec, attempts } = given ? await this.fresh(await gather(), champion, given) : await this.begin(gather, champion)
    began({
      round, labeled: given ? 0 : spec.labeled.length, unlabeled: spec.unlabeled.length, pseudoLabels: given !== undefined || spec.switches.gate !== 'never',
    })
    const unreadable: Extract<RoundEvent, { type: 'quarantine' }>[] = []
    const outcome = await runInChild(spec, {
      graceMs: this.options.graceMs ?? 60_000,
      limits: config,
      brake,
      signal,
      closing,
      onEvent: event => {
        if (event.type === 'quarantine') unreadable.push(event)
        onEvent(round, event)
      },
    }).catch((cause: unknown): RoundOutcome => ({ ok: false, reason: 'crashed', message: cause instanceof Error ? cause.message : String(cause) }))
    const facts = { round, decidedAtMs: clock.nowMs(), champion: champion?.version ?? null, ...given && { from: given.from } }
    if (!outcome.ok && outcome.reason === 'stopped') {
      // The end of the agent, or of a window, is not the end of the round, nor the round's fault.
      const when = signal.aborted ? 'after the next start' : 'when the next window opens'
      const stopped = (explanation: string) => ({ decision: { ...facts, ...refusal(outcome), explanation }, challenger: null, result: null })
      if (given) {
        await rm(spec.out, { recursive: true, force: true }).catch(() => undefined)
        return stopped(`model ${String(given.from.version)} of ${given.from.box} is judged ${when}`)
      }
      this.unfinished = { round, spec, attempts: attempts - 1 }
      await beginUnfinished(this.unfinished).catch(() => undefined)
      return stopped(`it goes on ${when}, from its last checkpoint if there is one yet`)
    }
    try {
      await onUnreadable(unreadable.map(({ path, reason }) => ({ path, reason })))
      if (outcome.ok) return await this.judge(outcome.result, spec, facts)
      const decision = { ...facts, ...refusal(outcome) }
      await registry.recordDecision(decision)
      return { decision, challenger: null, result: null }
    } catch (cause) {
      // A full disk, say: the round has an end all the same, and the champion stays.
      const decision = { ...facts, ...refusal({ ok: false, reason: 'crashed', message: cause instanceof Error ? cause.message : String(cause) }) }
      await registry.recordDecision(decision).catch(() => undefined)
      return { decision, challenger: null, result: null }
    } finally {
      // What is left is cleared away at the next start.
      await rm(spec.out, { recursive: true, force: true }).catch(() => undefined)
    }
  }

  private async begin(gather: RunOptions['gather'], champion: ModelVersion | null): Promise<UnfinishedRound> {
    // What was interrupted may have been given up by now: a label moved, another model in service.
    const interrupted = this.unfinished
    // Forgotten first: one that cannot even be looked for is not begun for ever.
    this.unfinished = null
    const former = interrupted && await this.find()
    const begun = former ? { ...former, attempts: former.attempts + 1 } : await this.fresh(await gather(), champion)
    await beginUnfinished(begun)
    return begun
  }

  private async fresh(data: RoundData, champion: ModelVersion | null, given?: GivenModel): Promise<UnfinishedRound> {
    const round = await this.options.registry.beginRound()
    return { round, spec: { ...this.specOf(data, champion, round), ...given && { given: given.folder } }, attempts: 1 }
  }

  /** The round that was interrupted, if it may go on; what else lies in the folder is cleared away. */
  private async find(): Promise<UnfinishedRound | null> {
    const { folder, registry, onGivenUp } = this.options
    const { unfinished, givenUp } = await findUnfinished(folder)
    if (givenUp) onGivenUp(givenUp.round, givenUp.reason)
    if (!unfinished) return null
    const { round, spec } = unfinished
    // A challenger is trained for the champion of its time, and by the configuration of now.
    if (isDeepStrictEqual(spec, this.specOf(spec, registry.active(), round))) return unfinished
    await rm(spec.out, { recursive: true, force: true })
    onGivenUp(round, 'the configuration or the model in service has changed since')
    return null
  }

  private async judge(result: RoundResult, spec: RoundSpec, facts: Facts): Promise<RoundEnd> {
    const { config, registry } = this.options
    const { card, evidence } = result
    const given = facts.from !== undefined
    // Counted on disk before anybody sees a result: a round that ends without one, or without images to judge by, has cost nothing.
    const kind = given ? 'given:' : spec.champion ? '' : 'first:'
    const attempt = lackOf(evidence, { given }) === null ? await registry.countAttempt(`${kind}${promotionSetOf(spec.promotion.length)}`) : 1
    const random = Random.of(spec.seed, attempt)
    const share = this.options.exchanges ? 0.5 : 1
    const { alpha, refreshMargin } = config
    const verdict = decide(evidence, { alpha, share, refreshMargin, attempt, given, random: () => random.float() })
    const decisionFor = (version: number): PromotionRecord => ({
      ...facts, ...verdict, challenger: version,
      accuracyChampion: accuracyOf(evidence, evidence.champion), accuracyChallenger: accuracyOf(evidence, evidence.challenger),
    })
    await endUnfinished(spec)
    const challenger = await registry.register({ folder: spec.out, card, decision: decisionFor })
    return { decision: decisionFor(challenger.version), challenger, result }
  }

  private specOf({ labeled, unlabeled, gate, promotion, switches }: RoundData, champion: ModelVersion | null, round: number): RoundSpec {
    const { config, folder, engines, registry } = this.options
    return {
      labeled, unlabeled, gate, promotion, switches,
      out: join(folder, String(round)),
      preset: config.preset,
      method: config.method,
      seed: config.seed + round - 1,
      steps: null,
      minutes: champion ? config.minutes : config.firstMinutes,
      backend: config.backend,
      device: 'auto',
      engines,
      champion: champion && { version: champion.version, folder: registry.folderOf(champion), ...champion.decision.from && { given: true } },
      lanes: config.lanes || null,
    }
  }
}

function refusal({ reason, message }: Extract<RoundOutcome, { ok: false }>): Omit<Verdict, 'comparison'> & Pick<PromotionRecord, 'challenger' | 'accuracyChampion' | 'accuracyChallenger' | 'comparison'> {
  return {
    promoted: false, reason, explanation: `the round ended without a model: ${message}`,
    challenger: null, accuracyChampion: null, accuracyChallenger: null, comparison: null,
  }
}
