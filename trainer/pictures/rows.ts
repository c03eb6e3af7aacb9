/** Pictures side by side as PNG: what was there, what the mask left, what the decoder made of it. */
import sharp from 'sharp'
import { channels, type Preset } from '../model/presets.js'
import { pixelDeviation, pixelMean } from '../data/augment.js'
import { completed, pixelsOf, type Mask } from './masking.js'

/** Screen pixels of one pixel, and between two photographs. */
const [zoom, gap] = [4, 6]
/** RGB around the photographs, and of hidden patches: no grey, which a photograph could have. */
const colours = { ground: [255, 255, 255], hidden: [70, 90, 140] } as const

export interface Shown {
  /** The image [N, P]. */
  patches: Float32Array
  mask: Mask
  /** What the decoder says of its hidden patches [N − K, P]. */
  guess: Float32Array
}

/** The rows of the picture, uint8 [S, S, 3] each: original, masked, reconstructed. The visible patches are those of the image in all. */
export function rowsOf(shown: readonly Shown[], preset: Preset): Uint8Array[][] {
  return [
    shown.map(({ patches }) => pixelsOf(patches, preset)),
    shown.map(({ patches, mask, guess }) => pixelsOf(completed(patches, mask, guess.map((_, index) => hiddenValue(index)), preset), preset)),
    shown.map(({ patches, mask, guess }) => pixelsOf(completed(patches, mask, guess, preset), preset)),
  ]
}

/** PNG bytes of rows of images, uint8 [size, size, 3] each. */
export async function picture(rows: readonly (readonly Uint8Array[])[], size: number): Promise<Buffer> {
  const side = size * zoom + gap
  const tiles = await Promise.all(rows.flatMap((row, y) => row.map(async (image, x) => ({
    input: await sharp(image, { raw: { width: size, height: size, channels } }).resize(size * zoom, size * zoom, { kernel: 'nearest' }).png().toBuffer(),
    left: gap + x * side,
    top: gap + y * side,
  }))))
  const [r, g, b] = colours.ground
  const columns = Math.max(...rows.map(row => row.length))
  return sharp({ create: { width: gap + columns * side, height: gap + rows.length * side, channels, background: { r, g, b } } })
    .composite(tiles).png({ compressionLevel: 9 }).toBuffer()
}

function hiddenValue(index: number): number {
  return ((colours.hidden[index % channels] ?? 0) - pixelMean) / pixelDeviation
}
