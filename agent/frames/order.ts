/**
 * Which frame goes first: of the older half the least useful, of equals the oldest. So half of what is kept shows the present, whole, and the other
 * half the most useful of the past.
 *
 * INVARIANTS
 * - The older half is what was captured before all of the newer half; it is the smaller by at most one frame, unless frames arrive that are older
 *   than most, and then it is put right before it is twice as large.
 * - Nothing takes longer because there are more frames: adding and taking out cost the same, in the mean, at any number.
 */
import { TimeLine } from './time-line.js'

/** What decides. */
export interface Ranked {
  capturedAtMs: number
  /** How useful it is, 0 to 1, in hundredths. */
  worth: number
}

/** One for each hundredth of worth. */
const levelCount = 101

export class FrameOrder<F extends Ranked> {
  private newer = new TimeLine<F>()
  private olderLevels: TimeLine<F>[] = []
  private olderCount = 0

  constructor() {
    this.clear()
  }

  /** Frames in any order, in the place of all that were there. */
  load(frames: readonly F[]): void {
    this.clear()
    const sorted = frames.toSorted((a, b) => a.capturedAtMs - b.capturedAtMs)
    const half = Math.floor(sorted.length / 2)
    for (const [index, frame] of sorted.entries()) {
      if (index < half) this.toOlder(frame)
      else this.newer.insert(frame)
    }
  }

  add(frame: F): void {
    const boundary = this.newer.first
    if (boundary && frame.capturedAtMs < boundary.capturedAtMs) this.toOlder(frame)
    else this.newer.insert(frame)
    this.balance()
  }

  delete(frame: F): void {
    if (this.level(frame).delete(frame)) this.olderCount--
    else this.newer.delete(frame)
    this.balance()
  }

  /** What goes to make room. */
  get next(): F | undefined {
    return this.olderLevels.find(level => level.first)?.first ?? this.newer.first
  }

  /** What reaches its age first. */
  get oldest(): F | undefined {
    let oldest: F | undefined
    for (const { first } of this.olderLevels) if (first && !(oldest && oldest.capturedAtMs <= first.capturedAtMs)) oldest = first
    return oldest ?? this.newer.first
  }

  /** By time, the oldest first. */
  all(): F[] {
    return [...this.olderLevels.flatMap(level => level.items()), ...this.newer.items()].sort((a, b) => a.capturedAtMs - b.capturedAtMs)
  }

  private clear(): void {
    this.newer = new TimeLine()
    this.olderLevels = Array.from({ length: levelCount }, () => new TimeLine<F>())
    this.olderCount = 0
  }

  private level({ worth }: F): TimeLine<F> {
    return this.olderLevels[Math.round(worth * (levelCount - 1))] as TimeLine<F>
  }

  private toOlder(frame: F): void {
    this.level(frame).insert(frame)
    this.olderCount++
  }

  private balance(): void {
    while (this.newer.length > this.olderCount + 1) {
      const frame = this.newer.shift()
      if (frame) this.toOlder(frame)
    }
    if (this.olderCount > 2 * this.newer.length + 1) this.load(this.all())
  }
}
