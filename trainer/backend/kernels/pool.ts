/** Pools over images [N, H, W, C] and volumes [N, D, H, W, C], and their gradients. */
import { constant, emit, emitOne, float32, int64, reshaped, sameShape, sizeOf, type Value } from '../graph.js'
import { inputGradient } from './convolution.js'
import { binary, cast, where } from './elementwise.js'
import { at, take, type Kernel, type KernelTable } from './kernel.js'
import { filled, zeros } from './shape.js'
import { padsOf, poolWindow, toChannelsFirst, toChannelsLast, type Window } from './window.js'

const attributesOf = (window: Window) => ({ kernel_shape: window.size, strides: window.strides, pads: padsOf(window) })

/** As tfjs has it: windows of one place change nothing as long as there are as many as places, however they are padded. */
const isIdentity = ({ size, input, output }: Window) => sizeOf(size) === 1 && sameShape(input, output)

/** What is no number is passed over. */
function numbersOf(x: Value): Value {
  return where(emitOne({ op: 'IsNaN', inputs: [x] }, x.shape, 'bool'), float32(-Infinity), x)
}

/** ONNX pads by less than a window: where more is asked for, x itself grows by `filler`. */
function grown(x: Value, window: Window, filler: number): [x: Value, window: Window] {
  const pads = padsOf(window)
  const rank = window.size.length
  if (pads.every((rows, index) => rows < at(window.size, index % rank))) return [x, window]
  const input = window.input.map((rows, axis) => rows + at(pads, axis) + at(pads, axis + rank))
  const around = int64([0, 0, ...pads.slice(0, rank), 0, 0, ...pads.slice(rank)])
  const wide = emitOne({ op: 'Pad', inputs: [x, around, float32(filler)] }, [...x.shape.slice(0, 2), ...input])
  return [wide, { ...window, input, before: window.before.map(() => 0) }]
}

/** x [N, C, …] to the largest of each window [N, C, …] and where it stood in the whole of x (int64). */
function largest(x: Value, window: Window): [value: Value, place: Value] {
  const shape = [...x.shape.slice(0, 2), ...window.output]
  const [value, place] = emit(
    // The default order, said aloud: it tells this node from the one without places, which would else be taken for its twin.
    { op: 'MaxPool', inputs: [numbersOf(x)], attributes: { ...attributesOf(window), storage_order: 0 } },
    [{ type: 'float32', shape }, { type: 'int64', shape }],
  )
  if (!value || !place) throw new Error('MaxPool made no output')
  return [value, place]
}

const maxPool: Kernel = (inputs, attributes) => {
  const x = take(inputs, 'x')
  const given = poolWindow(x.shape, attributes)
  if (isIdentity(given)) return x
  const [images, window] = grown(numbersOf(toChannelsFirst(cast(x, 'float32'))), given, -Infinity)
  const shape = [...images.shape.slice(0, 2), ...window.output]
  return cast(toChannelsLast(emitOne({ op: 'MaxPool', inputs: [images], attributes: attributesOf(window) }, shape)), x.type)
}

/** Each dy goes to the place in the input that was the largest of its window. */
const maxPoolGrad: Kernel = (inputs, attributes) => {
  const [dy, x] = [take(inputs, 'dy'), toChannelsFirst(take(inputs, 'input'))]
  const given = poolWindow(take(inputs, 'input').shape, attributes)
  const [wide, window] = grown(x, given, -Infinity)
  const [, place] = largest(wide, window)
  const flat = (value: Value) => reshaped(value, [sizeOf(value.shape)])
  const scatter = { op: 'ScatterElements', inputs: [zeros(flat(wide)), flat(place), flat(toChannelsFirst(dy))], attributes: { axis: 0, reduction: 'add' } }
  const sums = reshaped(emitOne(scatter, [sizeOf(wide.shape)]), wide.shape)
  if (window === given) return toChannelsLast(sums)
  const axes = given.before.map((_, axis) => axis + 2)
  const ends = given.before.map((rows, axis) => rows + at(given.input, axis))
  return toChannelsLast(emitOne({ op: 'Slice', inputs: [sums, int64(given.before), int64(ends), int64(axes)] }, x.shape))
}

/** The mean of what lies inside of the input. */
const avgPool: Kernel = (inputs, attributes) => {
  const x = take(inputs, 'x')
  const given = poolWindow(x.shape, attributes)
  if (isIdentity(given)) return x
  const [images, window] = grown(toChannelsFirst(cast(x, 'float32')), given, 0)
  const emission = { op: 'AveragePool', inputs: [images], attributes: { ...attributesOf(window), count_include_pad: 0 } }
  const means = emitOne(emission, [...images.shape.slice(0, 2), ...window.output])
  return toChannelsLast(window === given ? means : binary('Mul', means, shareInside(given)))
}

/** The part of each window that lies inside of the input, inverted: [1, 1, …]; 0 where none does. */
function shareInside({ size, strides, input, output, before }: Window): Value {
  const along = output.map((windows, axis) => Array.from({ length: windows }, (_, index) => {
    const first = index * at(strides, axis) - at(before, axis)
    return Math.max(0, Math.min(first + at(size, axis), at(input, axis)) - Math.max(first, 0))
  }))
  const counts = along.reduce((outer, inner) => outer.flatMap(a => inner.map(b => a * b)), [1])
  return constant('float32', [1, 1, ...output], Float32Array.from(counts, count => (count === 0 ? 0 : sizeOf(size) / count)))
}

/**
 * Each dy is spread over its window in equal parts: the input gradient of a convolution with equal weights, a channel each. As
 * tfjs has it, a part is one of the whole window, at an edge too, where the mean itself divides by the fewer that lie inside.
 */
const avgPoolGrad: Kernel = (inputs, attributes) => {
  const [dy, x] = [take(inputs, 'dy'), take(inputs, 'input')]
  const window = poolWindow(x.shape, attributes)
  const channels = at(x.shape, x.shape.length - 1)
  const parts = filled('float32', [channels, 1, ...window.size], 1 / sizeOf(window.size))
  return toChannelsLast(inputGradient(toChannelsFirst(dy), parts, window, channels))
}

export const pools: KernelTable = {
  MaxPool: maxPool,
  MaxPool3D: maxPool,
  MaxPoolGrad: maxPoolGrad,
  MaxPool3DGrad: maxPoolGrad,
  AvgPool: avgPool,
  AvgPool3D: avgPool,
  AvgPoolGrad: avgPoolGrad,
  AvgPool3DGrad: avgPoolGrad,
  /** Also where: the place in [N, H, W, C] as tfjs counts, within each image unless the batch is included. */
  MaxPoolWithArgmax: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const [batch, height, width, channels] = [at(x.shape, 0), at(x.shape, 1), at(x.shape, 2), at(x.shape, 3)]
    const [value, place] = largest(toChannelsFirst(x), poolWindow(x.shape, attributes))
    const int = (number: number) => constant('int64', [], BigInt64Array.of(BigInt(number)))
    const area = height * width
    const at2d = emitOne({ op: 'Mod', inputs: [place, int(area)] }, place.shape)
    const channel = constant('int64', [channels, 1, 1], BigInt64Array.from({ length: channels }, (_, index) => BigInt(index)))
    const inImage = binary('Add', binary('Mul', at2d, int(channels)), channel)
    const image = binary('Mul', binary('Div', place, int(area * channels)), int(area * channels))
    const whole = attributes.includeBatchInIndex === true && batch > 1 ? binary('Add', inImage, image) : inImage
    return [toChannelsLast(value), cast(toChannelsLast(whole), 'int32')]
  },
}
