/** Pictures as cameras send them: bundled photographs on grainy ground, no two alike. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { bundled } from '../../agent/config.js'

export interface PictureSize {
  width: number
  height: number
}

/** As JPEGs, of different photographs. */
export async function pictures(count: number, { width, height }: PictureSize): Promise<Buffer[]> {
  const names = (await readdir(bundled('unlabeled'))).sort()
  const side = Math.round(0.8 * Math.min(width, height))
  return Promise.all(Array.from({ length: count }, async (_, index) => {
    const photograph = await sharp(join(bundled('unlabeled'), names[index] ?? '')).resize(side, side, { fit: 'fill' }).toColourspace('srgb').png().toBuffer()
    return sharp({ create: { width, height, channels: 3, background: '#444', noise: { type: 'gaussian', mean: 40 + 10 * (index % 8), sigma: 12 } } })
      .composite([{ input: photograph, blend: 'screen' }]).jpeg({ quality: 85 }).toBuffer()
  }))
}
