/**
 * Which model serves: the champion from the start on, a proven challenger as soon as it has shown that it can, and whichever a person asks
 * for. The pool swaps, the registry remembers; here is the order of the two: what serves is written down, never the other way round.
 *
 * INVARIANT: one change at a time, and none once the agent ends; `stop` waits for the one that is under way.
 */
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { ClassifierPool, ServedModel } from './classifier/pool.js'
import { sideBySide, type Image, type Pair } from './classifier/side-by-side.js'
import { PawlError } from './errors.js'
import type { ModelVersion } from './events.js'
import { Backoff } from './lib/backoff.js'
import { InTurn } from './lib/in-turn.js'
import type { Registry } from './registry/registry.js'
import type { Mode } from './registry/state.js'
import type { PromotionRecord } from './rounds/promotion.js'

export interface ServingOptions {
  classifier: ClassifierPool
  registry: Registry
  /** A promoted model begins on probation. */
  onProbation: boolean
  /** A model serves from now on; milliseconds that it took to load. */
  onActive: (model: ModelVersion, loadedInMs: number) => Promise<void>
  onMode: (mode: Mode) => void
  onProblem: (message: string) => void
  /** The agent ends. */
  signal: AbortSignal
  /** From a model that could not be put back in service to the next try at the soonest; it doubles, up to a minute. */
  retryMs?: number
}

/** What became of a challenger, and the milliseconds that it took to load. */
export interface Entered {
  decision: PromotionRecord
  loadedInMs: number
}

export class Serving {
  private readonly options: ServingOptions
  private readonly turns = new InTurn()
  private trying: Promise<void> = Promise.resolve()
  /** Why the model in service could not be put there, as it was told last. */
  private told = ''

  constructor(options: ServingOptions) {
    this.options = options
  }

  /** What served before the start serves again; what was proved just before a power cut goes in. Tried again until one does. */
  async start(): Promise<void> {
    await this.inTurn(async () => {
      const pending = this.options.registry.unserved()
      const entered = pending && await this.enter(pending)
      if (pending && entered?.decision.promoted) await this.options.onActive(pending, entered.loadedInMs)
      else await this.resume()
    }).catch((cause: unknown) => {
      // A disk that is full, say: it is no reason not to collect, and is tried again.
      if (!this.options.signal.aborted) this.options.onProblem(messageOf(cause))
    })
    this.trying = this.tryAgain()
  }

  /** Waits for the change that is under way. Before, the signal must have fired. */
  async stop(): Promise<void> {
    await this.trying
    await this.turns.run(() => Promise.resolve())
  }

  /** Why nothing answers although a model is in service; null: one does, or there is none yet. */
  get away(): string | null {
    const champion = this.options.registry.active()
    if (!champion || this.options.classifier.version !== null) return null
    return `model ${String(champion.version)} is in service, but has not loaded since the start; it is tried again`
  }

  /**
   * A challenger that passed the gate. Gives its decision, revised where it does not come to serve; null: the agent ends, and its next start
   * puts the challenger in service. Whoever asks tells that it serves.
   */
  promote(model: ModelVersion): Promise<Entered | null> {
    return this.turns.run(async () => (this.options.signal.aborted ? null : this.enter(model)))
  }

  /** A model that a person asks for, whatever was proved of it. Errors: MODEL_INVALID, with the former model still in service. */
  put(version: number, why: string): Promise<ModelVersion> {
    return this.inTurn(() => this.putNow(version, why))
  }

  /** The model before this one. Errors: MODEL_INVALID when there is none or it cannot serve; the model in service stays. */
  rollback(why: string): Promise<ModelVersion> {
    return this.inTurn(() => this.rollBackNow(why))
  }

  /** The model before this one, unless another serves by now than the one that failed. Errors: as `rollback`. */
  async fallBack(failed: number, why: string): Promise<void> {
    await this.inTurn(async () => { if (this.options.registry.active()?.version === failed) await this.rollBackNow(why) })
  }

  /** Keeps a model in service, the one that serves unless another is named; it is on probation no more. Errors: MODEL_INVALID. */
  pin(version: number | null, why: string): Promise<Mode> {
    return this.inTurn(async () => {
      const active = this.options.registry.active()?.version ?? null
      const wanted = version ?? active
      if (wanted === null) throw new PawlError('MODEL_INVALID', 'no model serves yet that could be pinned')
      if (wanted !== active) await this.putNow(wanted, why)
      await this.options.registry.endProbation()
      return this.setModeNow({ kind: 'pin', version: wanted }, why)
    })
  }

  setMode(mode: Exclude<Mode, { kind: 'pin' }>, why: string): Promise<Mode> {
    return this.inTurn(() => this.setModeNow(mode, why))
  }

  /** A registered model as a classifier takes it. */
  private served(model: ModelVersion): ServedModel {
    return { version: model.version, path: join(this.options.registry.folderOf(model), 'model.onnx'), sha256: model.card.files['model.onnx'] }
  }

  /** What two models make of images, one for each; null: it cannot be read. Errors: MODEL_INVALID; whatever the signal fires with. */
  bothAnswer({ former, model }: { former: ModelVersion; model: ModelVersion }, images: readonly Image[]): Promise<(Pair | null)[]> {
    return sideBySide(images, { former: this.served(former), now: this.served(model), signal: this.options.signal })
  }

  private async putNow(version: number, why: string): Promise<ModelVersion> {
    const { registry } = this.options
    const loadedInMs = await this.serve(registry.find(version))
    const model = await this.written(() => registry.promote(version, { why }))
    await this.options.onActive(model, loadedInMs)
    return model
  }

  private async rollBackNow(why: string): Promise<ModelVersion> {
    const { registry } = this.options
    const loadedInMs = await this.serve(await registry.former())
    const model = await this.written(() => registry.rollback({ why }))
    await this.options.onActive(model, loadedInMs)
    return model
  }

  private async setModeNow(mode: Mode, why: string): Promise<Mode> {
    await this.options.registry.setMode(mode, { why })
    this.options.onMode(mode)
    return mode
  }

  /** The model in service, unless it is there already. */
  private async resume(): Promise<void> {
    const { registry, classifier, onActive, onProblem, signal } = this.options
    for (let model = registry.active(); model && classifier.version === null; model = registry.active()) {
      try {
        await onActive(model, await this.serve(model))
        return
      } catch (cause) {
        if (signal.aborted) return
        // The next try may be in a second, and fail alike.
        if (messageOf(cause) !== this.told) onProblem(messageOf(cause))
        this.told = messageOf(cause)
      }
      // Damaged, it makes way for the one before it, or for a new first model; else it may be the box, which has no memory to spare, say.
      if (!await registry.damaged(model.version)) return
      const { version } = model
      await this.written(() => registry.rollback({ why: `model ${String(version)} is damaged` }).catch(() => registry.retire()))
    }
  }

  /** Until a model serves, if one should. Commands have their turn in between. */
  private async tryAgain(): Promise<void> {
    const { registry, classifier, signal, retryMs = 1000 } = this.options
    const backoff = new Backoff({ firstMs: retryMs, longestMs: 60_000, random: () => 1 })
    while (registry.active() && classifier.version === null) {
      await backoff.wait(signal)
      if (signal.aborted) return
      await this.inTurn(() => this.resume()).catch((cause: unknown) => { this.options.onProblem(messageOf(cause)) })
    }
  }

  private async enter(model: ModelVersion): Promise<Entered | null> {
    const { registry, onProbation, signal } = this.options
    const objection = this.objectionTo(model)
    if (objection !== null) return { decision: await this.revised(model, 'held', objection), loadedInMs: 0 }
    try {
      const loadedInMs = await this.serve(model)
      await this.written(() => registry.promote(model.version, { why: model.decision.explanation, onProbation }))
      return { decision: model.decision, loadedInMs }
    } catch (cause) {
      if (signal.aborted) return null
      this.options.onProblem(messageOf(cause))
      return { decision: await this.revised(model, 'crashed', `could not be put in service: ${messageOf(cause)}`), loadedInMs: 0 }
    }
  }

  /** Why a model that passed the gate is not to serve; null: it is. */
  private objectionTo({ version, decision }: ModelVersion): string | null {
    const { registry } = this.options
    const { mode } = registry
    const byHand = `\`pawl models promote ${String(version)}\` puts it in service`
    if (mode.kind === 'pin') return `model ${String(mode.version)} is pinned; ${byHand}`
    if (mode.kind === 'pause') return `learning is paused; ${byHand}`
    const champion = registry.active()?.version ?? null
    return champion === decision.champion ? null : `it was judged beside model ${String(decision.champion)}, and model ${String(champion)} serves by now; ${byHand}`
  }

  private async revised({ decision }: ModelVersion, reason: 'held' | 'crashed', why: string): Promise<PromotionRecord> {
    const revised: PromotionRecord = { ...decision, promoted: false, reason, explanation: `passed the gate, but ${why}` }
    await this.options.registry.revise(revised).catch(() => undefined)
    return revised
  }

  /** What serves and cannot be written down makes way for what is written down. */
  private async written<T>(write: () => Promise<T>): Promise<T> {
    const { registry, onMode } = this.options
    const { mode } = registry
    try {
      const written = await write()
      // A pin goes with what serves.
      if (!isDeepStrictEqual(registry.mode, mode)) onMode(registry.mode)
      return written
    } catch (cause) {
      const former = registry.active()
      if (former && this.options.classifier.version !== former.version) await this.serve(former).catch(() => undefined)
      throw cause
    }
  }

  /** Gives the milliseconds that it took to load. Errors: MODEL_INVALID, with the former model still in service. */
  private async serve(model: ModelVersion): Promise<number> {
    const begin = performance.now()
    await this.options.classifier.swap(this.served(model))
    return performance.now() - begin
  }

  /** Errors: COMMAND_INTERRUPTED once the agent ends, those of `work`. */
  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.turns.run(() => {
      if (this.options.signal.aborted) throw new PawlError('COMMAND_INTERRUPTED', 'the agent ends; nothing was changed')
      return work()
    })
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
