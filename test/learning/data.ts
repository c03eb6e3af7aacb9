/** Fashion-MNIST as a site would have it: few labels, a validation set, many frames that nobody labeled; the test set apart. */
import { access, mkdir, rename, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { classes, readPhotographs, side, type Photograph } from '../../fixtures/dataset.js'
import type { LabeledImage } from '../../trainer/contract.js'
import { Random } from '../../trainer/data/random.js'

export interface Division {
  labeled: LabeledImage[]
  /** Half of the validation set: what the pseudo-label gate looks at. */
  gate: LabeledImage[]
  /** The other half: for choices between runs. */
  promotion: LabeledImage[]
  /** All other photographs of the training file, with the classes that nobody is told. */
  unlabeled: LabeledImage[]
}

/** Where the photographs lie as PNG files, a folder a class. */
export const imageFolder = join(tmpdir(), 'pawl-fashion-mnist')

/** Writes the photographs as files, once; gives their paths in the order of the dataset. */
export async function imagesOf(part: 'train' | 't10k'): Promise<LabeledImage[]> {
  const photographs = await readPhotographs(part)
  const folder = join(imageFolder, part)
  const images = photographs.map(photograph => imageOf(folder, photograph))
  if (await access(folder).then(() => true, () => false)) return images
  const fresh = `${folder}.new`
  for (const name of classes) await mkdir(join(fresh, name), { recursive: true })
  for (let start = 0; start < photographs.length; start += 200) {
    await Promise.all(photographs.slice(start, start + 200).map(async photograph => {
      const raw = { width: side, height: side, channels: 1 } as const
      await writeFile(imageOf(fresh, photograph).path, await sharp(photograph.pixels, { raw }).png().toBuffer())
    }))
  }
  await rename(fresh, folder)
  return images
}

function imageOf(folder: string, { index, label }: Photograph): LabeledImage {
  const name = classes[label] ?? ''
  return { path: join(folder, name, `${String(index).padStart(5, '0')}.png`), label: name }
}

/** `perClass` labels of each class and `validation` images in all, drawn by the seed; the parts share no photograph. */
export function divided(
  images: readonly LabeledImage[], { seed, perClass, validation }: { seed: number; perClass: number; validation: number },
): Division {
  const order = [...Random.of(seed, 7).permutation(images.length)].map(index => images[index] as LabeledImage)
  const [gate, promotion, rest] = [order.slice(0, validation / 2), order.slice(validation / 2, validation), order.slice(validation)]
  const labeled = classes.flatMap(name => rest.filter(({ label }) => label === name).slice(0, perClass))
  const taken = new Set(labeled)
  return { labeled, gate, promotion, unlabeled: rest.filter(image => !taken.has(image)) }
}
