/** From image files to pixels, the same way in training and in service. */
import sharp from 'sharp'
import { channels } from '../model/presets.js'

sharp.cache(false)
// Each caller decides how much runs side by side; sharp's own threads would only fight over the cores.
sharp.concurrency(1)

/** Larger pictures are refused before they are decoded: 64 megapixels. */
const pixelLimit = 64e6

/**
 * Decodes a PNG, JPEG or other common image to RGB pixels, uint8 [size, size, 3]: turned as its EXIF orientation says, fitted
 * whole into the square, bars in black, transparency on black. This is preprocessing `contain-rgb-1` of the model metadata.
 * Errors: sharp's own when the bytes are no image, are cut off, or hold more than 64 megapixels.
 */
export async function decodeImage(image: Uint8Array | string, size: number): Promise<Uint8Array> {
  const { data, info } = await sharp(image, { limitInputPixels: pixelLimit, failOn: 'error' })
    .autoOrient()
    .flatten({ background: '#000' })
    .resize(size, size, { fit: 'contain', background: '#000', kernel: 'lanczos3' })
    .toColourspace('srgb')
    .removeAlpha()
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true })
  if (info.channels !== channels) throw new Error(`the image has ${String(info.channels)} channels after decoding, not ${String(channels)}`)
  return data
}
