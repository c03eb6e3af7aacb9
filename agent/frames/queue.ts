/**
 * Which frames a person should label next. Reasons take turns, so that what the model is unsure about, what is new to it and what chance
 * took (where it may be wrong and does not know) all get their share; of one reason the worthiest come first, and of one camera's minute one
 * frame before any second: what was seen within a minute is mostly the same thing.
 */
import { groupBy } from '../lib/group.js'

export interface Candidate {
  camera: string
  capturedAtMs: number
  reason: string
  /** 0 to 1. */
  worth: number
}

const minuteMs = 60_000

/** The first `count` of them. Pure; the order is the same for the same frames. */
export function nextToLabel<F extends Candidate>(frames: readonly F[], count: number): F[] {
  const queues = [...groupBy(frames, ({ reason }) => reason).values()].map(ranked)
  const chosen: F[] = []
  for (let place = 0; chosen.length < Math.min(count, frames.length); place++) {
    for (const queue of queues) {
      const frame = queue[place]
      if (frame && chosen.length < count) chosen.push(frame)
    }
  }
  return chosen
}

/** Of one reason: the first of each scene before the second of any, the worthiest first, of equals the newest. */
function ranked<F extends Candidate>(frames: readonly F[]): F[] {
  const better = (a: Candidate, b: Candidate) => b.worth - a.worth || b.capturedAtMs - a.capturedAtMs
  const scenes = groupBy(frames, ({ camera, capturedAtMs }) => `${camera} ${String(Math.floor(capturedAtMs / minuteMs))}`)
  return [...scenes.values()]
    .flatMap(scene => scene.toSorted(better).map((frame, turn) => ({ frame, turn })))
    .sort((a, b) => a.turn - b.turn || better(a.frame, b.frame))
    .map(({ frame }) => frame)
}
