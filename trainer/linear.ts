/** A linear classifier on the dictionary, fitted to the labels before anything else learns: convex, and done in seconds. */
import { availableParallelism } from 'node:os'
import * as tf from './backend/tf.js'
import { embedded, useEngine } from './backend/choose.js'
import { jit } from './backend/jit.js'
import { dictionaryFeatures } from './model/dictionary.js'

const training = { steps: 300, learningRate: 0.05, betas: [0.9, 0.999] } as const

export interface LinearExamples {
  /** Flat [n, F]. */
  features: Float32Array
  /** What each row is to be classified as [n, C], flat; a row sums to how much it counts. */
  targets: Float32Array
  classCount: number
  /** Strength of the penalty on the squares of the weights. */
  penalty: number
  signal: AbortSignal
}

/** Multinomial logistic regression with L2, by full-batch Adam. Gives weight [F, C] and bias [C], flat. Errors: what `signal` was aborted with. */
export async function fitLinear({ features, targets, classCount, penalty, signal }: LinearExamples): Promise<Float32Array> {
  await useEngine(embedded)
  const count = targets.length / classCount
  const total = targets.reduce((sum, weight) => sum + weight, 0)

  // Beside features less their mean, the bias moves on its own: what it is to the features as they are, the mean takes away in the end.
  const mean = meanOf(features)
  const apart = tf.tensor2d(mean, [1, dictionaryFeatures])
  const gradient = jit<[tf.Tensor2D, tf.Tensor1D, tf.Tensor2D, tf.Tensor2D], tf.Tensor[]>((weight, bias, inputs, wanted) => {
    const logits = (w: tf.Tensor2D, b: tf.Tensor) => tf.add(tf.matMul(inputs, w), tf.sub(b, tf.matMul(apart, w)))
    const loss = (w: tf.Tensor, b: tf.Tensor) =>
      tf.sub(tf.mul(tf.sum(tf.square(w)), penalty), tf.sum(tf.mul(wanted, tf.logSoftmax(logits(w as tf.Tensor2D, b)))))
    return tf.grads(loss)([weight, bias])
  }, { name: 'linear', threads: availableParallelism() })
  const inputs = tf.tensor2d(features, [count, dictionaryFeatures])
  const wanted = tf.tensor2d(targets.map(weight => weight / total), [count, classCount])
  const flat = new Float32Array((dictionaryFeatures + 1) * classCount)
  const [momentum, variance] = [new Float32Array(flat.length), new Float32Array(flat.length)]
  const [decayMean, decaySquare] = training.betas
  const split = dictionaryFeatures * classCount
  for (let step = 1; step <= training.steps; step++) {
    signal.throwIfAborted()
    const [weight, bias] = [tf.tensor2d(flat.slice(0, split), [dictionaryFeatures, classCount]), tf.tensor1d(flat.slice(split))]
    const slopes = await gradient(weight, bias, inputs, wanted)
    const values = new Float32Array(flat.length)
    values.set(await slopes[0]?.data<'float32'>() ?? [])
    values.set(await slopes[1]?.data<'float32'>() ?? [], split)
    const rate = training.learningRate * (1 - step / training.steps)
    values.forEach((value, index) => {
      const mean = decayMean * (momentum[index] ?? 0) + (1 - decayMean) * value
      const square = decaySquare * (variance[index] ?? 0) + (1 - decaySquare) * value * value
      momentum[index] = mean
      variance[index] = square
      const direction = mean / (1 - decayMean ** step) / (Math.sqrt(square / (1 - decaySquare ** step)) + 1e-8)
      flat[index] = (flat[index] ?? 0) - rate * direction
    })
    tf.dispose([weight, bias, ...slopes])
  }
  tf.dispose([inputs, wanted, apart])
  await gradient.release()
  const shift = logitsOf(new Float32Array([...flat.subarray(0, split), ...new Array<number>(classCount).fill(0)]), mean, classCount)
  flat.set(flat.subarray(split).map((value, label) => value - (shift[label] ?? 0)), split)
  return flat
}

/** Of each column of features [n, F], flat. */
function meanOf(features: Float32Array): Float32Array {
  const sums = new Float64Array(dictionaryFeatures)
  features.forEach((value, index) => { sums[index % dictionaryFeatures] = (sums[index % dictionaryFeatures] ?? 0) + value })
  return Float32Array.from(sums, sum => (sum * dictionaryFeatures) / features.length)
}

/** Logits [C] of one row of features [F] by a flat weight [F, C] and bias [C]. */
export function logitsOf(flat: Float32Array, features: Float32Array, classCount: number): Float32Array {
  const logits = flat.slice(dictionaryFeatures * classCount)
  features.forEach((value, feature) => {
    for (let label = 0; label < classCount; label++) logits[label] = (logits[label] ?? 0) + value * (flat[feature * classCount + label] ?? 0)
  })
  return logits
}
