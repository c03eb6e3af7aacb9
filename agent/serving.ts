/**
 * Which model serves: the champion from the start on, a proven challenger as soon as it has shown that it can. The pool swaps, the
 * registry remembers; here is the order of the two.
 */
import { join } from 'node:path'
import type { ClassifierPool } from './classifier/pool.js'
import type { ModelVersion } from './events.js'
import type { Registry } from './registry/registry.js'
import type { PromotionRecord } from './rounds/promotion.js'

export interface ServingOptions {
  classifier: ClassifierPool
  registry: Registry
  /** A model serves from now on; milliseconds that it took to load. */
  onActive: (model: ModelVersion, loadedInMs: number) => Promise<void>
  onProblem: (message: string) => void
}

export class Serving {
  private readonly options: ServingOptions

  constructor(options: ServingOptions) {
    this.options = options
  }

  /** Serves a proven model first; only what serves is written down as the champion. Gives its decision, revised where it cannot serve. */
  async promote(model: ModelVersion): Promise<{ decision: PromotionRecord; loadedInMs: number }> {
    const former = this.options.registry.active()
    try {
      const loadedInMs = await this.serve(model)
      await this.options.registry.promote(model.version)
      return { decision: model.decision, loadedInMs }
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause)
      this.options.onProblem(message)
      if (former && this.options.classifier.version === model.version) await this.serve(former).catch(() => undefined)
      const decision: PromotionRecord = {
        ...model.decision, promoted: false, reason: 'crashed', explanation: `passed the gate, but could not be put in service: ${message}`,
      }
      await this.options.registry.revise(decision).catch(() => undefined)
      return { decision, loadedInMs: 0 }
    }
  }

  /** What served before the start serves again; what was proved just before a power cut goes in. */
  async start(): Promise<void> {
    const { registry, onActive } = this.options
    const pending = registry.unserved()
    if (pending) {
      const { decision, loadedInMs } = await this.promote(pending)
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
        this.options.onProblem(cause instanceof Error ? cause.message : String(cause))
      }
      // Damaged, it makes way for the one before it, or for a new first model; else it may be the box, and the next start tries again.
      if (await registry.intact(model.version)) return
      await registry.rollback().catch(() => registry.retire())
    }
  }

  /** Gives the milliseconds that it took to load. Errors: MODEL_INVALID, with the former model still in service. */
  private async serve(model: ModelVersion): Promise<number> {
    const begin = performance.now()
    await this.options.classifier.swap({
      version: model.version,
      path: join(this.options.registry.folderOf(model), 'model.onnx'),
      sha256: model.card.files['model.onnx'],
    })
    return performance.now() - begin
  }
}
