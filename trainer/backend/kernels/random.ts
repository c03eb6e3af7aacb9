/** Kernels that draw. */
import { Random } from '../../data/random.js'
import { constant, emitOne, float32, reshaped, type Value } from '../graph.js'
import { binary, cast } from './elementwise.js'
import { numberAttribute, take, type KernelTable } from './kernel.js'
import { reduce } from './reduce.js'

/** Uniform numbers in [0, 1), drawn now and on the host: the one place where a kernel takes chance. A graph that is replayed repeats them. */
export function drawn(seed: number, shape: readonly number[]): Value {
  // Where nobody names a seed, tfjs takes a fraction.
  const random = Random.of(Math.floor(seed), (seed % 1) * 2 ** 32)
  return constant('float32', shape, Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.float()))
}

export const draws: KernelTable = {
  /** logits [N, K] (probabilities where they are `normalized`) give classes [N, S]: how many cumulative sums a uniform number has passed. */
  Multinomial: (inputs, attributes) => {
    const logits = take(inputs, 'logits')
    const [batch, classes] = logits.shape as [number, number]
    const samples = numberAttribute(attributes, 'numSamples')
    const probabilities = attributes.normalized === true ? logits : emitOne({ op: 'Softmax', inputs: [logits], attributes: { axis: 1 } }, logits.shape)
    const sums = emitOne({ op: 'CumSum', inputs: [probabilities, constant('int32', [], Int32Array.of(1))] }, logits.shape)
    const uniform = drawn(numberAttribute(attributes, 'seed'), [batch, samples, 1])
    const passed = binary('GreaterOrEqual', uniform, reshaped(sums, [batch, 1, classes]), 'bool')
    const count = reduce('ReduceSum', cast(passed, 'float32'), [2], false) // [N, S]
    // Sums that end below 1 by rounding.
    return cast(binary('Min', count, float32(classes - 1)), 'int32')
  },
}
