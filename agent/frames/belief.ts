/**
 * How far the time of day is believed when frames go at their age. What is thrown away by a clock that is wrong does not come back when it is put
 * right, so it has to be steady first: for two hours it is not believed at all; then as many frames go at most for each that comes, so that a box
 * which is off every night keeps up; after a day it is believed wholly.
 */
import type { Clock } from '../lib/clock.js'
import { Steadiness } from '../lib/steadiness.js'

const notMs = 2 * 3_600_000
const whollyMs = 24 * 3_600_000
const goForEach = 2
/** No frame is older than pawl: a clock before it stands where boards without a battery begin. */
export const earliestMs = Date.UTC(2025, 0, 1)

export class Belief {
  private readonly clock: Clock
  private readonly steadiness: Steadiness

  constructor(clock: Clock) {
    this.clock = clock
    this.steadiness = new Steadiness(clock)
  }

  /** How many frames may go, where so many have come; null: the clock is not believed. */
  mayGo(came: number): number | null {
    const steadyMs = this.steadiness.look()
    if (steadyMs < notMs || this.clock.nowMs() < earliestMs) return null
    return steadyMs < whollyMs ? came * goForEach : Infinity
  }
}
