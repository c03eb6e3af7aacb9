/** What a camera sees when nothing passes: the median of pictures from the last while, pixel by pixel. */

/** Enough, and over long enough, that things which pass often are still rare in each pixel. */
const samples = 25
/** Samples after which the background counts as known. */
const leastSamples = 8
/** Pictures between two samples, in turn; uneven, so that things which pass at an even pace are not sampled in step. */
const gaps = [5, 8, 4, 7, 3, 6, 9]
/** A pixel that something covers is sampled only every so often: what passes counts less, what stays is learned in the end. */
const coveredEvery = 3
/** Grey levels that a pixel must differ by, however quiet the camera. */
const leastDifference = 8
/** And how many times the camera's noise, as a standard deviation. */
const noiseFactor = 4.5

export class Background {
  private history: Uint8Array[] = []
  private median: Uint8Array | null = null
  private taken = 0
  private untilNext = 0

  /** 1 where the picture (grey, row-major) differs from the background; all 0 until the background is known. */
  differs(picture: Uint8Array, width: number): Uint8Array {
    if (this.history[0] && this.history[0].length !== picture.length) {
      this.history = []
      this.median = null
    }
    const mask = this.median ? different(picture, this.median, width) : new Uint8Array(picture.length)
    if (this.untilNext-- === 0) this.learn(picture, mask)
    return mask
  }

  private learn(picture: Uint8Array, mask: Uint8Array): void {
    const { median } = this
    this.untilNext = gaps[this.taken % gaps.length] ?? 6
    this.taken++
    const skipCovered = median !== null && this.taken % coveredEvery !== 0
    const sample = skipCovered ? picture.map((value, at) => (mask[at] ? median[at] ?? value : value)) : Uint8Array.from(picture)
    this.history = [...this.history, sample].slice(-samples)
    if (this.history.length >= leastSamples) this.median = medianOf(this.history)
  }
}

function different(picture: Uint8Array, median: Uint8Array, width: number): Uint8Array {
  const light = brightness(picture, median, width)
  const histogram = new Uint32Array(512)
  const differences = new Uint16Array(picture.length)
  for (let at = 0; at < picture.length; at++) {
    const difference = Math.min(511, Math.round(Math.abs((picture[at] ?? 0) - (median[at] ?? 0) * light)))
    differences[at] = difference
    histogram[difference] = (histogram[difference] ?? 0) + 1
  }
  // Most of the picture is background: half of the absolute differences lie within 0.674 standard deviations.
  let [middle, below] = [0, 0]
  while (below < picture.length / 2) below += histogram[middle++] ?? 0
  const threshold = Math.max(leastDifference, noiseFactor * middle / 0.674)
  return Uint8Array.from(differences, difference => (difference > threshold ? 1 : 0))
}

/** How much brighter the scene is than its background, from the picture's border, where little passes. */
function brightness(picture: Uint8Array, median: Uint8Array, width: number): number {
  let [now, before] = [0, 0]
  for (let column = 0; column < width; column++) {
    for (const at of [column, picture.length - width + column]) {
      now += picture[at] ?? 0
      before += median[at] ?? 0
    }
  }
  return before > width ? Math.min(2, Math.max(0.5, now / before)) : 1
}

function medianOf(pictures: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(pictures[0]?.length ?? 0)
  const sorted = new Uint8Array(pictures.length)
  for (let at = 0; at < out.length; at++) {
    // Insertion sort: for so few values twice as fast as the array's own.
    for (let index = 0; index < pictures.length; index++) {
      const value = pictures[index]?.[at] ?? 0
      let place = index
      for (; place > 0 && (sorted[place - 1] ?? 0) > value; place--) sorted[place] = sorted[place - 1] ?? 0
      sorted[place] = value
    }
    out[at] = sorted[pictures.length >> 1] ?? 0
  }
  return out
}
