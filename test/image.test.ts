import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { decodeImage, fitImage } from '../trainer/index.js'

const noisy = (width: number, height: number) =>
  sharp({ create: { width, height, channels: 3, background: '#888', noise: { type: 'gaussian', mean: 120, sigma: 60 } } })

/** The whole of `contain-rgb-1` by sharp itself, bars and all. */
const contained = (image: Uint8Array, size: number) => sharp(image).autoOrient().flatten({ background: '#000' })
  .resize(size, size, { fit: 'contain', background: '#000', kernel: 'lanczos3' }).toColourspace('srgb').removeAlpha().raw().toBuffer()

describe('an image on its way to a model', () => {
  it('is fitted whole into a square with bars in black, to the byte as sharp contains it, whatever its shape', async () => {
    const side = fc.integer({ min: 1, max: 300 })
    await fc.assert(fc.asyncProperty(side, side, fc.constantFrom(28, 96), fc.constantFrom('jpeg', 'png', 'webp'), async (width, height, size, format) => {
      const image = await noisy(width, height).toFormat(format as 'jpeg').toBuffer()
      expect(Buffer.compare(await decodeImage(image, size), await contained(image, size))).toBe(0)
    }), { numRuns: 60 })
  })

  it('is upright and without transparency', async () => {
    const turned = await noisy(60, 20).withMetadata({ orientation: 6 }).jpeg().toBuffer()
    expect(await fitImage(turned, 28)).toMatchObject({ size: 28, width: 9, height: 28 })
    expect(Buffer.compare(await decodeImage(turned, 28), await contained(turned, 28))).toBe(0)
    const clear = await sharp({ create: { width: 40, height: 40, channels: 4, background: { r: 255, g: 255, b: 255, alpha: 0 } } }).png().toBuffer()
    expect((await decodeImage(clear, 28)).every(value => value === 0)).toBe(true)
  })

  it('is refused where it is cut off or none', async () => {
    const whole = await noisy(200, 100).jpeg().toBuffer()
    await expect(decodeImage(whole.subarray(0, 1000), 28)).rejects.toThrow()
    await expect(decodeImage(Buffer.from('no image'), 28)).rejects.toThrow(/image/)
  })
})
