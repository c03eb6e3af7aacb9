/** Pictures of a scene in which nothing happens: seen once, then dropped until something changes. */
import sharp from 'sharp'
import type { Frame } from '../events.js'
import { limitInputPixels } from './source.js'

const [columns, rows] = [9, 8]
/** Bits of 64 by which the difference hash (dHash) of a new scene differs at least. */
const leastBits = 4
/** Grey levels by which some part of a new scene differs at least: in an empty scene, noise alone sets the hash's bits. */
const leastMotion = 6
/** A still scene gives a frame this often all the same, so that what is said of it stays fresh. */
const repeatAfterMs = 10_000

interface Glance {
  capturedAtMs: number
  /** Grey, row-major, `columns` × `rows`. */
  grey: Uint8Array
}

export class NearDuplicates {
  private kept: Glance | null = null

  /** True when the frame shows what the last kept frame showed; otherwise it is the one kept. */
  async repeats({ jpeg, capturedAtMs }: Frame): Promise<boolean> {
    const grey = await sharp(jpeg, { limitInputPixels, failOn: 'error' }).resize(columns, rows, { fit: 'fill' }).toColourspace('b-w').raw().toBuffer()
    const { kept } = this
    // The clock may have jumped back: then the frame counts as late.
    const soon = kept !== null && Math.abs(capturedAtMs - kept.capturedAtMs) < repeatAfterMs
    if (soon && (motion(grey, kept.grey) < leastMotion || differentBits(grey, kept.grey) < leastBits)) return true
    this.kept = { capturedAtMs, grey }
    return false
  }
}

function motion(a: Uint8Array, b: Uint8Array): number {
  return a.reduce((most, value, at) => Math.max(most, Math.abs(value - (b[at] ?? 0))), 0)
}

/** Bits that differ between the difference hashes: is each cell brighter than the one to its right? */
function differentBits(a: Uint8Array, b: Uint8Array): number {
  const bit = (grey: Uint8Array, at: number) => (grey[at] ?? 0) > (grey[at + 1] ?? 0)
  let bits = 0
  for (let at = 0; at < columns * rows; at++) if (at % columns < columns - 1 && bit(a, at) !== bit(b, at)) bits++
  return bits
}
