/** Whether an engine computes what it should, and how fast: one step of the real model beside the embedded engine's plainest graph. */
import * as tf from './backend/tf.js'
import { embedded, sameEngine, useEngine, type Engine } from './backend/choose.js'
import { jit } from './backend/jit.js'
import { rewriteNames, type RewriteName } from './backend/rewrite.js'
import { timeSteps } from './bench.js'
import type { PresetName, Verification } from './contract.js'
import { ImagePool, makeBatch, type Share } from './data/batches.js'
import { Random } from './data/random.js'
import { lanesOn } from './lanes/lanes.js'
import { initialise, parameterTable } from './model/parameters.js'
import { channels, presets } from './model/presets.js'
import { Ssmae } from './model/ssmae.js'
import { recipes } from './recipe.js'
import { batchOf, controlOf, stepFunction } from './step.js'

/** Largest differences that pass: of a loss, relative; of the gradient, length of the difference over its length. */
export const tolerances = { loss: 1e-3, gradient: 1e-3, slope: 2e-2 }

const classCount = 10
const recipe = recipes.pawl
const branches = { reconstruct: true, labeled: true, unlabeled: true }
/** Images of the step that is compared: enough for every branch. */
const images = { labeled: 2, unlabeled: 4 }
/** Steps that are timed, after those that compile. */
const timed = 3
/** An engine that is this many times slower than the embedded one on the few images is not timed on a whole step. */
const hopeless = 4

/** Errors: why the engine does not start or does not get through a step. */
export async function verify(engine: Engine, preset: PresetName): Promise<Omit<Verification, 'engine' | 'reason'>> {
  const own = await measured(engine, preset, [])
  const reference = await measured(embedded, preset, [...rewriteNames])
  const lossDifference = Math.max(...reference.losses.map((loss, index) => Math.abs(loss - (own.losses[index] ?? Number.NaN)) / Math.abs(loss)))
  const apart = reference.gradient.map((value, index) => value - (own.gradient[index] ?? Number.NaN))
  const gradientDifference = length(apart) / length(reference.gradient)
  const slopeDifference = Math.abs(own.slope - own.expectedSlope) / Math.abs(own.expectedSlope)
  const ok = lossDifference <= tolerances.loss && gradientDifference <= tolerances.gradient && slopeDifference <= tolerances.slope
  const differences = { lossDifference, gradientDifference, slopeDifference }
  if (!ok) return { ok, ...differences, imagesPerSecond: null }
  const hopelesslySlow = !sameEngine(engine, embedded) && own.seconds > hopeless * reference.seconds
  return { ok, ...differences, imagesPerSecond: hopelesslySlow ? (images.labeled + images.unlabeled) / own.seconds : await rateOf(engine, preset) }
}

async function rateOf(engine: Engine, name: PresetName): Promise<number> {
  const preset = presets[name]
  const { seconds } = await timeSteps({ preset, engine, lanes: lanesOn(engine, preset, null), switches: {}, repeats: timed })
  return (preset.labeled + preset.unlabeled) / Math.min(...seconds)
}

/**
 * Losses and gradient of one step, the loss's slope along the gradient by central differences, what the slope should be, and the
 * seconds of the step once it is compiled.
 */
async function measured(engine: Engine, name: PresetName, without: readonly RewriteName[]) {
  await useEngine(engine)
  const preset = presets[name]
  const table = parameterTable(preset, classCount, recipe)
  const weights = new Float32Array(table.size)
  const random = Random.of(1)
  initialise(table, weights, random)
  // Beside the zeros, where the head would say nothing.
  weights.forEach((value, index) => { weights[index] = value + random.around(0.02) })
  const pixels = new Uint8Array((images.labeled + images.unlabeled) * preset.size ** 2 * channels)
  pixels.forEach((_, index) => { pixels[index] = random.below(256) })
  const ids = Array.from({ length: images.labeled + images.unlabeled }, (_, index) => index)
  const share: Share = {
    step: 0, firstLabeled: 0, firstUnlabeled: 0, labeled: ids.slice(0, images.labeled), classes: [3, 7], unlabeled: ids.slice(images.labeled),
  }
  const pool = new ImagePool(pixels, preset.size ** 2 * channels)
  const arrays = makeBatch({ preset, recipe, seed: 1, classCount, pool, beliefs: new Float32Array(pool.count * classCount) }, share, branches)
  const ones = new Array<number>(classCount).fill(1)
  const inputs = [
    batchOf(arrays, preset, recipe, classCount),
    controlOf({ threshold: 0, classWeights: ones, alignment: ones, unlabeledWeight: 1 }),
  ] as const
  const teacher = tf.tensor1d(weights.slice())
  const step = jit(stepFunction(new Ssmae(preset, recipe), table, recipe, branches), { name: 'verify', threads: 1, without })
  const run = async (student: Float32Array) => {
    const start = performance.now()
    const flat = tf.tensor1d(student)
    const result = await step(flat, teacher, ...inputs)
    const made = { losses: [...await result.losses.data()], gradient: (await result.gradient.data<'float32'>()).slice() }
    tf.dispose([flat, result] as tf.TensorContainer)
    return { ...made, seconds: (performance.now() - start) / 1000 }
  }
  const first = await run(weights)
  const norm = length(first.gradient)
  const reach = 0.02
  const along = async (by: number) => {
    const { losses, seconds } = await run(weights.map((value, index) => value + (by * (first.gradient[index] ?? 0)) / norm))
    const [reconstruction = Number.NaN, labeled = Number.NaN, unlabeled = Number.NaN] = losses
    return { loss: recipe.reconstructionWeight * reconstruction + labeled + unlabeled, seconds }
  }
  const [above, under] = [await along(reach), await along(-reach)]
  tf.dispose([teacher, inputs] as tf.TensorContainer)
  await step.release()
  return {
    losses: first.losses, gradient: first.gradient, slope: (above.loss - under.loss) / (2 * reach), expectedSlope: norm,
    seconds: Math.min(above.seconds, under.seconds),
  }
}

function length(vector: Float32Array): number {
  let sum = 0
  for (const value of vector) sum += value * value
  return Math.sqrt(sum)
}
