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
  const last = size - 1
  const { patch } = preset
  const perRow = size / patch
  for (let row = 0; row < size; row++) {
    const rowStart = Math.floor(row / patch) * perRow * patch * patch + (row % patch) * patch
    for (let column = 0; column < size; column++) {
      const at = (rowStart + Math.floor(column / patch) * patch * patch + (column % patch)) * channels
      const hidden = row >= cutY && row < cutY + side && column >= cutX && column < cutX + side
      if (hidden) {
        out[at] = out[at + 1] = out[at + 2] = 0
        continue
      }
      const [dx, dy] = [column - middle, row - middle]
      const x = Math.min(last, Math.max(0, xx * dx + xy * dy + moveX))
      const y = Math.min(last, Math.max(0, yx * dx + yy * dy + moveY))
      const [left, top] = [Math.floor(x), Math.floor(y)]
      const [shareX, shareY] = [x - left, y - top]
      const toRight = left < last ? channels : 0
      const toBelow = top < last ? size * channels : 0
      const start = (top * size + left) * channels
      for (let channel = 0; channel < channels; channel++) {
        const from = start + channel
        const above = (image[from] ?? 0) * (1 - shareX) + (image[from + toRight] ?? 0) * shareX
        const below = (image[from + toBelow] ?? 0) * (1 - shareX) + (image[from + toBelow + toRight] ?? 0) * shareX
        const value = (above * (1 - shareY) + below * shareY) * contrast + offset
        out[at + channel] = Math.min(4, Math.max(0, value * gain)) - pixelMean / pixelDeviation
      }
    }
  }
}

function meanOf(image: Uint8Array): number {
  let sum = 0
  for (const value of image) sum += value
  return sum / image.length
}
