/**
 * Convolutions of images [N, H, W, C] and volumes [N, D, H, W, C], and their gradients. tfjs keeps the channels last,
 * ONNX first: everything between the transposes is [N, C, …], and weights are [O, C, k…].
 */
import { emitOne, int64, reshaped, sameShape, type Value } from '../graph.js'
import { cast } from './elementwise.js'
import { at, numbersAttribute, take, type Kernel, type KernelAttributes, type KernelTable } from './kernel.js'
import { transposed } from './shape.js'
import { convolutionWindow, padsOf, toChannelsFirst, toChannelsLast, toWeights, type Window } from './window.js'

/** x [N, C, …] with weights [O, C / groups, k…] gives [N, O, …]. */
function convolve(x: Value, weights: Value, window: Window, groups: number): Value {
  const attributes = { kernel_shape: window.size, strides: window.strides, dilations: window.dilations, pads: padsOf(window), group: groups }
  return emitOne({ op: 'Conv', inputs: [x, weights], attributes }, [at(x.shape, 0), at(weights.shape, 0), ...window.output])
}

/** The gradient of the input [N, C, …] from that of the output, dy [N, O, …]; also a transposed convolution. */
export function inputGradient(dy: Value, weights: Value, window: Window, groups: number): Value {
  const { size, strides, dilations, input, output } = window
  const pads = padsOf(window)
  const rank = size.length
  // Rows of the input that no window reaches.
  const rest = size.map((rows, axis) => {
    const reach = at(strides, axis) * (at(output, axis) - 1) + at(dilations, axis) * (rows - 1) + 1
    return at(input, axis) + at(pads, axis) + at(pads, rank + axis) - reach
  })
  const attributes = { kernel_shape: size, strides, dilations, pads, output_padding: rest, group: groups }
  return emitOne({ op: 'ConvTranspose', inputs: [cut(dy, output), weights], attributes }, [at(dy.shape, 0), at(weights.shape, 1) * groups, ...input])
}

/**
 * The gradient of the weights from x [N, C, …] and dy [N, O, …]: dy passes over x as a filter would, with strides and dilations
 * exchanged, channels where the batch was and the batch where the channels were. [C, O, k…], or [1, O, k…] with a group a channel.
 */
function weightGradient(x: Value, dy: Value, window: Window, groups: number): Value {
  const { strides, dilations, size, output } = window
  const [batch, channels] = [at(x.shape, 0), at(x.shape, 1)]
  const swapped = [1, 0, ...size.map((_, axis) => axis + 2)]
  const images = reshaped(transposed(x, swapped), groups === 1 ? [channels, batch, ...window.input] : [1, channels * batch, ...window.input])
  const over: Window = { ...window, size: output, strides: dilations, dilations: strides, output: size }
  const pads = padsOf(over)
  // A stride may leave rows at the end that no window saw: they would become rows of the filter.
  const made = size.map((_, axis) => {
    const free = at(window.input, axis) + at(pads, axis) + at(pads, size.length + axis) - at(strides, axis) * (at(output, axis) - 1) - 1
    return Math.floor(free / at(dilations, axis)) + 1
  })
  const correlated = convolve(images, transposed(dy, swapped), { ...over, output: made }, groups)
  return cut(correlated, size)
}

/** x [A, B, …] with the first rows alone of each spatial axis. */
function cut(x: Value, sizes: readonly number[]): Value {
  const shape = [...x.shape.slice(0, 2), ...sizes]
  if (sameShape(shape, x.shape)) return x
  const axes = sizes.map((_, axis) => axis + 2)
  return emitOne({ op: 'Slice', inputs: [x, int64(axes.map(() => 0)), int64(sizes), int64(axes)] }, shape)
}

/** [k…, C, Q] to [C · Q, 1, k…]. */
function toOwnWeights(filter: Value): Value {
  const rank = filter.shape.length
  const turned = transposed(filter, [rank - 2, rank - 1, ...filter.shape.slice(2).map((_, axis) => axis)])
  return reshaped(turned, [at(turned.shape, 0) * at(turned.shape, 1), 1, ...turned.shape.slice(2)])
}

/** x [N, H, W, C] (or x [N, C, H, W] where `dataFormat` says so) and filter [k…, C, O]. */
export function convolution(x: Value, filter: Value, attributes: KernelAttributes): Value {
  const window = convolutionWindow(x.shape, filter.shape, attributes)
  const groups = window.channels.input / at(filter.shape, filter.shape.length - 2)
  const made = convolve(toChannelsFirst(cast(x, 'float32'), window.channelsFirst), toWeights(cast(filter, 'float32')), window, groups)
  return cast(toChannelsLast(made, window.channelsFirst), x.type)
}

/** x [N, H, W, C] and filter [k, k, C, Q] give [N, H', W', C · Q]. */
export function depthwiseConvolution(x: Value, filter: Value, attributes: KernelAttributes): Value {
  const window = convolutionWindow(x.shape, filter.shape, attributes, true)
  const images = toChannelsFirst(cast(x, 'float32'), window.channelsFirst)
  const made = convolve(images, toOwnWeights(cast(filter, 'float32')), window, window.channels.input)
  return cast(toChannelsLast(made, window.channelsFirst), x.type)
}

const convolutionKernel: Kernel = (inputs, attributes) => convolution(take(inputs, 'x'), take(inputs, 'filter'), attributes)

const backpropInput: Kernel = (inputs, attributes) => {
  const [dy, filter] = [cast(take(inputs, 'dy'), 'float32'), cast(take(inputs, 'filter'), 'float32')]
  const window = convolutionWindow(numbersAttribute(attributes, 'inputShape'), filter.shape, attributes)
  const groups = window.channels.input / at(filter.shape, filter.shape.length - 2)
  return toChannelsLast(inputGradient(toChannelsFirst(dy, window.channelsFirst), toWeights(filter), window, groups), window.channelsFirst)
}

const backpropFilter: Kernel = (inputs, attributes) => {
  const [x, dy] = [cast(take(inputs, 'x'), 'float32'), cast(take(inputs, 'dy'), 'float32')]
  const window = convolutionWindow(x.shape, numbersAttribute(attributes, 'filterShape'), attributes)
  const made = weightGradient(toChannelsFirst(x, window.channelsFirst), toChannelsFirst(dy, window.channelsFirst), window, 1)
  return transposed(made, [...window.size.map((_, axis) => axis + 2), 0, 1]) // [C, O, k…] to [k…, C, O]
}

export const convolutions: KernelTable = {
  Conv2D: convolutionKernel,
  Conv3D: convolutionKernel,
  Conv2DBackpropInput: backpropInput,
  Conv3DBackpropInputV2: backpropInput,
  Conv2DBackpropFilter: backpropFilter,
  Conv3DBackpropFilterV2: backpropFilter,

  DepthwiseConv2dNative: (inputs, attributes) => depthwiseConvolution(take(inputs, 'x'), take(inputs, 'filter'), attributes),
  DepthwiseConv2dNativeBackpropInput: (inputs, attributes) => {
    const [dy, filter] = [cast(take(inputs, 'dy'), 'float32'), cast(take(inputs, 'filter'), 'float32')]
    const window = convolutionWindow(numbersAttribute(attributes, 'inputShape'), filter.shape, attributes, true)
    return toChannelsLast(inputGradient(toChannelsFirst(dy), toOwnWeights(filter), window, window.channels.input))
  },
  DepthwiseConv2dNativeBackpropFilter: (inputs, attributes) => {
    const [x, dy] = [cast(take(inputs, 'x'), 'float32'), cast(take(inputs, 'dy'), 'float32')]
    const shape = numbersAttribute(attributes, 'filterShape')
    const window = convolutionWindow(x.shape, shape, attributes, true)
    const made = weightGradient(toChannelsFirst(x), toChannelsFirst(dy), window, window.channels.input) // [1, C · Q, k, k]
    const [channels, each] = [window.channels.input, at(shape, 3)]
    return transposed(reshaped(made, [channels, each, ...window.size]), [2, 3, 0, 1])
  },
}
