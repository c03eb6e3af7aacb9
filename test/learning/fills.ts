/** Guesses at hidden patches by simple rules: what a reconstruction must beat before it has learned anything. */
import { channels, patchPixelsOf, tokensOf, type Preset } from '../../trainer/model/presets.js'
import { patchesAt, patchesOf, placeOf, type Mask } from '../../trainer/pictures/masking.js'

/** What a rule knows: an image [N, P] of which it may read the patches that the mask leaves, and the mean training image [N, P]. */
export interface Asked {
  patches: Float32Array
  mask: Mask
  preset: Preset
  meanImage: Float32Array
}

/** Guesses [N − K, P], in the order of the mask. */
export const fills = {
  /** The mean of each patch position over the training images. */
  'mean patch': ({ meanImage, mask, preset }) => patchesAt(meanImage, mask.dropIds, preset),
  'mean of the visible patches': ({ patches, mask, preset }) => {
    const mean = visibleMean(patches, mask, preset)
    return Float32Array.from({ length: mask.dropIds.length * patchPixelsOf(preset) }, (_, index) => mean[index % channels] ?? 0)
  },
  'nearest visible patch': ({ patches, mask, preset }) => {
    const side = preset.size / preset.patch
    const distance = (a: number, b: number) => (a % side - b % side) ** 2 + (Math.floor(a / side) - Math.floor(b / side)) ** 2
    // Ties go to the one that comes first in reading order.
    const sorted = mask.keepIds.toSorted()
    const nearest = mask.dropIds.map(id => sorted.reduce((best, other) => (distance(other, id) < distance(best, id) ? other : best), sorted[0] ?? 0))
    return patchesAt(patches, nearest, preset)
  },
  'smooth fill': smoothFill,
} satisfies Record<string, (asked: Asked) => Float32Array>

export type FillName = keyof typeof fills

/** The mean [N, P] of images, uint8 [S, S, 3] each. */
export function meanOf(images: readonly Uint8Array[], preset: Preset): Float32Array {
  // Sums of tens of thousands of images are beyond float32.
  const sum = new Float64Array(tokensOf(preset) * patchPixelsOf(preset))
  for (const image of images) patchesOf(image, preset).forEach((value, index) => { sum[index] = (sum[index] ?? 0) + value })
  return Float32Array.from(sum, value => value / images.length)
}

/** Of each channel [3]. */
function visibleMean(patches: Float32Array, { keepIds }: Mask, preset: Preset): number[] {
  const visible = patchesAt(patches, keepIds, preset)
  const sums = new Array<number>(channels).fill(0)
  visible.forEach((value, index) => { sums[index % channels] = (sums[index % channels] ?? 0) + value })
  return sums.map(sum => sum / (visible.length / channels))
}

const relaxation = { sweeps: 100, factor: 1.8 }

/**
 * Bilinear interpolation where what is known lies anywhere: every hidden pixel becomes the mean of its four neighbours (Laplace's equation,
 * by successive over-relaxation), the edge of the image is free.
 */
function smoothFill({ patches, mask, preset }: Asked): Float32Array {
  const { size, patch } = preset
  const mean = visibleMean(patches, mask, preset)
  const values = patches.slice()
  const hidden = new Set(mask.dropIds)
  const unknown: { at: number; around: number[] }[] = []
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const place = placeOf(row, column, preset)
      if (!hidden.has(Math.floor(place / patch ** 2))) continue
      const around = ([[row - 1, column], [row + 1, column], [row, column - 1], [row, column + 1]] as const)
        .filter(([y, x]) => y >= 0 && y < size && x >= 0 && x < size).map(([y, x]) => placeOf(y, x, preset) * channels)
      unknown.push({ at: place * channels, around })
      values.set(mean, place * channels)
    }
  }
  for (let sweep = 0; sweep < relaxation.sweeps; sweep++) {
    for (const { at, around } of unknown) {
      for (let channel = 0; channel < channels; channel++) {
        let sum = 0
        for (const other of around) sum += values[other + channel] ?? 0
        const before = values[at + channel] ?? 0
        values[at + channel] = before + relaxation.factor * (sum / around.length - before)
      }
    }
  }
  return patchesAt(values, mask.dropIds, preset)
}
