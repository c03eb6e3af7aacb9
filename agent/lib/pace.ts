import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from './clock.js'

export interface PaceOptions {
  perSecond: number
  clock: Clock
}

/** Turns at a bounded rate: what was not used within the last second may be used at once, what comes then waits. */
export class Pace {
  private readonly options: PaceOptions
  /** When the next turn is, on the monotonic clock. */
  private nextMs = 0

  constructor(options: PaceOptions) {
    this.options = options
  }

  /** From now on one by one, with nothing saved up. */
  reset(): void {
    this.nextMs = this.options.clock.monotonicMs()
  }

  /** Waits for a turn; ends early, without an error, when the signal fires. */
  async turn(signal: AbortSignal): Promise<void> {
    const nowMs = this.options.clock.monotonicMs()
    const turnMs = Math.max(this.nextMs, nowMs - 1000)
    this.nextMs = turnMs + 1000 / this.options.perSecond
    if (turnMs > nowMs) await sleep(turnMs - nowMs, undefined, { signal }).catch(() => undefined)
  }
}
