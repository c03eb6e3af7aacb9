/** A model measured on labeled images, and timed on JPEGs. */
import { readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { decodeImage, metricsOf, ModelFile, readImageFile, type LabeledImage, type Metrics } from '../../trainer/index.js'
import { PawlError } from '../errors.js'

export interface Evaluation extends Metrics {
  classes: string[]
  perClass: { class: string; images: number; correct: number; accuracy: number }[]
  /** Rows: true class, columns: predicted one, in the order of `classes`. */
  confusion: number[][]
  quarantined: { path: string; reason: string }[]
}

/** Opens model.onnx, or the folder that holds it. Errors: MODEL_INVALID. */
export async function openModel(path: string): Promise<ModelFile> {
  try {
    const file = (await stat(path)).isDirectory() ? join(path, 'model.onnx') : path
    return await ModelFile.open(await readFile(file))
  } catch (cause) {
    throw new PawlError('MODEL_INVALID', `${path}: ${cause instanceof Error ? cause.message : String(cause)}; give a model.onnx that pawl wrote`, { cause })
  }
}

export interface Classified {
  /** Class probabilities of each image that can be read [N][C]. */
  rows: number[][]
  /** Their true classes, indices into the model's. */
  labels: number[]
  quarantined: { path: string; reason: string }[]
}

/** Errors: MODEL_INVALID when an image's class is none of the model's. */
export async function classifyImages(model: ModelFile, images: readonly LabeledImage[]): Promise<Classified> {
  const { classes, size } = model.metadata
  const strange = images.find(({ label }) => !classes.includes(label))
  if (strange) throw new PawlError('MODEL_INVALID', `${dirname(strange.path)}: the class "${strange.label}" is not one of the model's: ${classes.join(', ')}`)
  const [rows, labels, quarantined]: [number[][], number[], Classified['quarantined']] = [[], [], []]
  for (const { path, label } of images) {
    try {
      rows.push([...(await model.run(await decodeImage(await readImageFile(path), size))).probabilities])
      labels.push(classes.indexOf(label))
    } catch (cause) {
      quarantined.push({ path, reason: cause instanceof Error ? cause.message : String(cause) })
    }
  }
  return { rows, labels, quarantined }
}

/** Errors: MODEL_INVALID when an image's class is none of the model's. */
export async function evaluateModel(model: ModelFile, images: readonly LabeledImage[]): Promise<Evaluation> {
  const { classes } = model.metadata
  const { rows, labels, quarantined } = await classifyImages(model, images)
  const confusion = classes.map(() => classes.map(() => 0))
  rows.forEach((row, index) => {
    const own = confusion[labels[index] ?? 0]
    const predicted = row.indexOf(Math.max(...row))
    if (own) own[predicted] = (own[predicted] ?? 0) + 1
  })
  const perClass = classes.map((name, label) => {
    const row = confusion[label] ?? []
    const total = row.reduce((sum, value) => sum + value, 0)
    const correct = row[label] ?? 0
    return { class: name, images: total, correct, accuracy: total ? correct / total : 0 }
  })
  return { ...metricsOf(rows, labels), classes, perClass, confusion, quarantined }
}

export interface InferenceTimes {
  images: number
  p50Ms: number
  p99Ms: number
  /** Of the session's run alone. */
  sessionP50Ms: number
  framesPerSecond: number
}

/** Times decoding, resizing and the session for one JPEG after another. */
export async function timeInference(model: ModelFile, jpegs: readonly Uint8Array[], repeats: number): Promise<InferenceTimes> {
  const whole: number[] = []
  const session: number[] = []
  const warmUp = 20
  for (let run = 0; run < warmUp + repeats; run++) {
    const begin = performance.now()
    const pixels = await decodeImage(jpegs[run % jpegs.length] ?? new Uint8Array(), model.metadata.size)
    const decoded = performance.now()
    await model.run(pixels)
    const end = performance.now()
    if (run < warmUp) continue
    whole.push(end - begin)
    session.push(end - decoded)
  }
  return {
    images: repeats,
    p50Ms: quantile(whole, 0.5),
    p99Ms: quantile(whole, 0.99),
    sessionP50Ms: quantile(session, 0.5),
    framesPerSecond: 1000 / (whole.reduce((sum, value) => sum + value, 0) / whole.length),
  }
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}
