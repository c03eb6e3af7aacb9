/** Frames that the selection keeps beside as many that chance keeps: to learn from without labels, and for a person to label. */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { classes } from '../../fixtures/dataset.js'
import { defaultConfig } from '../../agent/config.js'
import { Selection, type Kept, type KeptReason } from '../../agent/frames/selection.js'
import { ModelFile, type LabeledImage } from '../../trainer/index.js'
import { loadImages } from '../../trainer/data/load.js'
import { Random } from '../../trainer/data/random.js'
import { ordinary, undisturbed } from '../ordinary.js'
import { divided, imageFolder } from './data.js'
import { metricsOn, trained } from './run.js'

/** What passes the camera: every class as often as any other, or the next one a fifth less often than the one before. */
export const mixes = ['even', 'uneven'] as const

export interface SelectingKey {
  seed: number
  mix: (typeof mixes)[number]
  perClass: number
  /** Of every round. */
  steps: number
  /** Frames that are there before a model is, that pass while it serves, and of these how many a person labels. */
  first: number
  stream: number
  asked: number
}

export interface SelectingResult extends SelectingKey {
  kept: number
  reasons: Partial<Record<KeptReason, number>>
  /** On 5,000 other photographs, every class as often as any other. */
  accuracy: Record<'before' | 'frames selected' | 'frames by chance' | 'labels selected' | 'labels by chance', number>
}

const fewer = 0.8

export async function select(key: SelectingKey, images: readonly LabeledImage[], say: (text: string) => void): Promise<SelectingResult> {
  const { seed, perClass, steps, first, stream, asked } = key
  const { unlabeled, ...labels } = divided(images, { seed, perClass, validation: 600 })
  const measured = unlabeled.slice(-5000)
  const passing = mixed(unlabeled.slice(0, -5000), key).slice(0, first + stream)
  const [known, seen] = [passing.slice(0, first), passing.slice(first)]
  const folder = join(imageFolder, 'selecting', [seed, key.mix, perClass, steps].join('-'))
  const learn = async (name: string, frames: readonly LabeledImage[], more: readonly LabeledImage[] = []) => {
    const out = join(folder, name.replaceAll(' ', '-'))
    await mkdir(out, { recursive: true })
    const spec = { ...ordinary, ...labels, labeled: [...labels.labeled, ...more], unlabeled: frames.map(({ path }) => path), out, seed, steps }
    await trained(spec, () => undefined)
    const { accuracy } = await metricsOn(out, measured)
    say(`  ${name}: ${(100 * accuracy).toFixed(2)} %`)
    return accuracy
  }

  const before = await learn('before', known)
  const kept = await passed(join(folder, 'before'), seen, seed)
  const [chance, surely] = [shuffled(seen, seed, 52).slice(0, kept.length), kept.map(({ image }) => image)]
  const worthy = kept.toSorted((a, b) => b.worth - a.worth).slice(0, asked).map(({ image }) => image)
  const without = (frames: readonly LabeledImage[], taken: readonly LabeledImage[]) => frames.filter(image => !taken.includes(image))
  const result: SelectingResult = {
    ...key, kept: kept.length, reasons: {},
    accuracy: {
      before,
      'frames selected': await learn('frames selected', [...known, ...surely]),
      'frames by chance': await learn('frames by chance', [...known, ...chance]),
      'labels selected': await learn('labels selected', [...known, ...without(surely, worthy)], worthy),
      'labels by chance': await learn('labels by chance', [...known, ...chance.slice(asked)], chance.slice(0, asked)),
    },
  }
  for (const { reason } of kept) result.reasons[reason] = (result.reasons[reason] ?? 0) + 1
  await rm(folder, { recursive: true, force: true })
  return result
}

function mixed(frames: readonly LabeledImage[], { mix, seed }: SelectingKey): LabeledImage[] {
  const random = Random.of(seed, 50)
  const rank = [...random.permutation(classes.length)]
  const share = (label: string) => (mix === 'even' ? 1 : fewer ** (rank[classes.indexOf(label)] ?? 0))
  return shuffled(frames, seed, 51).filter(({ label }) => random.float() < share(label))
}

/** What the agent's selection keeps of frames that a model answers one after the other, in a store that is never too empty. */
async function passed(folder: string, frames: readonly LabeledImage[], seed: number): Promise<(Kept & { image: LabeledImage })[]> {
  const model = await ModelFile.open(await readFile(join(folder, 'model.onnx')))
  const { pixels, items } = await loadImages(frames, ({ path }) => path, model.metadata.size, undisturbed)
  const random = Random.of(seed, 53)
  const { perHour, perDay, ...config } = defaultConfig().frames.select
  const unlimited = { ...config, perHour: perHour + frames.length, perDay: perDay + frames.length }
  const selection = new Selection({ config: unlimited, leastFrames: 0, random: () => random.float() })
  const kept: (Kept & { image: LabeledImage })[] = []
  for (const [index, image] of items.entries()) {
    const { probabilities, embedding } = await model.run(pixels[index] as Uint8Array)
    const chosen = selection.choose({ camera: 'site', capturedAtMs: index }, { model: 1, confidence: Math.max(...probabilities), embedding }, kept.length)
    if (chosen) kept.push({ ...chosen, image })
  }
  await model.release()
  return kept
}

function shuffled<Item>(items: readonly Item[], ...seed: number[]): Item[] {
  return [...Random.of(...(seed as [number])).permutation(items.length)].map(index => items[index] as Item)
}
