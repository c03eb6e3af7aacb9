/**
 * Gives the model in service to other boxes, once it has passed its probation.
 *
 * INVARIANTS
 * - An offer is made of what a registry holds and the history says, in this order: bytes, manifest, entry, memory, offer. Cut off anywhere, the next
 *   start makes the offer.
 * - What came from elsewhere, or was put in service against the gate's word, is not given; and versions only go forward: after a rollback nothing is
 *   offered until a newer model passes.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { ModelVersion } from '../events.js'
import { Backoff } from '../lib/backoff.js'
import type { Registry } from '../registry/registry.js'
import type { ExchangeMemory } from './memory.js'
import { manifestOf, offerOf, type Offer } from './offer.js'
import { digestOf, type Repository } from './repository.js'
import { reasonOf } from './requests.js'

export interface PublisherOptions {
  device: string
  repository: Repository
  /** Registry and repository, as a reference begins. */
  place: string
  registry: Pick<Registry, 'active' | 'list' | 'probation' | 'folderOf' | 'published' | 'key'>
  memory: ExchangeMemory
  /** Hears what is offered from now on; null: nothing. */
  onOffer: (offer: Offer | null) => void
  /** Told once for each reason. */
  onProblem: (cause: unknown) => void
  signal: AbortSignal
  random: () => number
  /** From a try that failed to the next, milliseconds; it doubles, up to an hour. */
  retryMs?: number
}

export class Publisher {
  private readonly options: PublisherOptions
  private readonly backoff: Backoff
  private working: Promise<void> | null = null
  private again = false
  private reason: string | null = null

  constructor(options: PublisherOptions) {
    this.options = options
    const { random, retryMs = 5000 } = options
    this.backoff = new Backoff({ firstMs: retryMs, longestMs: 3_600_000, random })
  }

  /** What serves, or whether it is on probation, may have changed. */
  look(): void {
    this.tell()
    if (!this.own()) this.reason = null
    this.again = true
    this.working ??= this.work().finally(() => { this.working = null })
  }

  /** Why what is to be given could not be, the last time that it was tried; null: nothing waits for the registry. */
  get away(): string | null {
    return this.reason
  }

  /** Before, the signal must have fired. */
  async stop(): Promise<void> {
    await this.working
  }

  private async work(): Promise<void> {
    const { signal, onProblem } = this.options
    while (this.again && !signal.aborted) {
      this.again = false
      try {
        await this.settle()
        this.reason = null
        this.backoff.reset()
      } catch (cause) {
        if (signal.aborted) return
        this.reason = reasonOf(cause)
        onProblem(cause)
        this.again = true
        await this.backoff.wait(signal)
      }
    }
  }

  private async settle(): Promise<void> {
    const { registry, memory, place } = this.options
    const model = this.own()
    const published = this.published()
    const known = published && model && (model.version < published.version || isOf(published, model.version, place))
    if (!model || known || registry.probation()) return
    const offer = await this.publish(model)
    await memory.publish({ version: model.version, offer })
    // Another may serve by now: then this one is not offered.
    this.tell()
  }

  /** At once, also while the registry is away: what fell back is not offered any longer. A newer model is offered once it passed. */
  private tell(): void {
    const published = this.published()
    const model = this.own()
    this.options.onOffer(published && model && model.version >= published.version ? published.offer : null)
  }

  /** The model in service, if it was made and proved here. */
  private own(): ModelVersion | null {
    const model = this.options.registry.active()
    return model?.decision.promoted && model.decision.from === undefined ? model : null
  }

  /** What was published last, unless it is of another key or of models that this registry does not have: those were begun anew since. */
  private published(): ExchangeMemory['published'] {
    const { memory: { published }, registry } = this.options
    const held = registry.list()
    const same = held.find(({ version }) => version === published?.version)
    const holds = published && (same ? same.card.files['model.onnx'] === published.offer.model : held.some(({ version }) => version > published.version))
    return holds && published.offer.signed.entry.key === registry.key ? published : null
  }

  private async publish(model: ModelVersion): Promise<Offer> {
    const { device, repository, place, registry, signal } = this.options
    const folder = registry.folderOf(model)
    const card = await readFile(join(folder, 'card.json'))
    const blobs = {
      card: { digest: digestOf(card), size: card.length },
      weights: await blobOf(join(folder, 'weights.safetensors')),
    }
    await repository.push(blobs.card, card, signal)
    await repository.push(blobs.weights, join(folder, 'weights.safetensors'), signal)
    const manifest = manifestOf(blobs)
    await repository.pushManifest(manifest, `v${String(model.version)}.${device}`, signal)
    const digest = digestOf(manifest)
    const signed = await registry.published(model.version, { manifest: digest, card: JSON.parse(card.toString()) })
    return offerOf(model, { manifest: digest, reference: `${place}@${digest}`, signed })
  }
}

/** Whether it is of this version, and of the registry that is used now. */
function isOf({ version, offer }: { version: number; offer: Offer }, wanted: number, place: string): boolean {
  return version === wanted && offer.reference.startsWith(`${place}@`)
}

async function blobOf(path: string): Promise<{ digest: string; size: number }> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return { digest: `sha256:${hash.digest('hex')}`, size: (await stat(path)).size }
}
