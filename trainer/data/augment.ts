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
  /** Mirrored in one of two views. */
  flip: boolean
  /** Brightness and contrast: factors 1 ± light. */
  light: number
  /** Side of the largest grey square laid over the view; 0: none. */
  cutout: number
}

const degrees = Math.PI / 180
/** Steps between two neighbouring pixels that a view distinguishes. */
const unit = 256

/** The image as it is. */
export const plainView: ViewRange = { rotation: 0, shift: 0, shear: 0, zoom: 0, flip: false, light: 0, cutout: 0 }
/** What the teacher labels and the decoder reconstructs. */
export const weakView: ViewRange = { ...plainView, shift: 0.07 }
/** What the classifier learns labels from. */
export const labeledView: ViewRange = {
  ...plainView, rotation: 10 * degrees, shift: 0.08, shear: 0.1, zoom: 0.1, light: 0.2,
}
/** What the student must see through. */
export const strongView: ViewRange = {
  ...plainView, rotation: 30 * degrees, shift: 0.15, shear: 0.2, zoom: 0.2, light: 0.5, cutout: 0.5,
}

/**
 * Writes one view of `image` (uint8 [S, S, 3]) to `out` (float32 [N, P], normalised). Samples bilinearly; beyond the edge
 * the nearest pixel repeats.
 */
export function writeView(image: Uint8Array, preset: Preset, range: ViewRange, random: Random, out: Float32Array): void {
  const { size } = preset
  const angle = random.around(range.rotation)
  const flip = range.flip && random.float() < 0.5 ? -1 : 1
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
  // A pixel enters the model as value · scale + bias, within what a pixel can be. Values come as sums of weights of 65,536ths.
  const valueScale = (contrast * gain) / unit ** 2
  const valueBias = offset * gain - pixelMean / pixelDeviation
  const darkest = -pixelMean / pixelDeviation
  const brightest = 4 - pixelMean / pixelDeviation
  const last = size - 1
  const below = size * channels
  const { patch } = preset
  const patchRow = patch * channels
  for (let row = 0; row < size; row++) {
    const inCut = row >= cutY && row < cutY + side
    let sourceX = moveX - xx * middle + xy * (row - middle)
    let sourceY = moveY - yx * middle + yy * (row - middle)
    let at = Math.floor(row / patch) * size * patchRow + (row % patch) * patchRow
    for (let column = 0; column < size; column++, sourceX += xx, sourceY += yx, at += channels) {
      if (column > 0 && column % patch === 0) at += (patch - 1) * patchRow
      if (inCut && column >= cutX && column < cutX + side) {
        out[at] = out[at + 1] = out[at + 2] = 0
        continue
      }
      // The innermost loop of the data path: whole numbers and no lists, which halves its time.
      const x = sourceX < 0 ? 0 : sourceX > last ? last : sourceX
      const y = sourceY < 0 ? 0 : sourceY > last ? last : sourceY
      const left = x | 0
      const top = y | 0
      const shareX = ((x - left) * unit) | 0
      const shareY = ((y - top) * unit) | 0
      const from = top * below + left * channels
      const right = left < last ? from + channels : from
      const under = top < last ? from + below : from
      const across = under + right - from
      const atAcross = Math.imul(shareX, shareY)
      const atRight = unit * shareX - atAcross
      const atUnder = unit * shareY - atAcross
      const atFrom = unit * unit - atRight - unit * shareY
      const red = weighted(image, from, right, under, across, atFrom, atRight, atUnder, atAcross) * valueScale + valueBias
      const green = weighted(image, from + 1, right + 1, under + 1, across + 1, atFrom, atRight, atUnder, atAcross) * valueScale + valueBias
      const blue = weighted(image, from + 2, right + 2, under + 2, across + 2, atFrom, atRight, atUnder, atAcross) * valueScale + valueBias
      out[at] = red < darkest ? darkest : red > brightest ? brightest : red
      out[at + 1] = green < darkest ? darkest : green > brightest ? brightest : green
      out[at + 2] = blue < darkest ? darkest : blue > brightest ? brightest : blue
    }
  }
}

/** The sum of four bytes by their weights. */
function weighted(bytes: Uint8Array, a: number, b: number, c: number, d: number, atA: number, atB: number, atC: number, atD: number): number {
  return (Math.imul(atA, bytes[a] ?? 0) + Math.imul(atB, bytes[b] ?? 0) + Math.imul(atC, bytes[c] ?? 0) + Math.imul(atD, bytes[d] ?? 0)) | 0
}

/** Mean brightness of every seventh value, which meets all channels alike and is near enough. */
function meanOf(image: Uint8Array): number {
  let [sum, count] = [0, 0]
  for (let index = 0; index < image.length; index += 7, count++) sum += image[index] ?? 0
  return sum / count
}
