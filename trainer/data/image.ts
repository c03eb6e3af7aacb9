/** From image files to pixels, the same way in training and in service. */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import sharp, { type Metadata, type Sharp } from 'sharp'
import { channels } from '../model/presets.js'

sharp.cache(false)
// Each caller decides how much runs side by side; sharp's own threads would only fight over the cores.
sharp.concurrency(1)

/** JPEG, PNG and WebP are decoded, nothing else: pictures come from anywhere, and each decoder more is one that they can attack. */
sharp.block({ operation: ['VipsForeignLoad'] })
sharp.unblock({ operation: ['Jpeg', 'Png', 'Webp'].flatMap(format => [`VipsForeignLoad${format}Buffer`, `VipsForeignLoad${format}File`]) })

/** Of a file that may hold one of these. */
export const imageName = /^[^.].*\.(jpe?g|png|webp)$/i

/** Larger pictures are refused before they are decoded: 64 megapixels. */
const pixelLimit = 64e6
/** Bytes of memory that a picture may take which is decoded as a whole, not row by row: 48 megapixels in colour. */
const wholeLimit = 144e6
/** Bytes of the largest image file that is read. */
const fileLimit = 64e6

/** An image as large as it fits whole into a square of `size` pixels a side. */
export interface FittedImage {
  size: number
  width: number
  height: number
  /** RGB, uint8 [height, width, 3]. */
  pixels: Uint8Array
}

/**
 * What a picture says of itself. `whole`: all of it is to be decoded before anything else is done, as progressive JPEG and interlaced PNG always are.
 * Errors: it is no JPEG, PNG or WebP; it has more than 64 megapixels, or would take more than 144 MB as a whole.
 */
export async function headOf(image: Uint8Array, { whole = false } = {}): Promise<Metadata> {
  const head = await sharp(image, { limitInputPixels: pixelLimit }).metadata()
  const { width, height, isProgressive, format, depth } = head
  // A progressive JPEG is held as coefficients of 16 bits, a WebP twice.
  const wide = depth === 'ushort' || format === 'webp' || (isProgressive && format === 'jpeg')
  const bytes = whole || isProgressive ? width * height * head.channels * (wide ? 2 : 1) : 0
  if (bytes <= wholeLimit) return head
  throw new Error(`a picture of ${String(width)} × ${String(height)} would take ${String(Math.round(bytes / 1e6))} MB to decode, more than ${String(wholeLimit / 1e6)} MB`)
}

/** Upright, as its EXIF orientation says; to be decoded once its head was looked at. Errors, as it is decoded: bytes that are cut off. */
export function uprightImage(image: Uint8Array): Sharp {
  return sharp(image, { limitInputPixels: pixelLimit, failOn: 'error' }).autoOrient()
}

/** Decodes an image, turned as its EXIF orientation says, transparency on black. Errors: those of `headOf`, and bytes that are cut off. */
export async function fitImage(image: Uint8Array, size: number): Promise<FittedImage> {
  await headOf(image)
  const { data, info } = await uprightImage(image)
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

/** From an image to what a model reads. This is preprocessing `contain-rgb-1` of the model metadata. Errors: those of `fitImage`. */
export async function decodeImage(image: Uint8Array, size: number): Promise<Uint8Array> {
  return squared(await fitImage(image, size))
}

/** Bytes of an image file. Errors: what the file system says; what is no file, such as a pipe, which might never end; more than 64 MB. */
export async function readImageFile(path: string): Promise<Uint8Array> {
  // To open a pipe, too, would wait for whoever writes into it.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const found = await file.stat()
    if (!found.isFile()) throw new Error('it is no file')
    if (found.size > fileLimit) throw new Error(`it has ${String(found.size)} bytes, more than ${String(fileLimit)}`)
    return await file.readFile()
  } finally {
    await file.close()
  }
}
