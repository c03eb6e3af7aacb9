/**
 * Which frames are kept to learn from: those that teach most, and a random sample of the rest.
 *
 * - `first`: no model answers yet, or there are fewer frames than a round learns from.
 * - `uncertain`: the confidence lies within the band.
 * - `novel`: in the model's embedding it is farther (cosine distance) from the frames kept last than a threshold that follows the stream, so
 *   that a stated share of all frames is novel, whatever model and site (Robbins and Monro, 1951, on the quantile).
 * - `audit`: chance alone. Without them nothing would tell how the model does where it is sure.
 *
 * Caps by hour and day, and a least interval, hold for each camera whatever the reason.
 */
import type { Config } from '../config.js'

export const keptReasons = ['first', 'uncertain', 'novel', 'audit'] as const
export type KeptReason = (typeof keptReasons)[number]

/** Why a frame is kept, and what it is worth beside others, 0 to 1: the least goes first when there is no room. */
export interface Kept {
  reason: KeptReason
  worth: number
}

/** What the model in service makes of a frame. */
export interface Answered {
  model: number
  confidence: number
  embedding: Float32Array
}

export interface SelectionOptions {
  config: Config['frames']['select']
  /** While there are fewer frames, all are kept. */
  leastFrames: number
  /** Uniform in [0, 1). */
  random: () => number
}

const hourMs = 3_600_000
const dayMs = 24 * hourMs
/** Kept embeddings that a new one is compared with. */
const remembered = 256
/** Step of the threshold, as a share of itself: it turns around within some hundred frames. */
const step = 0.05
/** Worth of what is no more than a frame of the site. */
const plain = 0.25

export class Selection {
  private readonly options: SelectionOptions
  /** Times of the frames kept of each camera in the last day. */
  private readonly keptAtMs = new Map<string, number[]>()
  private memory: Float32Array[] = []
  private place = 0
  private model: number | null = null
  private threshold = 0

  constructor(options: SelectionOptions) {
    this.options = options
  }

  /** Before the first frame: those kept before a restart count. */
  recall(frames: readonly { camera: string; capturedAtMs: number }[]): void {
    for (const { camera, capturedAtMs } of frames) this.note(camera, capturedAtMs)
  }

  /** Null: it is not kept. `frames`: how many there are. */
  choose({ camera, capturedAtMs }: { camera: string; capturedAtMs: number }, answered: Answered | null, frames: number): Kept | null {
    if (!this.mayKeep(camera, capturedAtMs)) return null
    const kept = this.reasonFor(answered, frames)
    if (!kept) return null
    this.note(camera, capturedAtMs)
    if (answered) this.remember(answered.embedding)
    return kept
  }

  private reasonFor(answered: Answered | null, frames: number): Kept | null {
    const { config: { uncertain: [low, high], auditShare }, leastFrames, random } = this.options
    if (!answered) return { reason: 'first', worth: plain }
    if (answered.model !== this.model) this.forget(answered.model)
    const distance = this.distanceOf(answered.embedding)
    const novel = this.exceeds(distance)
    const { confidence } = answered
    if (confidence >= low && confidence <= high) return { reason: 'uncertain', worth: 1 - confidence / 2 }
    if (novel) return { reason: 'novel', worth: 0.5 + Math.min(0.5, distance / 2) }
    if (frames < leastFrames) return { reason: 'first', worth: plain }
    return random() < auditShare ? { reason: 'audit', worth: plain } : null
  }

  /** Every frame moves the threshold, kept or not: up where it is novel, down where it is not, in balance at the share. */
  private exceeds(distance: number): boolean {
    const { novelShare } = this.options.config
    if (novelShare === 0) return false
    if (this.threshold === 0) this.threshold = Number.isFinite(distance) ? Math.max(distance, 1e-6) : 0
    const novel = distance > this.threshold
    this.threshold *= Math.exp(step * ((novel ? 1 : 0) - novelShare))
    return novel
  }

  /** Cosine distance, 0 to 2, to the nearest of those remembered; Infinity: there are none. */
  private distanceOf(embedding: Float32Array): number {
    const unit = normalised(embedding)
    return this.memory.reduce((least, other) => Math.min(least, 1 - dot(unit, other)), Infinity)
  }

  private remember(embedding: Float32Array): void {
    this.memory[this.place] = normalised(embedding)
    this.place = (this.place + 1) % remembered
  }

  /** Another model, another space. */
  private forget(model: number): void {
    this.model = model
    this.memory = []
    this.place = 0
    this.threshold = 0
  }

  private mayKeep(camera: string, atMs: number): boolean {
    const { minIntervalSeconds, perHour, perDay } = this.options.config
    const times = this.keptAtMs.get(camera) ?? []
    const since = (ms: number) => times.length - lowerBound(times, atMs - ms)
    const newest = times.at(-1)
    // A clock that was set back must not end collection: what lies ahead of it counts for nothing.
    if (newest !== undefined && newest > atMs) {
      this.keptAtMs.set(camera, times.filter(time => time <= atMs))
      return this.mayKeep(camera, atMs)
    }
    return (newest === undefined || atMs - newest >= minIntervalSeconds * 1000) && since(hourMs) < perHour && since(dayMs) < perDay
  }

  private note(camera: string, atMs: number): void {
    const times = this.keptAtMs.get(camera) ?? []
    const kept = times.length && (times[0] ?? 0) <= atMs - dayMs ? times.slice(lowerBound(times, atMs - dayMs)) : times
    kept.push(atMs)
    this.keptAtMs.set(camera, kept)
  }
}

function normalised(embedding: Float32Array): Float32Array {
  const length = Math.sqrt(dot(embedding, embedding)) || 1
  return embedding.map(value => value / length)
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let at = 0; at < a.length; at++) sum += (a[at] ?? 0) * (b[at] ?? 0)
  return sum
}

/** Place of the first time after `afterMs` in ascending times. */
function lowerBound(times: readonly number[], afterMs: number): number {
  let [low, high] = [0, times.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((times[middle] ?? 0) > afterMs) high = middle
    else low = middle + 1
  }
  return low
}
