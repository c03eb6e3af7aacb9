import { groupBy } from '../lib/group.js'
import type { StoredFrame } from './store.js'

/** What tells where and when a frame was taken. */
export type Stamped = Pick<StoredFrame, 'camera' | 'capturedAtMs'>

/** Frames of one stratum are of one camera and of one such stretch of time. */
const blockMs = 3_600_000

/**
 * At most `count` frames for a round, as many from every camera and hour as there are, so that a busy hour does not crowd out a
 * quiet one. `random` draws uniformly from [0, 1).
 */
export function reservoir<F extends Stamped>(frames: readonly F[], count: number, random: () => number): F[] {
  if (frames.length <= count) return [...frames]
  const strata = groupBy(frames, ({ camera, capturedAtMs }) => `${camera} ${String(Math.floor(capturedAtMs / blockMs))}`)
  // Smallest stratum first: what it cannot fill goes to the others.
  const waiting = [...strata.values()].sort((a, b) => a.length - b.length)
  const chosen: F[] = []
  waiting.forEach((stratum, index) => {
    // Rounded by chance, so that with fewer frames than strata none of them is passed over for good.
    const share = Math.floor((count - chosen.length) / (waiting.length - index) + random())
    chosen.push(...draw(stratum, share, random))
  })
  return chosen
}

function draw<T>(items: readonly T[], count: number, random: () => number): T[] {
  const pile = [...items]
  const drawn: T[] = []
  while (drawn.length < count && pile.length) drawn.push(...pile.splice(Math.floor(random() * pile.length), 1))
  return drawn
}
