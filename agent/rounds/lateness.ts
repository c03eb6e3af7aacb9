/**
 * Whether predictions come late while a round works, beside those of before: late is what takes longer than a multiple of the 99th percentile at
 * rest, or than a second while that is not known, and more than one in a hundred, but no fewer than three, of the last seconds are too many.
 */
import type { Clock } from '../lib/clock.js'

export interface LatenessOptions {
  /** Of the 99th percentile at rest; 0: nothing is ever late. */
  multiple: number
  clock: Clock
}

/** Predictions that say what is usual at rest, the newest ones, and how few do not. */
const rest = { most: 1000, fewest: 100 } as const
/** What is late while that is not known, as in a round that begins with the agent: on any box predictions take less with nothing beside them. */
const unknown = { ms: 1000, what: 'the limit until it is known what predictions take at rest' } as const
/** How long a late prediction counts. */
const recentMs = 10_000
const tooMany = { share: 0.01, count: 3 } as const
/** Pauses double from the first to the longest, and begin anew once the round has worked for a while without one. */
const pauses = { firstMs: 5000, longestMs: 60_000, forgottenMs: 60_000 } as const

export class Lateness {
  private readonly options: LatenessOptions
  /** Milliseconds, the oldest first. */
  private readonly atRest: number[] = []
  private recent: { atMs: number; late: boolean }[] = []
  /** What is late, milliseconds, and what that is. */
  private limit: { ms: number; what: string } = unknown
  private isWorking = false
  private workingSinceMs = -Infinity
  private nextPauseMs: number = pauses.firstMs
  private pause: { untilMs: number; reason: string } | null = null

  constructor(options: LatenessOptions) {
    this.options = options
  }

  /** Whether a round computes from now on. */
  set working(isWorking: boolean) {
    if (isWorking === this.isWorking) return
    this.isWorking = isWorking
    this.recent = []
    this.workingSinceMs = this.options.clock.monotonicMs()
    if (!isWorking || this.atRest.length < rest.fewest) return
    const { multiple } = this.options
    const usualMs = this.atRest.toSorted((a, b) => a - b)[Math.ceil(0.99 * this.atRest.length) - 1] ?? 0
    this.limit = { ms: multiple * usualMs, what: `${String(multiple)} times what 99 in 100 take at rest` }
  }

  /** A frame was answered, or given up, after so many milliseconds. */
  observe(latencyMs: number): void {
    if (this.options.multiple === 0) return
    if (this.isWorking) {
      this.recent.push({ atMs: this.options.clock.monotonicMs(), late: latencyMs > this.limit.ms })
      return
    }
    this.atRest.push(latencyMs)
    if (this.atRest.length > rest.most) this.atRest.shift()
  }

  /** Why the round should stand still, in words; null: it need not. */
  reason(): string | null {
    const nowMs = this.options.clock.monotonicMs()
    if (this.pause && nowMs < this.pause.untilMs) return this.pause.reason
    this.pause = null
    this.recent = this.recent.filter(({ atMs }) => nowMs - atMs <= recentMs)
    const late = this.recent.filter(one => one.late).length
    if (late < tooMany.count || late <= tooMany.share * this.recent.length) return null
    if (nowMs - this.workingSinceMs >= pauses.forgottenMs) this.nextPauseMs = pauses.firstMs
    const reason = `predictions are late: ${String(late)} of the last ${String(this.recent.length)} took longer than ${this.limit.ms.toFixed(0)} ms,`
      + ` which is ${this.limit.what}; for ${String(Math.round(this.nextPauseMs / 1000))} s`
    this.pause = { untilMs: nowMs + this.nextPauseMs, reason }
    this.nextPauseMs = Math.min(pauses.longestMs, 2 * this.nextPauseMs)
    this.recent = []
    return reason
  }
}
