/** Pictures as cameras send them: bundled photographs on grainy ground, no two alike. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { NearDuplicates } from '../../agent/camera/near-duplicates.js'
import { bundled } from '../../agent/config.js'
import { fitImage, presets } from '../../trainer/index.js'

export interface PictureSize {
  width: number
  height: number
}

/** As JPEGs, of different photographs: over and over, none is a near duplicate of the one before it, which nobody would be told of. */
export async function pictures(count: number, size: PictureSize): Promise<Buffer[]> {
  const names = (await readdir(bundled('unlabeled'))).sort()
  const taken: Buffer[] = []
  for (let index = 0; taken.length < count; index++) {
    const next = await picture(join(bundled('unlabeled'), names[index] ?? ''), 40 + 10 * (index % 8), size)
    const [first = next, last = next] = [taken[0], taken.at(-1)]
    if (taken.length === 0 || (await differ(last, next) && await differ(next, first))) taken.push(next)
  }
  return taken
}

async function differ(one: Buffer, other: Buffer): Promise<boolean> {
  const duplicates = new NearDuplicates()
  const repeats = async (jpeg: Buffer) => duplicates.repeats(await fitImage(jpeg, presets.nano.size), 0)
  await repeats(one)
  return !await repeats(other)
}

async function picture(photograph: string, mean: number, { width, height }: PictureSize): Promise<Buffer> {
  const side = Math.round(0.8 * Math.min(width, height))
  const shown = await sharp(photograph).resize(side, side, { fit: 'fill' }).toColourspace('srgb').png().toBuffer()
  return sharp({ create: { width, height, channels: 3, background: '#444', noise: { type: 'gaussian', mean, sigma: 12 } } })
    .composite([{ input: shown, blend: 'screen' }]).jpeg({ quality: 85 }).toBuffer()
}
