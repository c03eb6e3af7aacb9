/** AdamW (Loshchilov & Hutter, algorithm 2) and the teacher's running average, on flat vectors of weights [n]. */
import * as tf from '../backend/tf.js'

export type OptimiserState = {
  student: tf.Tensor1D
  teacher: tf.Tensor1D
  /** Running means of the gradient and of its square. */
  momentum: tf.Tensor1D
  variance: tf.Tensor1D
}

export type UpdateInputs = {
  /** One gradient a lane; their mean counts. */
  gradients: readonly tf.Tensor1D[]
  /** Learning rate of each weight relative to `learningRate`. */
  rateScale: tf.Tensor1D
  /** 1 where a weight decays, 0 where it does not. */
  decays: tf.Tensor1D
  /** Each [1]: what changes from step to step. The corrections are 1 / (1 − βᵗ). */
  learningRate: tf.Tensor1D
  weightDecay: tf.Tensor1D
  momentumCorrection: tf.Tensor1D
  varianceCorrection: tf.Tensor1D
  teacherDecay: tf.Tensor1D
}

export const betas = { momentum: 0.9, variance: 0.95 }
const epsilon = 1e-8

export function update(state: OptimiserState, inputs: UpdateInputs): OptimiserState {
  const { gradients, rateScale, decays, learningRate, weightDecay, momentumCorrection, varianceCorrection, teacherDecay } = inputs
  const gradient = tf.mul(tf.addN([...gradients]), 1 / gradients.length)
  const momentum: tf.Tensor1D = tf.add(tf.mul(state.momentum, betas.momentum), tf.mul(gradient, 1 - betas.momentum))
  const variance: tf.Tensor1D = tf.add(tf.mul(state.variance, betas.variance), tf.mul(tf.square(gradient), 1 - betas.variance))
  const deviation = tf.add(tf.sqrt(tf.mul(variance, varianceCorrection)), epsilon)
  const direction = tf.div(tf.mul(momentum, momentumCorrection), deviation)
  const decayed = tf.mul(tf.mul(state.student, decays), weightDecay)
  const student: tf.Tensor1D = tf.sub(state.student, tf.mul(tf.mul(tf.add(direction, decayed), rateScale), learningRate))
  const teacher: tf.Tensor1D = tf.add(student, tf.mul(tf.sub(state.teacher, student), teacherDecay))
  return { student, teacher, momentum, variance }
}
