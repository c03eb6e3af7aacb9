import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { loadImages } from '../trainer/data/load.js'
import { decodeImage, fitImage } from '../trainer/index.js'
import { undisturbed } from './ordinary.js'

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

  it('is refused where it is of another kind, or would take too much memory', async () => {
    for (const format of ['gif', 'tiff', 'avif'] as const) await expect(fitImage(await noisy(20, 20).toFormat(format).toBuffer(), 28)).rejects.toThrow('unsupported')
    await expect(fitImage(Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), 28)).rejects.toThrow('unsupported')
    const progressive = await noisy(32, 32).jpeg({ progressive: true }).toBuffer()
    await fitImage(progressive, 28)
    const head = progressive.indexOf(Buffer.from([0xff, 0xc2])) + 5
    progressive.writeUInt16BE(6000, head)
    progressive.writeUInt16BE(6000, head + 2)
    await expect(fitImage(progressive, 28)).rejects.toThrow('6000 × 6000 would take 216 MB')
  })

  it('is refused where it is cut off or none', async () => {
    const whole = await noisy(200, 100).jpeg().toBuffer()
    await expect(decodeImage(whole.subarray(0, 1000), 28)).rejects.toThrow()
    await expect(decodeImage(Buffer.from('no image'), 28)).rejects.toThrow(/image/)
  })

  it('is left out by name where it cannot be read, whatever the reason, and without a word where it is gone', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pawl-image-'))
    try {
      const at = (name: string) => join(folder, name)
      await writeFile(at('good.jpg'), await noisy(40, 40).jpeg().toBuffer())
      await writeFile(at('bad.jpg'), 'no image')
      await mkdir(at('folder.jpg'))
      await symlink('loop.jpg', at('loop.jpg'))
      const names = ['bad.jpg', 'folder.jpg', 'gone.jpg', 'good.jpg', 'loop.jpg']
      const { items, unreadable } = await loadImages(names, at, 28, undisturbed)
      expect(items).toEqual(['good.jpg'])
      expect(Object.fromEntries(unreadable.map(({ path, reason }) => [basename(path), reason]))).toEqual({
        'bad.jpg': expect.stringContaining('image') as string, 'folder.jpg': 'it is no file',
        'loop.jpg': expect.stringContaining('ELOOP') as string,
      })
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})
