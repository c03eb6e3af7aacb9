/**
 * How long a try to connect may take, from TCP to the broker's answer. A broker that accepts and then says nothing is to cost little; a line that
 * is slow, or has become slow, is to be given its time: eight times what connecting took last, and at every third try the most there is.
 */
import type { Clock } from '../lib/clock.js'

const leastMs = 2_000
const mostMs = 10_000
const times = 8

export class Patience {
  private readonly clock: Pick<Clock, 'monotonicMs'>
  private tries = 0
  private lastTookMs = 0

  constructor({ clock }: { clock: Pick<Clock, 'monotonicMs'> }) {
    this.clock = clock
  }

  /** Call `after` when it has connected. */
  beginTry(): { withinMs: number; after: () => void } {
    this.tries++
    const beganMs = this.clock.monotonicMs()
    const withinMs = this.tries % 3 === 0 ? mostMs : Math.min(mostMs, Math.max(leastMs, times * this.lastTookMs))
    return {
      withinMs,
      after: () => {
        this.tries = 0
        this.lastTookMs = this.clock.monotonicMs() - beganMs
      },
    }
  }
}
