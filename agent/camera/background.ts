/**
 * What a camera sees when nothing passes: in each pixel the value that pictures of the last while crowd around. Unlike their
 * median it holds where something covers a pixel most of the time, as long as what covers it looks different each time.
 */

/** Enough, and over long enough, that things which pass often differ from each other. */
const samples = 25
/** Samples after which the background counts as known. */
const leastSamples = 8
/** Pictures between two samples, in turn; uneven, so that things which pass at an even pace are not sampled in step. */
const gaps = [5, 8, 4, 7, 3, 6, 9]
/** Grey levels within which samples crowd around one value. */
const crowd = 16
/** Grey levels that a pixel must differ by, however quiet the camera. */
const leastDifference = 8
/** And how many times the camera's noise, as a standard deviation. */
const noiseFactor = 4.5

export class Background {
  private history: Uint8Array[] = []
  private known: Uint8Array | null = null
  private taken = 0
  private untilNext = 0

  /** 1 where the picture (grey, row-major) differs from the background; all 0 until the background is known. */
  differs(picture: Uint8Array, width: number): Uint8Array {
    if (this.history[0] && this.history[0].length !== picture.length) {
      this.history = []
      this.known = null
    }
    const light = this.known ? brightness(picture, this.known, width) : 1
    const mask = this.known ? different(picture, this.known, light) : new Uint8Array(picture.length)
    if (this.untilNext-- === 0) this.learn(picture, light)
    return mask
  }

  private learn(picture: Uint8Array, light: number): void {
    this.untilNext = gaps[this.taken % gaps.length] ?? 6
    this.taken++
    // All in the light of the background, so that a cloud does not spread the samples.
    const sample = picture.map(value => Math.min(255, Math.round(value / light)))
    this.history = [...this.history, sample].slice(-samples)
    if (this.history.length >= leastSamples) this.known = crowded(this.history)
  }
}

function different(picture: Uint8Array, background: Uint8Array, light: number): Uint8Array {
  const histogram = new Uint32Array(512)
  const differences = new Uint16Array(picture.length)
  for (let at = 0; at < picture.length; at++) {
    const difference = Math.min(511, Math.round(Math.abs((picture[at] ?? 0) - (background[at] ?? 0) * light)))
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
function brightness(picture: Uint8Array, background: Uint8Array, width: number): number {
  let [now, before] = [0, 0]
  for (let column = 0; column < width; column++) {
    for (const at of [column, picture.length - width + column]) {
      now += picture[at] ?? 0
      before += background[at] ?? 0
    }
  }
  return before > width ? Math.min(2, Math.max(0.5, now / before)) : 1
}

/** In each pixel the middle of the largest group of samples that lie within `crowd` grey levels. */
function crowded(pictures: readonly Uint8Array[]): Uint8Array {
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
    let [first, most] = [0, 0]
    for (let start = 0, end = 0; start + most < sorted.length; start++) {
      while (end < sorted.length && (sorted[end] ?? 0) - (sorted[start] ?? 0) <= crowd) end++
      if (end - start > most) [first, most] = [start, end - start]
    }
    out[at] = sorted[first + (most >> 1)] ?? 0
  }
  return out
}
