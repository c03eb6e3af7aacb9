/** A finished model made smaller: its int8 version, measured against it on the same images, and kept only when surely not worse. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import {
  metricsOf, ModelFile, pairedGainScoreLower, rebuiltModel, type LabeledImage, type Metrics, type ModelCard, type Quantisation,
} from '../../trainer/index.js'
import { PawlError } from '../errors.js'
import { writeDurably } from '../lib/durable.js'
import { ModelCardSchema } from '../schemas.js'
import { classifyImages, timeInference, type Classified, type InferenceTimes } from './evaluate.js'

export interface QuantiseOptions {
  /** Folder of the finished model, as a round leaves it. */
  folder: string
  /** Folder for the quantised one. */
  out: string
  /** Labeled images that both are measured on; the model should not have learned from them. */
  images: readonly LabeledImage[]
  /** Share of the images by which the int8 model may be worse. */
  tolerance: number
  /** Images that each model is timed on. */
  repeats: number
}

export interface Measured extends Metrics {
  fileBytes: number
  times: InferenceTimes
}

export interface QuantiseReport {
  /** Whether the int8 model is in `out`; refused, nothing is written. */
  kept: boolean
  before: Measured
  int8: Measured
  comparison: Quantisation
  quarantined: { path: string; reason: string }[]
}

/** Different images that the models are timed on, again and again. */
const timedImages = 16

const fix = 'give the folder of a finished model, with model.onnx, weights.safetensors and card.json'

/**
 * Errors: MODEL_INVALID for a folder that holds no finished model, one whose files are not those of its card, one that is quantised
 * already, or classes that it does not know; COMMAND_INVALID for an `out` that would overwrite it; IMAGE_UNREADABLE for no image to measure.
 */
export async function quantiseModel({ folder, out, images, tolerance, repeats }: QuantiseOptions): Promise<QuantiseReport> {
  if (resolve(out) === resolve(folder)) {
    throw new PawlError('COMMAND_INVALID', `${out}: the int8 model would overwrite the one that it is made from; give another folder to --out`)
  }
  const { card, model, weights } = await readFinished(folder)
  const smaller = await rebuiltModel({ card, weights, int8: true }).catch((cause: unknown) => {
    throw new PawlError('MODEL_INVALID', `${join(folder, 'weights.safetensors')}: ${messageOf(cause)}; ${fix}`, { cause })
  })
  const before = await measure(model, images, repeats)
  const int8 = await measure(smaller, images, repeats)
  const comparison: Quantisation = {
    kind: 'int8-dynamic', createdAt: new Date().toISOString(), from: card.files['model.onnx'], ...compared(before.classified, int8.classified),
    leastGain: -tolerance,
  }
  const kept = comparison.gainLowerBound > comparison.leastGain
  if (kept) {
    const amended: ModelCard = { ...card, quantisation: comparison, files: { ...card.files, 'model.onnx': sha256(smaller) } }
    await writeDurably(join(out, 'model.onnx'), smaller)
    await writeDurably(join(out, 'weights.safetensors'), weights)
    await writeDurably(join(out, 'card.json'), JSON.stringify(amended, null, 2) + '\n')
  }
  return { kept, before: before.measured, int8: int8.measured, comparison, quarantined: before.classified.quarantined }
}

async function readFinished(folder: string): Promise<{ card: ModelCard; model: Uint8Array; weights: Uint8Array }> {
  const read = (name: string) => readFile(join(folder, name)).catch((cause: unknown) => {
    throw new PawlError('MODEL_INVALID', `${join(folder, name)}: the file cannot be read; ${fix}`, { cause })
  })
  const [text, model, weights] = [await read('card.json'), await read('model.onnx'), await read('weights.safetensors')]
  const card = cardOf(text.toString(), join(folder, 'card.json'))
  if (card.quantisation) {
    throw new PawlError('MODEL_INVALID', `${folder}: the model is quantised already (${card.quantisation.kind}); give the folder of the one that it was made from`)
  }
  for (const [name, bytes] of [['model.onnx', model], ['weights.safetensors', weights]] as const) {
    if (sha256(bytes) !== card.files[name]) throw new PawlError('MODEL_INVALID', `${join(folder, name)}: its sha256 is not the one on card.json; ${fix} of one round`)
  }
  return { card, model, weights }
}

function cardOf(text: string, path: string): ModelCard {
  try {
    return ModelCardSchema.parse(JSON.parse(text))
  } catch (cause) {
    throw new PawlError('MODEL_INVALID', `${path}: it is not a model card that pawl wrote; ${fix}`, { cause })
  }
}

async function measure(bytes: Uint8Array, images: readonly LabeledImage[], repeats: number): Promise<{ measured: Measured; classified: Classified }> {
  const model = await ModelFile.open(bytes)
  try {
    const classified = await classifyImages(model, images)
    const { rows, labels, quarantined } = classified
    const [unreadable] = quarantined
    if (unreadable && rows.length === 0) {
      throw new PawlError('IMAGE_UNREADABLE', `${unreadable.path}: ${unreadable.reason}; none of ${String(images.length)} images can be read: give JPEG, PNG or WebP images`)
    }
    const left = new Set(quarantined.map(({ path }) => path))
    const timed = await Promise.all(images.filter(({ path }) => !left.has(path)).slice(0, timedImages).map(({ path }) => readFile(path)))
    return { measured: { ...metricsOf(rows, labels), fileBytes: bytes.length, times: await timeInference(model, timed, repeats) }, classified }
  } finally {
    await model.release()
  }
}

/** Both models on the same images, pair by pair. */
function compared(before: Classified, int8: Classified) {
  const left = ({ quarantined }: Classified) => quarantined.map(({ path }) => path).join('\n')
  if (left(before) !== left(int8)) throw new PawlError('IMAGE_UNREADABLE', `one of the two models alone could not classify ${left(int8) || left(before)}`)
  const right = ({ rows, labels }: Classified) => rows.map((row, index) => row.indexOf(Math.max(...row)) === labels[index])
  const [old, now] = [right(before), right(int8)]
  const count = (hits: readonly boolean[]) => hits.filter(Boolean).length
  const [wins, losses] = [count(now.map((hit, index) => hit && !old[index])), count(old.map((hit, index) => hit && !now[index]))]
  return {
    images: old.length, correctBefore: count(old), correct: count(now), wins, losses, gainLowerBound: pairedGainScoreLower(wins, losses, old.length),
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
