/** From image files to pixels, the same way in training and in service. */
import sharp from 'sharp'
import { channels } from '../model/presets.js'

sharp.cache(false)
// Each caller decides how much runs side by side; sharp's own threads would only fight over the cores.
sharp.concurrency(1)

/** Larger pictures are refused before they are decoded: 64 megapixels. */
const pixelLimit = 64e6

/** An image as large as it fits whole into a square of `size` pixels a side. */
export interface FittedImage {
  size: number
  width: number
  height: number
  /** RGB, uint8 [height, width, 3]. */
  pixels: Uint8Array
}

/**
 * Decodes a PNG, JPEG or other common image, turned as its EXIF orientation says, transparency on black.
 * Errors: sharp's own when the bytes are no image, are cut off, or hold more than 64 megapixels.
 */
export async function fitImage(image: Uint8Array | string, size: number): Promise<FittedImage> {
  const { data, info } = await sharp(image, { limitInputPixels: pixelLimit, failOn: 'error' })
    .autoOrient()
    .flatten({ background: '#000' })
    .resize(size, size, { fit: 'inside', kernel: 'lanczos3' })
    .toColourspace('srgb')
    .removeAlpha()
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
  if (info.channels !== channels) throw new Error(`the image has ${String(info.channels)} channels after decoding, not ${String(channels)}`)
  return { size, width: info.width, height: info.height, pixels: data }
}

/** RGB pixels, uint8 [size, size, 3]: the image in the middle, bars in black. */
export function squared({ size, width, height, pixels }: FittedImage): Uint8Array {
  if (width === size && height === size) return pixels
  const square = new Uint8Array(size * size * channels)
  const [left, top] = [Math.floor((size - width) / 2), Math.floor((size - height) / 2)]
  for (let row = 0; row < height; row++) {
    square.set(pixels.subarray(row * width * channels, (row + 1) * width * channels), ((top + row) * size + left) * channels)
  }
  return square
}

/** From an image file to what a model reads. This is preprocessing `contain-rgb-1` of the model metadata. Errors: those of `fitImage`. */
export async function decodeImage(image: Uint8Array | string, size: number): Promise<Uint8Array> {
  return squared(await fitImage(image, size))
}
