/** Random views of an image, straight into the patch layout of the model. */
import { channels, type Preset } from '../model/presets.js'
import type { Random } from './random.js'

/** Pixel values 0 … 255 enter the model as (value / 255 − 0.5) / 0.25. */
export const pixelMean = 127.5
export const pixelDeviation = 63.75

/** How far a view may differ from its image. Angles in radians; lengths as shares of the image's side. */
export interface ViewRange {
  rotation: number
  shift: number
  shear: number
  /** Size against the original: 1 ± zoom. */
  zoom: number
  flip: boolean
  /** Mirrored for certain, rather than by chance. */
  mirrored: boolean
  /** Brightness and contrast: factors 1 ± light. */
  light: number
  /** Side of the largest grey square laid over the view; 0: none. */
  cutout: number
}

const degrees = Math.PI / 180

/** The image as it is. */
export const plainView: ViewRange = { rotation: 0, shift: 0, shear: 0, zoom: 0, flip: false, mirrored: false, light: 0, cutout: 0 }
/** What the teacher labels and the decoder reconstructs. */
export const weakView: ViewRange = { ...plainView, shift: 0.07, flip: true }
/** What the classifier learns labels from. */
export const labeledView: ViewRange = {
  ...plainView, rotation: 10 * degrees, shift: 0.08, shear: 0.1, zoom: 0.1, flip: true, light: 0.2,
}
/** What the student must see through. */
export const strongView: ViewRange = {
  ...plainView, rotation: 30 * degrees, shift: 0.15, shear: 0.2, zoom: 0.2, flip: true, light: 0.5, cutout: 0.5,
}

/**
 * Writes one view of `image` (uint8 [S, S, 3]) to `out` (float32 [N, P], normalised). Samples bilinearly; beyond the edge
 * the nearest pixel repeats.
 */
export function writeView(image: Uint8Array, preset: Preset, range: ViewRange, random: Random, out: Float32Array): void {
  const { size } = preset
  const angle = random.around(range.rotation)
  const flip = range.mirrored || (range.flip && random.float() < 0.5) ? -1 : 1
  const scale = 1 / (1 + random.around(range.zoom))
  const shear = random.around(range.shear)
  const [cos, sin] = [Math.cos(angle) * scale, Math.sin(angle) * scale]
  // Output pixel → input pixel, about the middle.
  const [xx, xy, yx, yy] = [flip * cos, flip * (shear * cos - sin), sin, cos + shear * sin]
  const middle = (size - 1) / 2
  const [moveX, moveY] = [middle + random.around(range.shift) * size, middle + random.around(range.shift) * size]
  const gain = (1 + random.around(range.light)) / pixelDeviation
  const contrast = 1 + random.around(range.light)
  const side = range.cutout * size * random.float()
  const [cutX, cutY] = [random.float() * size - side / 2, random.float() * size - side / 2]
  // Contrast turns about the image's own mean brightness, so that it does not act as brightness again.
  const pivot = contrast === 1 ? 0 : meanOf(image)
  const offset = pivot * (1 - contrast)
  // A pixel enters the model as value · scale + bias, within what a pixel can be.
  const [valueScale, valueBias] = [contrast * gain, offset * gain - pixelMean / pixelDeviation]
  const [darkest, brightest] = [-pixelMean / pixelDeviation, 4 - pixelMean / pixelDeviation]
  const last = size - 1
  const below = size * channels
  const { patch } = preset
  for (let row = 0; row < size; row++) {
    const inCut = row >= cutY && row < cutY + side
    const rowStart = Math.floor(row / patch) * size * patch * channels + (row % patch) * patch * channels
    let sourceX = moveX - xx * middle + xy * (row - middle)
    let sourceY = moveY - yx * middle + yy * (row - middle)
    let at = rowStart
    for (let column = 0; column < size; column++, sourceX += xx, sourceY += yx) {
      if (column > 0 && column % patch === 0) at += (patch - 1) * patch * channels
      if (inCut && column >= cutX && column < cutX + side) {
        out[at++] = out[at++] = out[at++] = 0
        continue
      }
      const x = sourceX < 0 ? 0 : sourceX > last ? last : sourceX
      const y = sourceY < 0 ? 0 : sourceY > last ? last : sourceY
      // The innermost loop of the data path: plain constants, since unpacking pairs costs a third of its time.
      const left = x | 0
      const top = y | 0
      const shareX = x - left
      const shareY = y - top
      const from = top * below + left * channels
      const toRight = left < last ? channels : 0
      const toBelow = top < last ? below : 0
      const both = shareX * shareY
      const lower = shareY - both
      const right = shareX - both
      const upper = 1 - shareX - lower
      for (let channel = from; channel < from + channels; channel++) {
        const value = upper * (image[channel] ?? 0) + right * (image[channel + toRight] ?? 0)
          + lower * (image[channel + toBelow] ?? 0) + both * (image[channel + toBelow + toRight] ?? 0)
        const shown = value * valueScale + valueBias
        out[at++] = shown < darkest ? darkest : shown > brightest ? brightest : shown
      }
    }
  }
}

function meanOf(image: Uint8Array): number {
  let sum = 0
  for (const value of image) sum += value
  return sum / image.length
}
