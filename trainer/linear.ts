/** A linear classifier on the dictionary, fitted to the labels before the transformer learns: convex, and done in seconds. */
import { availableParallelism } from 'node:os'
import * as tf from './backend/tf.js'
import { embedded, useEngine } from './backend/choose.js'
import { jit } from './backend/jit.js'
import { meansOf } from './columns.js'
import { updateInPlace, zeroState } from './optim/adamw.js'
import type { Turns } from './turns.js'

const training = { steps: 300, learningRate: 0.05 } as const

export interface LinearOptions {
  /** Flat [n, F]. */
  features: Float32Array
  /** What each row is to be classified as [n, C], flat; a row sums to how much it counts. */
  targets: Float32Array
  classCount: number
  /** Strength of the penalty on the squares of the weights. */
  penalty: number
  turns: Turns
}

/** Multinomial logistic regression with L2, by full-batch Adam. Gives weight [F, C] and bias [C], flat. Errors: what its turns raise. */
export async function fitLinear({ features, targets, classCount, penalty, turns }: LinearOptions): Promise<Float32Array> {
  await useEngine(embedded)
  const count = targets.length / classCount
  const width = features.length / count
  const total = targets.reduce((sum, weight) => sum + weight, 0)

  // Beside features less their mean, the bias moves on its own: what it is to the features as they are, the mean takes away in the end.
  const mean = meansOf(features, width)
  const apart = tf.tensor2d(Float32Array.from(mean), [1, width])
  await using gradient = jit<[tf.Tensor2D, tf.Tensor1D, tf.Tensor2D, tf.Tensor2D], tf.Tensor1D>((weight, bias, inputs, wanted) => {
    const logits = (w: tf.Tensor2D, b: tf.Tensor) => tf.add(tf.matMul(inputs, w), tf.sub(b, tf.matMul(apart, w)))
    const loss = (w: tf.Tensor, b: tf.Tensor) =>
      tf.sub(tf.mul(tf.sum(tf.square(w)), penalty), tf.sum(tf.mul(wanted, tf.logSoftmax(logits(w as tf.Tensor2D, b)))))
    return tf.concat1d(tf.grads(loss)([weight, bias]).map(slope => tf.reshape(slope, [slope.size])))
  }, { name: 'linear', threads: availableParallelism() })
  const inputs = tf.tensor2d(features, [count, width])
  const wanted = tf.tensor2d(targets.map(weight => weight / total), [count, classCount])
  const split = width * classCount
  const state = zeroState(split + classCount)
  const flat = state.student
  const range = { start: 0, end: flat.length, rate: 1, decays: false, share: 1 }
  for (let step = 1; step <= training.steps; step++) {
    await turns.next()
    const [weight, bias] = [tf.tensor2d(flat.slice(0, split), [width, classCount]), tf.tensor1d(flat.slice(split))]
    const slope = await gradient(weight, bias, inputs, wanted)
    const learningRate = training.learningRate * (1 - step / training.steps)
    updateInPlace(state, [await slope.data<'float32'>()], range, { count: step, learningRate, weightDecay: 0 })
    tf.dispose([weight, bias, slope])
  }
  tf.dispose([inputs, wanted, apart])
  mean.forEach((value, feature) => {
    for (let label = 0; label < classCount; label++) {
      flat[split + label] = (flat[split + label] ?? 0) - value * (flat[feature * classCount + label] ?? 0)
    }
  })
  return flat
}
