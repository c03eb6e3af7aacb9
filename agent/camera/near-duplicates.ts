/** Pictures of a scene in which nothing happens: seen once, then dropped until something changes. */
import type { FittedImage } from '../../trainer/index.js'

const [columns, rows] = [9, 8]
/** Bits of 64 by which the difference hash (dHash) of a new scene differs at least. */
const leastBits = 4
/** Grey levels by which some part of a new scene differs at least: in an empty scene, noise alone sets the hash's bits. */
const leastMotion = 6
/** A still scene gives a frame this often all the same, so that what is said of it stays fresh. */
const repeatAfterMs = 10_000

interface Glance {
  capturedAtMs: number
  /** Mean brightness of each cell, row-major, `columns` × `rows`. */
  grey: Float32Array
}

export class NearDuplicates {
  private kept: Glance | null = null

  /** True when the frame shows what the last kept frame showed; otherwise it is the one kept. */
  repeats(image: FittedImage, capturedAtMs: number): boolean {
    const grey = glance(image)
    const { kept } = this
    // The clock may have jumped back: then the frame counts as late.
    const soon = kept !== null && Math.abs(capturedAtMs - kept.capturedAtMs) < repeatAfterMs
    if (soon && (motion(grey, kept.grey) < leastMotion || differentBits(grey, kept.grey) < leastBits)) return true
    this.kept = { capturedAtMs, grey }
    return false
  }
}

/** Each pixel counts in the cell that its middle lies in; a picture narrower than the cells leaves some empty. */
function glance({ width, height, pixels }: FittedImage): Float32Array {
  const [sums, counts] = [new Float32Array(columns * rows), new Float32Array(columns * rows)]
  for (let pixel = 0; pixel < width * height; pixel++) {
    const [column, row] = [Math.floor(((pixel % width) + 0.5) * columns / width), Math.floor((Math.floor(pixel / width) + 0.5) * rows / height)]
    const cell = row * columns + column
    const [red = 0, green = 0, blue = 0] = pixels.subarray(pixel * 3, pixel * 3 + 3)
    sums[cell] = (sums[cell] ?? 0) + 0.299 * red + 0.587 * green + 0.114 * blue
    counts[cell] = (counts[cell] ?? 0) + 1
  }
  return sums.map((sum, cell) => sum / Math.max(1, counts[cell] ?? 0))
}

function motion(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, at) => Math.max(most, Math.abs(value - (b[at] ?? 0))), 0)
}

/** Bits that differ between the difference hashes: is each cell brighter than the one to its right? */
function differentBits(a: Float32Array, b: Float32Array): number {
  const bit = (grey: Float32Array, at: number) => (grey[at] ?? 0) > (grey[at + 1] ?? 0)
  let bits = 0
  for (let at = 0; at < columns * rows; at++) if (at % columns < columns - 1 && bit(a, at) !== bit(b, at)) bits++
  return bits
}
