/** What a model says of weak and strong views of photographs that were held out from its round. The test images are not opened. */
import { access, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ModelFile, presets, Random, type LabeledImage, type MethodName, type ModelCard } from '../../trainer/index.js'
import { strongView, weakView, writeView, type ViewRange } from '../../trainer/data/augment.js'
import { loadImages } from '../../trainer/data/load.js'
import { softmax } from '../../trainer/evidence.js'
import { counted, type Bin, type RuleCount, type ViewedImage } from './consistency.js'
import { divided, imageFolder } from './data.js'
import { pixelsOf } from '../../trainer/pictures/masking.js'
import { ordinary, undisturbed } from '../ordinary.js'
import { trained } from './run.js'

export interface ConsistencyOptions {
  /** Folder of a model that is there; null: a round makes one, or has made it before. */
  model: string | null
  method: MethodName
  perClass: number
  seed: number
  /** One of the two is null. */
  steps: number | null
  minutes: number | null
  heldOut: number
  /** Pairs of a weak and a strong view of each image. */
  views: number
  say: (text: string) => void
}

export interface ConsistencyResult {
  section: 'consistency'
  /** Of the model, by its card. */
  method: MethodName
  seed: number
  labels: number
  steps: number
  /** Learned with this command, the photographs held out; else it may have seen them. */
  own: boolean
  heldOut: number
  views: number
  bins: Bin[]
  rules: RuleCount[]
}

/** Validation images of the round. */
const validation = 600
/** Images in one forward. */
const chunk = 50

export async function consistency(images: readonly LabeledImage[], options: ConsistencyOptions): Promise<ConsistencyResult> {
  const { seed, perClass, heldOut, views, say } = options
  const { unlabeled, ...labeled } = divided(images, { seed, perClass, validation })
  const folder = options.model ?? join(imageFolder, 'models', roundName(options))
  if (options.model === null && !await access(join(folder, 'model.onnx')).then(() => true, () => false)) {
    say(`a round of ${options.method} into ${folder}`)
    await round(folder, { ...labeled, frames: unlabeled.slice(heldOut) }, options)
  }
  const card = JSON.parse(await readFile(join(folder, 'card.json'), 'utf8')) as ModelCard
  const model = await ModelFile.open(await readFile(join(folder, 'model.onnx')))
  const viewed = await viewsOf(model, unlabeled.slice(0, heldOut), { seed, views, mirror: card.recipe.mirror === true })
  await model.release()
  return {
    section: 'consistency', method: card.method, seed: card.seed, labels: card.data.labeled, steps: card.steps, own: options.model === null,
    heldOut: viewed.length, views, ...counted(viewed),
  }
}

function roundName({ method, perClass, seed, steps, minutes, heldOut }: ConsistencyOptions): string {
  return ['views', method, perClass, seed, steps ?? 'by-the-clock', minutes ?? '', heldOut].join('-')
}

async function round(
  folder: string, { frames, ...parts }: Record<'labeled' | 'gate' | 'promotion' | 'frames', LabeledImage[]>,
  { method, seed, steps, minutes, say }: ConsistencyOptions,
): Promise<void> {
  await mkdir(folder, { recursive: true })
  await trained({
    ...ordinary, ...parts, unlabeled: frames.map(({ path }) => path), out: folder, method, seed, steps, minutes,
  }, event => { if (event.type === 'gate') say(`  step ${String(event.look.step)}: gate ${event.look.open ? 'open' : 'closed'}`) })
}

/** The model's word before temperature, as a pseudo-label is taken from it. */
async function viewsOf(
  model: ModelFile, images: readonly LabeledImage[], { seed, views, mirror }: { seed: number; views: number; mirror: boolean },
): Promise<ViewedImage[]> {
  const { size, classes } = model.metadata
  const { items, pixels } = await loadImages(images, ({ path }) => path, size, undisturbed)
  const judge = async (from: number, range: ViewRange, key: number): Promise<number[][]> => {
    const drawn = pixels.slice(from, from + chunk).map((image, index) => viewOf(image, size, range, Random.of(seed, 9, key, from + index)))
    const { logits } = await model.run(new Uint8Array(Buffer.concat(drawn)))
    return drawn.map((_, row) => softmax([...logits.subarray(row * classes.length, (row + 1) * classes.length)]))
  }
  const viewed = items.map(({ label }): ViewedImage => ({ truth: classes.indexOf(label), pairs: [] }))
  for (let from = 0; from < pixels.length; from += chunk) {
    for (let view = 0; view < views; view++) {
      const weak = await judge(from, { ...weakView, flip: mirror }, 2 * view)
      const strong = await judge(from, { ...strongView, flip: mirror }, 2 * view + 1)
      weak.forEach((row, index) => viewed[from + index]?.pairs.push({ weak: row, strong: strong[index] ?? [] }))
    }
  }
  return viewed
}

/** A view as pixels, uint8 [size, size, 3]: the model file takes no patches. */
function viewOf(image: Uint8Array, size: number, range: ViewRange, random: Random): Uint8Array {
  // One patch that is the whole picture lies row by row.
  const whole = { ...presets.nano, size, patch: size }
  const view = new Float32Array(image.length)
  writeView(image, whole, range, random, view)
  return pixelsOf(view, whole)
}
