/** How long the time of day has been running evenly: one that has just been set, or that nobody has seen run, is not to be relied upon. */
import type { Clock } from './clock.js'

/** Milliseconds by which it may leave the monotonic clock from one look to the next: more than drift and slewing make of a day. */
const jumpMs = 60_000

export class Steadiness {
  private readonly clock: Clock
  private last: { nowMs: number; atMs: number } | null = null
  private sinceMs = 0

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Milliseconds that have passed since the first look, or since the look that found that it had jumped. */
  look(): number {
    const [nowMs, atMs] = [this.clock.nowMs(), this.clock.monotonicMs()]
    const { last } = this
    if (!last || Math.abs(nowMs - last.nowMs - (atMs - last.atMs)) > jumpMs) this.sinceMs = atMs
    this.last = { nowMs, atMs }
    return atMs - this.sinceMs
  }
}
