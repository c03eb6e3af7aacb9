/** What a camera sees when nothing passes: the median of pictures from the last while, pixel by pixel. */

const samples = 15
/** Pictures between two samples: together they span longer than anything takes to pass. */
const sampleEvery = 6
/** Grey levels that a pixel must differ by, beyond the noise. */
const leastDifference = 14

export class Background {
  private history: Uint8Array[] = []
  private median: Uint8Array | null = null
  private pictures = 0

  /** 1 where the picture (grey, row-major) differs from the background; all 0 until the background is known. */
  differs(picture: Uint8Array, width: number): Uint8Array {
    if (this.history[0] && this.history[0].length !== picture.length) {
      this.history = []
      this.median = null
    }
    if (this.pictures++ % sampleEvery === 0) {
      this.history = [...this.history, Uint8Array.from(picture)].slice(-samples)
      if (this.history.length >= samples / 2) this.median = medianOf(this.history)
    }
    const { median } = this
    const mask = new Uint8Array(picture.length)
    if (!median) return mask
    const light = brightness(picture, median, width)
    picture.forEach((value, at) => {
      if (Math.abs(value - (median[at] ?? 0) * light) > leastDifference) mask[at] = 1
    })
    return mask
  }
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
  const column = new Uint8Array(pictures.length)
  for (let at = 0; at < out.length; at++) {
    pictures.forEach((picture, index) => { column[index] = picture[at] ?? 0 })
    column.sort()
    out[at] = column[Math.floor(column.length / 2)] ?? 0
  }
  return out
}
