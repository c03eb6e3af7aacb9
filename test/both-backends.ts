/** Our backend beside tfjs's own `cpu` backend. */
import '@tensorflow/tfjs-backend-cpu'
import { expect } from 'vitest'
import * as tf from '../trainer/backend/tf.js'
import { backendName } from '../trainer/backend/backend.js'
import { Random } from '../trainer/data/random.js'

export const draw = (shape: number[], seed: number, reach = 1): tf.Tensor => {
  const random = Random.of(seed)
  return tf.tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.around(reach)), shape)
}

export type Tensors = Record<string, tf.Tensor>

/** Runs `fn` on one backend and gives the numbers of each of its results. */
export async function on(backend: string, fn: () => Tensors): Promise<Record<string, number[]>> {
  await tf.setBackend(backend)
  const results = tf.tidy(fn)
  const numbers: Record<string, number[]> = {}
  for (const [name, tensor] of Object.entries(results)) numbers[name] = [...await tensor.data()]
  tf.dispose(results)
  return numbers
}

/** Both backends, side by side. */
export async function expectSame(fn: () => Tensors, tolerance = 1e-4): Promise<void> {
  const [ours, reference] = [await on(backendName, fn), await on('cpu', fn)]
  expect(Object.keys(ours)).toEqual(Object.keys(reference))
  for (const [name, values] of Object.entries(reference)) {
    expect(ours[name]).toHaveLength(values.length)
    const differs = values.findIndex((value, index) => !(Math.abs(value - (ours[name]?.[index] ?? Number.NaN)) / (1 + Math.abs(value)) < tolerance))
    expect([name, differs, ours[name]?.[differs]]).toEqual([name, -1, undefined])
  }
}
