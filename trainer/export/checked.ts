/** Writes the files of a finished model, after the exported one has proved that it computes what the trainer computes. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as tf from '../backend/tf.js'
import { embedded, useEngine, type Engine } from '../backend/choose.js'
import { jit } from '../backend/jit.js'
import { ModelFile } from '../backend/model-file.js'
import { RoundError, type ModelCard } from '../contract.js'
import { plainView, writeView } from '../data/augment.js'
import { Random } from '../data/random.js'
import { sha256Of } from '../data/sha256.js'
import type { ParameterTable } from '../model/parameters.js'
import { patchPixelsOf, tokensOf } from '../model/presets.js'
import type { Ssmae } from '../model/ssmae.js'
import { exportClassifier } from './onnx.js'
import { writeSafetensors } from './safetensors.js'

export interface ExportOptions {
  folder: string
  ssmae: Ssmae
  table: ParameterTable
  /** All weights, flat. */
  weights: Float32Array
  classes: readonly string[]
  temperature: number
  /** Decoded images to compare the two forward passes on. */
  examples: readonly Uint8Array[]
  /** What trained, whose forward pass is the reference. */
  engine: Engine
  /** Fingerprints of what it owes itself to (data/learned.ts); null: not told. */
  learned: string | null
  /** Of them what models of other boxes owe themselves to, from which it comes; null: nothing. */
  foreign: string | null
}

/** Largest difference of a logit that counts as the same. */
const tolerance = 1e-3

/** Errors: RoundError `export-mismatch` when the exported model disagrees with the trainer. */
export async function exportChecked(options: ExportOptions): Promise<ModelCard['files']> {
  const { folder, ssmae, table, classes, temperature, examples, learned, foreign } = options
  const flat = options.weights.slice()
  const weightsOf = () => Object.fromEntries(table.specs.map(({ name, offset, size, shape }) =>
    [name, tf.tensor(flat.subarray(offset, offset + size), shape)]))

  await useEngine(options.engine)
  const reference = await forward(ssmae, weightsOf(), examples)
  await useEngine(embedded)
  const baked = weightsOf()
  const onnx = exportClassifier(ssmae, baked, classes, temperature)
  tf.dispose(baked)
  const model = await ModelFile.open(onnx)
  // One by one and all together: the batch is free, and must not matter.
  const together = (await model.run(new Uint8Array(Buffer.concat(examples)))).logits
  const alone = (await Promise.all(examples.map(async example => [...(await model.run(example)).logits]))).flat()
  await model.release()
  const worst = Math.max(...reference.flatMap((value, index) => [
    Math.abs(value - (together[index] ?? Number.NaN)), Math.abs(value - (alone[index] ?? Number.NaN)),
  ]))
  if (!(worst <= tolerance)) {
    throw new RoundError('export-mismatch', `the exported model's logits differ from the trainer's by ${String(worst)}, more than ${String(tolerance)}`)
  }
  return {
    'model.onnx': await writeFlushed(join(folder, 'model.onnx'), onnx),
    'weights.safetensors': await writeFlushed(join(folder, 'weights.safetensors'), writeSafetensors(table, flat, {
      format: 'pt', ...learned !== null && { learned }, ...foreign !== null && { foreign },
    })),
  }
}

async function forward(ssmae: Ssmae, weights: Record<string, tf.Tensor>, examples: readonly Uint8Array[]): Promise<number[]> {
  const { preset } = ssmae
  const [tokens, pixels] = [tokensOf(preset), patchPixelsOf(preset)]
  const patches = new Float32Array(examples.length * tokens * pixels)
  examples.forEach((image, index) => {
    writeView(image, preset, plainView, Random.of(0), patches.subarray(index * tokens * pixels, (index + 1) * tokens * pixels))
  })
  const classify = jit<[Record<string, tf.Tensor>, tf.Tensor3D], tf.Tensor2D>(
    (given, batch) => ssmae.classify(given, batch).logits, { name: 'reference', threads: 1 })
  const logits = await classify(weights, tf.tensor3d(patches, [examples.length, tokens, pixels]))
  const values = [...await logits.data<'float32'>()]
  await classify.release()
  return values
}

/** Bytes on the disk before anything points at them; gives their SHA-256. */
async function writeFlushed(path: string, bytes: Uint8Array): Promise<string> {
  await writeFile(path, bytes, { flush: true })
  return sha256Of([bytes])
}
