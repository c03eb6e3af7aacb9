/** The same step on tfjs's own WebAssembly backend, operation by operation. A kernel that it lacked would be an error that names it. */
import '@tensorflow/tfjs-backend-wasm'
import * as tf from '../../trainer/backend/tf.js'
import { Random } from '../../trainer/data/random.js'
import { Lane } from '../../trainer/lanes/lane.js'
import { allocate } from '../../trainer/lanes/shared.js'
import { initialise, parameterTable } from '../../trainer/model/parameters.js'
import { channels, presets } from '../../trainer/model/presets.js'
import { recipes } from '../../trainer/recipe.js'
import { imagesOf, median, stepTimes, type Options, type Result } from './measure.js'

const preset = presets.nano
const recipe = recipes.pawl
const classCount = 10
/** Counted steps after one that is not; it takes long. */
const eagerSteps = 2

export async function run({ repeats, say }: Options): Promise<Result> {
  say('nano on wasm')
  if (!await tf.setBackend('wasm')) throw new Error('the wasm backend does not start')
  const wasm = median(await eagerSeconds(say))
  say('nano on pawl')
  const everything = await stepTimes({ preset, repeats: repeats ?? 10 })
  const oneLane = await stepTimes({ preset, repeats: repeats ?? 10, lanes: 1 })
  const rowOf = (runner: string, seconds: number) => ({
    runner, secondsPerStep: seconds, imagesPerSecond: imagesOf(preset) / seconds, timesPawl: seconds / everything.secondsPerStep,
  })
  const threads = tf.env().getBool('WASM_HAS_MULTITHREAD_SUPPORT') ? 'with threads' : 'one thread, which is all it has in Node'
  const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT') ? 'with SIMD' : 'without SIMD'
  return {
    rows: [
      rowOf('pawl, a lane a core', everything.secondsPerStep),
      rowOf('pawl, one lane', oneLane.secondsPerStep),
      rowOf('tfjs-backend-wasm, eager', wasm),
    ],
    notes: [`nano; tfjs-backend-wasm: ${simd}, ${threads}; every kernel of the step is its own`],
  }
}

/** Seconds of full steps, update included, on the backend that is set. */
async function eagerSeconds(say: (text: string) => void): Promise<number[]> {
  const table = parameterTable(preset, classCount, recipe)
  const images = 2 * imagesOf(preset)
  const buffers = allocate(table, 1, images * preset.size ** 2 * channels)
  const random = Random.of(0)
  const pixels = new Uint8Array(buffers.images)
  for (let index = 0; index < pixels.length; index++) pixels[index] = random.below(256)
  initialise(table, new Float32Array(buffers.state.student), random)
  new Float32Array(buffers.state.teacher).set(new Float32Array(buffers.state.student))
  // Not `start`ed, which would choose a backend: on any but ours a lane keeps its state in tensors and its functions run eagerly.
  const lane = new Lane({ preset, classCount, recipe, seed: 0, engine: { backend: 'tensorflow', device: 'cpu' }, index: 0, count: 1, buffers })
  const draw = (number: number) => Array.from({ length: number }, () => random.below(images))
  const seconds: number[] = []
  for (let step = 0; step <= eagerSteps; step++) {
    const start = performance.now()
    const { reconstruction, labeled, unlabeled } = await lane.gradients({
      share: {
        step, firstLabeled: 0, firstUnlabeled: 0, labeled: draw(preset.labeled), unlabeled: draw(preset.unlabeled),
        classes: Array.from({ length: preset.labeled }, () => random.below(classCount)),
      },
      branches: { reconstruct: true, labeled: true, unlabeled: true },
      threshold: 0,
      classWeights: new Array<number>(classCount).fill(1),
      alignment: new Array<number>(classCount).fill(1),
      unlabeledWeight: 1,
    })
    await lane.update({
      count: step + 1, learningRate: 1e-3, weightDecay: recipe.weightDecay, teacherDecay: recipe.teacherDecay, layerDecay: recipe.layerDecay,
    })
    // Nothing may be left to compute when the time is taken.
    await lane.publish()
    if (!Number.isFinite(reconstruction + labeled + unlabeled)) throw new Error('the losses of the step on wasm are not numbers')
    say(`wasm, step ${String(step)}: ${((performance.now() - start) / 1000).toFixed(2)} s`)
    if (step > 0) seconds.push((performance.now() - start) / 1000)
  }
  await lane.release()
  return seconds
}
