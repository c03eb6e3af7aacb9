import { setTimeout as sleep } from 'node:timers/promises'

export interface BackoffOptions {
  firstMs: number
  longestMs: number
  /** Uniform in [0, 1). */
  random: () => number
}

/** Waits that double from try to try, each shortened by a random part so that many boxes do not come back at once. */
export class Backoff {
  private readonly options: BackoffOptions
  private tries = 0

  constructor(options: BackoffOptions) {
    this.options = options
  }

  reset(): void {
    this.tries = 0
  }

  /** Between half and all of the current wait, in milliseconds; grows with every call. */
  nextMs(): number {
    const { firstMs, longestMs, random } = this.options
    const waitMs = Math.min(longestMs, firstMs * 2 ** this.tries)
    this.tries++
    return waitMs * (0.5 + 0.5 * random())
  }

  /** Waits; ends early, without an error, when the signal fires. */
  async wait(signal: AbortSignal): Promise<void> {
    await sleep(this.nextMs(), undefined, { signal }).catch(() => undefined)
  }
}
