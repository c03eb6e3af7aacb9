/** An operation, its bias and its activation in one kernel, as tfjs's `fused` asks for them. */
import { reshaped, type Value } from '../graph.js'
import { convolution, depthwiseConvolution } from './convolution.js'
import { binary, elementwise } from './elementwise.js'
import { take, type Kernel, type KernelAttributes, type KernelInputs, type KernelTable } from './kernel.js'
import { product } from './matmul.js'

const activations: Readonly<Record<string, string>> = {
  relu: 'Relu', relu6: 'Relu6', elu: 'Elu', sigmoid: 'Sigmoid', prelu: 'Prelu', leakyrelu: 'LeakyRelu',
}

/** `value` with the bias and then the activation that a fused kernel was given. */
function activated(value: Value, inputs: KernelInputs, attributes: KernelAttributes): Value {
  const sum = inputs.bias ? binary('Add', value, alongChannels(inputs.bias, attributes)) : value
  const name = attributes.activation
  if (name === undefined || name === null || name === 'linear') return sum
  const kernel = typeof name === 'string' ? elementwise[activations[name] ?? ''] : undefined
  if (!kernel) throw new Error(`there is no activation ${JSON.stringify(name)}`)
  const alpha = inputs.preluActivationWeights
  return kernel({ x: sum, ...(alpha && { alpha: alongChannels(alpha, attributes) }) }, { alpha: attributes.leakyreluAlpha }) as Value
}

/** One number for each channel, where the channels are not the last axis. */
function alongChannels(value: Value, { dataFormat }: KernelAttributes): Value {
  return dataFormat === 'NCHW' && value.shape.length === 1 ? reshaped(value, [...value.shape, 1, 1]) : value
}

const fused = (kernel: Kernel): Kernel => (inputs, attributes) => activated(kernel(inputs, attributes) as Value, inputs, attributes)

export const fusions: KernelTable = {
  _FusedMatMul: fused((inputs, attributes) => product(take(inputs, 'a'), take(inputs, 'b'), attributes)),
  FusedConv2D: fused((inputs, attributes) => convolution(take(inputs, 'x'), take(inputs, 'filter'), attributes)),
  FusedDepthwiseConv2D: fused((inputs, attributes) => depthwiseConvolution(take(inputs, 'x'), take(inputs, 'filter'), attributes)),
}
