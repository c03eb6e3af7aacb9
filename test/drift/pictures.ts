/** Predictions of a real model on the bundled test photographs, as the bundled belt would show them. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import type { Drift } from '../../agent/camera/simulation.js'
import { bundled } from '../../agent/config.js'
import type { Sample } from '../../agent/drift/monitor.js'
import { embedded, useEngine } from '../../trainer/backend/choose.js'
import { readSafetensors } from '../../trainer/export/safetensors.js'
import { decodeImage, presets, Random, type ModelCard, type ModelFile } from '../../trainer/index.js'
import { modelTable } from '../../trainer/model/parameters.js'
import { drawMask, errorOn, patchesOf } from '../../trainer/pictures/masking.js'
import { Reconstructor } from '../../trainer/pictures/reconstructor.js'
import { recipeOf } from '../../trainer/recipe.js'

export type Prediction = Omit<Sample, 'camera' | 'capturedAtMs' | 'model'>

const side = 112

/** The photographs, at most `count` of them, evenly over the classes, as a model of side `size` takes them. */
async function picturesOf(change: Drift, size: number, count = Infinity): Promise<Uint8Array[]> {
  const entries = await readdir(bundled('test'), { recursive: true, withFileTypes: true })
  const paths = entries.filter(entry => entry.isFile() && entry.name.endsWith('.png')).map(({ parentPath, name }) => join(parentPath, name)).sort()
  const random = Random.of(12)
  const pictures: Uint8Array[] = []
  for (const index of [...random.permutation(paths.length)].slice(0, count)) {
    pictures.push(await decodeImage(await picture(paths[index] ?? '', change, random), size))
  }
  return pictures
}

/** One prediction for each photograph, in the order of `picturesOf`. */
export async function predictionsOf(model: ModelFile, change: Drift, count = Infinity): Promise<Prediction[]> {
  const predicted: Prediction[] = []
  for (const image of await picturesOf(change, model.metadata.size, count)) {
    const { probabilities, embedding } = await model.run(image)
    predicted.push({
      embedding: embedding.slice(), confidence: Math.max(...probabilities),
      probabilities: Object.fromEntries(model.metadata.classes.map((name, index) => [name, probabilities[index] ?? 0])),
    })
  }
  return predicted
}

/** Mean squared error of a model's decoder on three quarters of each photograph, in the order of `picturesOf`, pixels between 0 and 1. */
export async function reconstructionErrorsOf(folder: string, change: Drift): Promise<number[]> {
  const card = JSON.parse(await readFile(join(folder, 'card.json'), 'utf8')) as ModelCard
  const { preset, recipe } = { preset: presets[card.preset], recipe: recipeOf(card.method, card.recipe) }
  const table = modelTable(preset, card.classes.length, recipe)
  const tensors = readSafetensors(await readFile(join(folder, 'weights.safetensors')))
  const flat = new Float32Array(table.size)
  for (const { name, offset } of table.specs) flat.set(tensors.get(name)?.data ?? [], offset)
  const examples = (await picturesOf(change, preset.size)).map((image, index) =>
    ({ patches: patchesOf(image, preset), mask: drawMask(preset, recipe.maskRatio, Random.of(13, index)) }))
  await useEngine(embedded)
  const reconstructor = new Reconstructor({ preset, recipe, table })
  try {
    const guesses = await reconstructor.guesses(flat, examples)
    return examples.map(({ patches, mask }, index) => errorOn(patches, mask, guesses[index] ?? new Float32Array(), preset))
  } finally { await reconstructor.release() }
}

/** JPEG of an item alone: turned, lit, with the light's slow swing and the sensor's noise, blurred, as agent/camera/simulation.ts has it. */
async function picture(path: string, { light, turn, blur }: Drift, random: Random): Promise<Uint8Array> {
  const { data, info: { width, height } } = await sharp(path).resize(side, side, { kernel: 'cubic' }).rotate(turn, { background: '#000' })
    .resize(side, side, { fit: 'inside' }).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true })
  const lit = light * (1 + 0.12 * Math.sin(2 * Math.PI * random.float()))
  const grey = data.map(value => Math.max(0, Math.min(255, value * lit + 3 * random.normal())))
  const image = sharp(grey, { raw: { width, height, channels: 1 } })
  return (blur > 0 ? image.blur(blur) : image).jpeg({ quality: 92 }).toBuffer()
}
