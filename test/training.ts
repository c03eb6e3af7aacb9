/** Some training steps on whichever backend of tfjs is asked for, all branches on: the same batches and weights for all. */
import * as tf from '../trainer/backend/tf.js'
import { backend, backendName } from '../trainer/backend/backend.js'
import { jit } from '../trainer/backend/jit.js'
import { ImagePool, makeBatch } from '../trainer/data/batches.js'
import { Random } from '../trainer/data/random.js'
import { allocate } from '../trainer/lanes/shared.js'
import { DeviceState, SharedState } from '../trainer/lanes/state.js'
import { initialise, parameterTable } from '../trainer/model/parameters.js'
import { channels, type Preset } from '../trainer/model/presets.js'
import { Ssmae } from '../trainer/model/ssmae.js'
import { recipes } from '../trainer/recipe.js'
import { batchOf, controlOf, stepFunction } from '../trainer/step.js'

/** A model small enough for tfjs's cpu backend, with everything that the real one has. */
export const small: Preset = {
  size: 32, patch: 8, width: 16, depth: 2, heads: 2, decoderWidth: 8, decoderDepth: 1, decoderHeads: 2, labeled: 2, unlabeled: 3,
}

const classCount = 3
const branches = { reconstruct: true, labeled: true, unlabeled: true }

export interface Training {
  /** Losses [3] of each step. */
  losses: number[][]
  /** The student's weights [n] at the end. */
  weights: Float32Array
  /** What they were at the start. */
  start: Float32Array
  /** Tensors alive after each step. */
  tensors: number[]
  /** Where the weights lay after the last step. */
  resident: boolean
}

/** `where`: tfjs's own `cpu` backend, or ours on a device, or ours with the state that lanes `shared`. */
export async function trainOn(where: 'cpu' | 'webgpu' | 'shared', preset: Preset, steps: number): Promise<Training> {
  const own = where !== 'cpu'
  await tf.setBackend(own ? backendName : where)
  backend.device = where === 'webgpu' ? where : 'cpu'
  const recipe = recipes.pawl
  const table = parameterTable(preset, classCount, recipe)
  const images = preset.labeled + preset.unlabeled
  const buffers = allocate(table, 1, images * preset.size ** 2 * channels)
  const random = Random.of(4)
  const pixels = new Uint8Array(buffers.images).map(() => random.below(256))
  const student = new Float32Array(buffers.state.student)
  initialise(table, student, random)
  new Float32Array(buffers.state.teacher).set(student)
  const state = where === 'shared' ? new SharedState(table, buffers, 0, 1) : new DeviceState(table, buffers)
  const step = jit(stepFunction(new Ssmae(preset, recipe), table, recipe, branches), { name: 'step', threads: 1 })
  const ids = Array.from({ length: images }, (_, index) => index)
  const beliefs = new Float32Array(images * classCount).fill(-1)
  const pool = new ImagePool(pixels, preset.size ** 2 * channels)
  const training: Training = { losses: [], weights: student, start: student.slice(), tensors: [], resident: false }
  for (let count = 1; count <= steps; count++) {
    const share = {
      step: count, firstLabeled: 0, firstUnlabeled: 0, labeled: ids.slice(0, preset.labeled),
      classes: ids.slice(0, preset.labeled).map(id => id % classCount), unlabeled: ids.slice(preset.labeled),
    }
    const arrays = makeBatch({ preset, recipe, seed: 1, classCount, pool, beliefs }, share, branches)
    const control = controlOf({ threshold: 0, classWeights: [1, 1, 1], alignment: [1, 1, 1], unlabeledWeight: 1 })
    const inputs = [batchOf(arrays, preset, recipe, classCount), control] as const
    const { gradient, losses, assigned, classMix } = await step(state.weights('student'), state.weights('teacher'), ...inputs)
    training.losses.push([...await losses.data()])
    tf.dispose([inputs, losses, assigned, classMix] as tf.TensorContainer)
    await state.keep(gradient)
    await state.update({ count, learningRate: 1e-3, weightDecay: 0.05, teacherDecay: 0.9, layerDecay: 0.8 })
    training.tensors.push(tf.memory().numTensors)
  }
  training.resident = own && 'location' in await backend.feed(state.weights('student'))
  await state.publish()
  training.weights = student.slice()
  await state.release()
  await step.release()
  backend.device = 'cpu'
  return training
}

/** Largest difference between two lists of numbers, relative to 1 + the size of the number. */
export function worstDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = a.length === b.length ? 0 : Infinity
  for (let index = 0; index < a.length; index++) {
    worst = Math.max(worst, Math.abs((a[index] ?? NaN) - (b[index] ?? NaN)) / (1 + Math.abs(a[index] ?? NaN)))
  }
  return worst
}
