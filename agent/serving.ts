/**
 * Which model serves: the champion from the start on, a proven challenger as soon as it has shown that it can, and whichever a person asks
 * for. The pool swaps, the registry remembers; here is the order of the two: what serves is written down, never the other way round.
 */
import { join } from 'node:path'
import type { ClassifierPool, ServedModel } from './classifier/pool.js'
import { PawlError } from './errors.js'
import type { ModelVersion } from './events.js'
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
}

export class Serving {
  private readonly options: ServingOptions
  private readonly turns = new InTurn()

  constructor(options: ServingOptions) {
    this.options = options
  }

  /** What served before the start serves again; what was proved just before a power cut goes in. */
  start(): Promise<void> {
    return this.turns.run(async () => {
      const { registry, onActive } = this.options
      const pending = registry.unserved()
      if (pending) {
        const { decision, loadedInMs } = await this.enter(pending)
        if (decision.promoted) {
          await onActive(pending, loadedInMs)
          return
        }
      }
      for (let model = registry.active(); model; model = registry.active()) {
        try {
          await onActive(model, await this.serve(model))
          return
        } catch (cause) {
          this.options.onProblem(messageOf(cause))
        }
        // Damaged, it makes way for the one before it, or for a new first model; else it may be the box, and the next start tries again.
        if (await registry.intact(model.version)) return
        await registry.rollback({ why: `model ${String(model.version)} is damaged` }).catch(() => registry.retire())
      }
    })
  }

  /** A challenger that passed the gate. Gives its decision, revised where it does not come to serve; whoever asks tells that it serves. */
  promote(model: ModelVersion): Promise<{ decision: PromotionRecord; loadedInMs: number }> {
    return this.turns.run(() => this.enter(model))
  }

  /** A model that a person asks for, whatever was proved of it. Errors: MODEL_INVALID, with the former model still in service. */
  put(version: number, why: string): Promise<ModelVersion> {
    return this.turns.run(async () => {
      const { registry } = this.options
      const wanted = registry.find(version)
      const loadedInMs = await this.serve(wanted)
      const model = await this.written(() => registry.promote(version, { why }))
      await this.options.onActive(model, loadedInMs)
      return model
    })
  }

  /** The model before this one. Errors: MODEL_INVALID when there is none or it cannot serve; the model in service stays. */
  rollback(why: string): Promise<ModelVersion> {
    return this.turns.run(async () => {
      const { registry } = this.options
      const loadedInMs = await this.serve(await registry.former())
      const model = await this.written(() => registry.rollback({ why }))
      await this.options.onActive(model, loadedInMs)
      return model
    })
  }

  /** Keeps a model in service, the one that serves unless another is named. Errors: MODEL_INVALID. */
  async pin(version: number | null, why: string): Promise<Mode> {
    const active = this.options.registry.active()?.version ?? null
    const wanted = version ?? active
    if (wanted === null) throw new PawlError('MODEL_INVALID', 'no model serves yet that could be pinned')
    if (wanted !== active) await this.put(wanted, why)
    return this.setMode({ kind: 'pin', version: wanted })
  }

  setMode(mode: Mode): Promise<Mode> {
    return this.turns.run(async () => {
      await this.options.registry.setMode(mode)
      this.options.onMode(mode)
      return mode
    })
  }

  /** A registered model as a classifier takes it. */
  served(model: ModelVersion): ServedModel {
    return { version: model.version, path: join(this.options.registry.folderOf(model), 'model.onnx'), sha256: model.card.files['model.onnx'] }
  }

  private async enter(model: ModelVersion): Promise<{ decision: PromotionRecord; loadedInMs: number }> {
    const { registry, onProbation } = this.options
    const objection = this.objectionTo(model)
    if (objection !== null) return { decision: await this.revised(model, 'held', objection), loadedInMs: 0 }
    try {
      const loadedInMs = await this.serve(model)
      await this.written(() => registry.promote(model.version, { why: model.decision.explanation, onProbation }))
      return { decision: model.decision, loadedInMs }
    } catch (cause) {
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
    const { registry } = this.options
    try {
      return await write()
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
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
