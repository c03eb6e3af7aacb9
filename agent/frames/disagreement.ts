/** Frames on which the model in service and the one before it name different classes: there at least one of them is wrong. */
import type { Pair } from '../classifier/side-by-side.js'
import type { StoredFrame } from './store.js'

/** Two models, and what both make of images, in their order; null: it cannot be read. */
export interface ModelPair {
  compare: (paths: readonly string[]) => Promise<(Pair | null)[]>
}

export interface DisagreementOptions {
  /** Tells the pair of now from others. */
  key: () => string
  /** Null: there is only one model, or none. */
  pair: () => Promise<ModelPair | null>
  /** Monotonic. */
  nowMs: () => number
  onProblem: (message: string) => void
}

/** Frames looked at in one go; a nano model takes some milliseconds a frame, in a process of low priority. */
const mostAtOnce = 200
/** From one look to the next: each starts two processes. */
const leastMs = 30_000

export class Disagreement {
  private readonly options: DisagreementOptions
  private key = ''
  /** Paths of frames that both models were asked about, and whether they differ. */
  private differ = new Map<string, boolean>()
  private looking: Promise<void> | null = null
  private lookedAtMs = -Infinity

  constructor(options: DisagreementOptions) {
    this.options = options
  }

  /** Whether it is known that the models differ on a frame. */
  on({ path }: Pick<StoredFrame, 'path'>): boolean {
    return this.differ.get(path) ?? false
  }

  /** Looks at the newest frames that were not looked at before. Resolves when that is done; never raises. */
  look(frames: readonly StoredFrame[]): Promise<void> {
    this.looking ??= this.lookNow(frames)
      .catch((cause: unknown) => { this.options.onProblem(cause instanceof Error ? cause.message : String(cause)) })
      .finally(() => { this.looking = null })
    return this.looking
  }

  private async lookNow(frames: readonly StoredFrame[]): Promise<void> {
    const key = this.options.key()
    if (key === this.key && this.options.nowMs() - this.lookedAtMs < leastMs) return
    this.lookedAtMs = this.options.nowMs()
    if (key !== this.key) this.differ = new Map()
    this.key = key
    const pair = await this.options.pair()
    if (!pair) return
    const there = new Set(frames.map(({ path }) => path))
    this.differ = new Map([...this.differ].filter(([path]) => there.has(path)))
    const paths = [...there].filter(path => !this.differ.has(path)).slice(-mostAtOnce)
    if (paths.length === 0) return
    const pairs = await pair.compare(paths)
    paths.forEach((path, index) => {
      const both = pairs[index]
      this.differ.set(path, both != null && both.former !== both.now)
    })
  }
}
