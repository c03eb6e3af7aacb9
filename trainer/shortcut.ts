/** Fits the shortcut, one hidden layer on the dictionary: to labels, and to frames beside them where the gate lets them teach. */
import { availableParallelism } from 'node:os'
import * as tf from './backend/tf.js'
import { embedded, useEngine } from './backend/choose.js'
import { jit } from './backend/jit.js'
import { Random } from './data/random.js'
import { argMax } from './evidence.js'
import { crossEntropy } from './model/layers.js'
import { hiddenWidth, initialise, shortcutTable } from './model/parameters.js'
import { readShortcut } from './model/ssmae.js'
import { updateInPlace, zeroState } from './optim/adamw.js'
import { rateAt } from './pace.js'
import { unpacked } from './step.js'
import type { Turns } from './turns.js'

const training = {
  /** Passes over all examples, and the fewest and the most steps that they may take. */
  passes: 30, leastSteps: 150, mostSteps: 1000,
  /** Labels in a step, and frames where there are any. */
  labeled: 64, frames: 192,
  learningRate: 1e-3, weightDecay: 0.3, dropped: 0.5,
} as const
/** Features are about of length 1: their numbers are brought near 1 while the weights are learned. */
const scale = 20

/** Fewer frames than a step takes would be seen far too often: they are none. */
export const fewestFrames: number = training.frames

export interface Examples {
  /** Flat [n, F]. */
  features: Float32Array
  /** What each row is to be classified as: rows of probabilities [n][C]. */
  targets: readonly (readonly number[])[]
}

export interface ShortcutOptions {
  labeled: Examples
  frames: Examples
  /** The share that each class has [C], and shall have among the frames of a step: where a class has none, its labels stand for them. */
  prior: readonly number[]
  seed: number
  /** Milliseconds that it may take: the schedule is shortened to fit; null: it takes its steps. */
  limitMs: number | null
  turns: Turns
}

/** `shortcut.*`, flat, as the parameter table has them. Errors: what its turns raise. */
export async function fitShortcut({ labeled, frames, prior, seed, limitMs, turns }: ShortcutOptions): Promise<Float32Array> {
  await useEngine(embedded)
  const classCount = prior.length
  const width = labeled.features.length / labeled.targets.length
  const table = shortcutTable(width, classCount)
  const batch = training.labeled + (frames.targets.length ? training.frames : 0)
  type Given = [flat: tf.Tensor1D, features: tf.Tensor2D, targets: tf.Tensor2D, kept: tf.Tensor2D]
  await using gradient = jit<Given, tf.Tensor1D>((flat, features, targets, kept) => {
    const weights = Object.entries(unpacked(table, flat))
    const loss = (...parts: tf.Tensor[]) => {
      const named = Object.fromEntries(weights.map(([name], index) => [name, parts[index] as tf.Tensor]))
      return tf.mean<tf.Scalar>(crossEntropy(readShortcut(named, tf.mul(features, scale), kept), targets))
    }
    return tf.concat1d(tf.grads(loss)(weights.map(([, part]) => part)).map(slope => tf.reshape(slope, [slope.size])))
  }, { name: 'shortcut', threads: availableParallelism() })

  const random = Random.of(seed, 8)
  const state = zeroState(table.size)
  const flat = state.student
  initialise(table, flat, random)
  const rowsOf = drawer({ labeled, frames, prior }, random)
  const [inputs, wanted] = [new Float32Array(batch * width), new Float32Array(batch * classCount)]
  const passes = (training.passes * (labeled.targets.length + frames.targets.length)) / batch
  const steps = Math.min(training.mostSteps, Math.max(training.leastSteps, passes))
  const startedAtMs = turns.nowMs()
  const done = (count: number) => Math.max(count / steps, limitMs === null ? 0 : (turns.nowMs() - startedAtMs) / limitMs)
  for (let count = 1, fraction = done(0); fraction < 1; fraction = done(count++)) {
    await turns.next()
    rowsOf().forEach(({ features, target }, row) => {
      inputs.set(features, row * width)
      wanted.set(target, row * classCount)
    })
    const kept = Float32Array.from({ length: batch * hiddenWidth }, () => (random.float() < training.dropped ? 0 : 1 / (1 - training.dropped)))
    const given: Given = [
      tf.tensor1d(flat), tf.tensor2d(inputs, [batch, width]), tf.tensor2d(wanted, [batch, classCount]),
      tf.tensor2d(kept, [batch, hiddenWidth]),
    ]
    const slope = await gradient(...given)
    const task = { count, learningRate: training.learningRate * rateAt(fraction), weightDecay: training.weightDecay }
    const gradients = [await slope.data<'float32'>()]
    for (const { offset, size, decays } of table.specs) {
      updateInPlace(state, gradients, { start: offset, end: offset + size, rate: 1, decays, share: 1 }, task)
    }
    tf.dispose([...given, slope])
  }
  const first = width * hiddenWidth
  flat.set(flat.subarray(0, first).map(value => value * scale))
  return flat
}

/** Logits [n][C] of the shortcut for the features of `count` images [n, F], flat. */
export async function shortcutLogits(
  flat: Float32Array, features: Float32Array, { count, classCount }: { count: number; classCount: number },
): Promise<number[][]> {
  await useEngine(embedded)
  const width = features.length / count
  const table = shortcutTable(width, classCount)
  await using read = jit<[tf.Tensor1D, tf.Tensor2D], tf.Tensor2D>(
    (weights, rows) => readShortcut(unpacked(table, weights), rows), { name: 'shortcut', threads: availableParallelism() })
  const given = [tf.tensor1d(flat), tf.tensor2d(features, [count, width])] as const
  const logits = await read(...given)
  const values = await logits.data()
  tf.dispose([...given, logits])
  return Array.from({ length: values.length / classCount }, (_, row) => [...values.slice(row * classCount, (row + 1) * classCount)])
}

/** Draws the rows of a step. */
function drawer({ labeled, frames, prior }: Pick<ShortcutOptions, 'labeled' | 'frames' | 'prior'>, random: Random) {
  const width = labeled.features.length / labeled.targets.length
  const rowOf = ({ features, targets }: Examples, row: number) => ({
    features: features.subarray(row * width, (row + 1) * width), target: targets[row] ?? [],
  })
  const byClass = ({ targets }: Examples) => prior.map((_, label) => targets.flatMap((row, index) => (argMax(row) === label ? [index] : [])))
  const [known, taught] = [byClass(labeled), byClass(frames)]
  const pick = (places: readonly number[]) => places[random.below(places.length)] ?? 0
  const drawClass = () => {
    const at = random.float()
    let sum = 0
    return prior.findIndex(share => (sum += share) > at)
  }
  const ofFrames = () => {
    const label = Math.max(0, drawClass())
    const places = taught[label] ?? []
    return places.length ? rowOf(frames, pick(places)) : rowOf(labeled, pick(known[label] ?? []))
  }
  return () => [
    ...Array.from({ length: training.labeled }, () => rowOf(labeled, random.below(labeled.targets.length))),
    ...Array.from({ length: frames.targets.length ? training.frames : 0 }, ofFrames),
  ]
}
