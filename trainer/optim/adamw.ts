/**
 * AdamW (Loshchilov & Hutter, algorithm 2) and the teacher's running average, on flat vectors of weights [n]: once as tensor
 * operations, for a state that stays on its device, and once as loops, for a state in memory that threads share.
 */
import * as tf from '../backend/tf.js'

export type OptimiserState<Vector = tf.Tensor1D> = {
  student: Vector
  teacher: Vector
  /** Running means of the gradient and of its square. */
  momentum: Vector
  variance: Vector
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

/** What one update is told beside the gradients. */
export interface UpdateTask {
  /** Updates so far, this one included. */
  count: number
  learningRate: number
  weightDecay: number
}

/** Weights that lie together and are treated alike. */
export interface WeightRange {
  start: number
  end: number
  /** Learning rate relative to the task's. */
  rate: number
  decays: boolean
  /** What the sum of the gradients is multiplied by. */
  share: number
}

/** A state of `length` zeros, to be updated in place. */
export const zeroState = (length: number) =>
  ({ student: new Float32Array(length), momentum: new Float32Array(length), variance: new Float32Array(length) })

/**
 * What `update` computes of the student, in place and in one pass: on a processor the pass over memory is the cost, and a graph
 * would make one for every operation. The corrections are in the rate (Kingma & Ba, 2015, section 2, before 2.1), and epsilon is
 * scaled by them, so that the result is the same. Each gradient vector is one lane's; leaves their sum in the first.
 */
export function updateInPlace(
  { student, momentum, variance }: Pick<OptimiserState<Float32Array>, 'student' | 'momentum' | 'variance'>, gradients: readonly Float32Array[],
  { start, end, rate, decays, share }: WeightRange, { count, learningRate, weightDecay }: UpdateTask,
): void {
  const [first, ...others] = gradients
  if (!first) throw new Error('an update needs a gradient')
  for (const other of others) {
    for (let index = start; index < end; index++) first[index] = (first[index] ?? 0) + (other[index] ?? 0)
  }
  const correction = Math.sqrt(1 - betas.variance ** count)
  const step = (learningRate * rate * correction) / (1 - betas.momentum ** count)
  const least = epsilon * correction
  const remaining = 1 - learningRate * rate * (decays ? weightDecay : 0)
  const { momentum: keptMomentum, variance: keptVariance } = betas
  const [newMomentum, newVariance] = [(1 - betas.momentum) * share, (1 - betas.variance) * share * share]
  for (let index = start; index < end; index++) {
    const gradient = first[index] ?? 0
    const mean = keptMomentum * (momentum[index] ?? 0) + newMomentum * gradient
    const square = keptVariance * (variance[index] ?? 0) + newVariance * gradient * gradient
    momentum[index] = mean
    variance[index] = square
    student[index] = remaining * (student[index] ?? 0) - (step * mean) / (Math.sqrt(square) + least)
  }
}

/** The teacher moves towards the student, in place. */
export function averageInPlace(teacher: Float32Array, student: Float32Array, { start, end }: Pick<WeightRange, 'start' | 'end'>, decay: number): void {
  for (let index = start; index < end; index++) {
    const moved = student[index] ?? 0
    teacher[index] = moved + decay * ((teacher[index] ?? 0) - moved)
  }
}
