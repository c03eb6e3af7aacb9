/** Frames by their time: put in at the end as a rule, taken out at the beginning, each at a cost that does not grow with their number. */
export class TimeLine<F extends { capturedAtMs: number }> {
  private frames: F[] = []
  /** Frames before it are gone; cleared away once they are the most. */
  private head = 0

  get length(): number {
    return this.frames.length - this.head
  }

  get first(): F | undefined {
    return this.frames[this.head]
  }

  insert(frame: F): void {
    if (frame.capturedAtMs >= (this.frames.at(-1)?.capturedAtMs ?? -Infinity)) this.frames.push(frame)
    // Frames overtake each other by little: what moves is few.
    else this.frames.splice(this.after(frame.capturedAtMs), 0, frame)
  }

  shift(): F | undefined {
    const frame = this.frames[this.head]
    if (frame) this.drop()
    return frame
  }

  /** Says whether it was there. */
  delete(frame: F): boolean {
    if (frame === this.first) {
      this.drop()
      return true
    }
    let index = this.after(frame.capturedAtMs) - 1
    while (index >= this.head && this.frames[index] !== frame && this.frames[index]?.capturedAtMs === frame.capturedAtMs) index--
    if (index < this.head || this.frames[index] !== frame) return false
    this.frames.splice(index, 1)
    return true
  }

  items(): F[] {
    return this.frames.slice(this.head)
  }

  private drop(): void {
    this.head++
    if (this.head < 1000 || this.head < this.length) return
    this.frames = this.items()
    this.head = 0
  }

  /** The place of the first frame that is later. */
  private after(ms: number): number {
    let [low, high] = [this.head, this.frames.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.frames[middle]?.capturedAtMs ?? 0) <= ms) low = middle + 1
      else high = middle
    }
    return low
  }
}
