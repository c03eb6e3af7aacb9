/** Images as patches, and what a mask leaves of them. A mask that is drawn once serves every guess alike. */
import { channels, keptOf, patchPixelsOf, tokensOf, type Preset } from '../model/presets.js'
import { pixelDeviation, pixelMean, plainView, writeView } from '../data/augment.js'
import { Random } from '../data/random.js'

export interface Mask {
  /** Places of the patches that stay [K], and of those that are hidden [N − K]. */
  keepIds: Int32Array
  dropIds: Int32Array
}

/** Squared errors of the model's pixels over those of pixels between 0 (black) and 1 (white). */
const squaredScale = (255 / pixelDeviation) ** 2

/** Hides so many patches as training does, at random places. */
export function drawMask(preset: Preset, maskRatio: number, random: Random): Mask {
  const order = random.permutation(tokensOf(preset))
  const kept = keptOf(preset, maskRatio)
  return { keepIds: order.slice(0, kept), dropIds: order.slice(kept) }
}

/** An image, uint8 [S, S, 3], as it is → patches [N, P] as the model takes them. */
export function patchesOf(image: Uint8Array, preset: Preset): Float32Array {
  const patches = new Float32Array(tokensOf(preset) * patchPixelsOf(preset))
  // A plain view draws nothing that matters.
  writeView(image, preset, plainView, Random.of(0), patches)
  return patches
}

/** Patches [N, P] → uint8 [S, S, 3]; what lies beyond black and white becomes that. */
export function pixelsOf(patches: Float32Array, preset: Preset): Uint8Array {
  const pixels = new Uint8Array(patches.length)
  for (let row = 0; row < preset.size; row++) {
    for (let column = 0; column < preset.size; column++) {
      const [from, to] = [placeOf(row, column, preset) * channels, (row * preset.size + column) * channels]
      for (let channel = 0; channel < channels; channel++) {
        pixels[to + channel] = Math.min(255, Math.max(0, Math.round((patches[from + channel] ?? 0) * pixelDeviation + pixelMean)))
      }
    }
  }
  return pixels
}

/** Where the patches [N, P] have the pixel at a row and a column, in pixels. */
export function placeOf(row: number, column: number, { size, patch }: Preset): number {
  const token = Math.floor(row / patch) * (size / patch) + Math.floor(column / patch)
  return token * patch ** 2 + (row % patch) * patch + (column % patch)
}

/** The patches at `ids`, one after the other [ids, P]. */
export function patchesAt(patches: Float32Array, ids: Int32Array, preset: Preset): Float32Array {
  const each = patchPixelsOf(preset)
  const taken = new Float32Array(ids.length * each)
  ids.forEach((id, place) => { taken.set(patches.subarray(id * each, (id + 1) * each), place * each) })
  return taken
}

/** A copy of the patches [N, P] with `hidden` [N − K, P] where the mask hides; the visible ones are those of the image. */
export function completed(patches: Float32Array, { dropIds }: Mask, hidden: Float32Array, preset: Preset): Float32Array {
  const each = patchPixelsOf(preset)
  const whole = patches.slice()
  dropIds.forEach((id, place) => { whole.set(hidden.subarray(place * each, (place + 1) * each), id * each) })
  return whole
}

/** Mean squared error of a guess at the hidden patches [N − K, P], for pixels between 0 and 1; a guess is not cut to that range. */
export function errorOn(patches: Float32Array, { dropIds }: Mask, guess: Float32Array, preset: Preset): number {
  const truth = patchesAt(patches, dropIds, preset)
  return truth.reduce((sum, value, index) => sum + (value - (guess[index] ?? Number.NaN)) ** 2, 0) / truth.length / squaredScale
}
