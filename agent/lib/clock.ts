/** Time, handed in so that tests can hold it. */
export interface Clock {
  /** Milliseconds since 1970; may jump. */
  nowMs: () => number
  /** Milliseconds from an arbitrary start; never jumps: for intervals. */
  monotonicMs: () => number
}

export const systemClock: Clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() }
