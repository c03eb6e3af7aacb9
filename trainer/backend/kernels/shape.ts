/** Operations that move elements without computing on them. */
import { constant, emit, emitOne, int64, reshaped, sizeOf, type ElementType, type Value } from '../graph.js'
import { cast } from './elementwise.js'
import { numberAttribute, numbersAttribute, positiveAxis, take, type KernelInputs, type KernelTable } from './kernel.js'

function filled(type: string, shape: readonly number[], value: number): Value {
  const size = sizeOf(shape)
  if (type === 'int32') return constant('int32', shape, new Int32Array(size).fill(value))
  if (type === 'bool') return constant('bool', shape, new Uint8Array(size).fill(value))
  return constant('float32', shape, new Float32Array(size).fill(value))
}

function concat(values: readonly Value[], axis: number): Value {
  const [first] = values
  if (!first) throw new Error('nothing to concatenate')
  const total = values.reduce((sum, value) => sum + (value.shape[axis] ?? 0), 0)
  return emitOne({ op: 'Concat', inputs: values, attributes: { axis } }, first.shape.with(axis, total))
}

function list(inputs: KernelInputs): Value[] {
  return Object.values(inputs)
}

export const shapes: KernelTable = {
  Reshape: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const shape = numbersAttribute(attributes, 'shape')
    const known = shape.reduce((product, size) => (size === -1 ? product : product * size), 1)
    return reshaped(x, shape.map(size => (size === -1 ? sizeOf(x.shape) / known : size)))
  },
  ExpandDims: (inputs, attributes) => {
    const x = take(inputs, 'input')
    const axis = positiveAxis(numberAttribute(attributes, 'dim'), x.shape.length + 1)
    return reshaped(x, x.shape.toSpliced(axis, 0, 1))
  },
  Transpose: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const perm = numbersAttribute(attributes, 'perm')
    return emitOne({ op: 'Transpose', inputs: [x], attributes: { perm } }, perm.map(axis => x.shape[axis] ?? 0))
  },
  Concat: (inputs, attributes) => {
    const values = list(inputs).filter(value => sizeOf(value.shape) > 0)
    return concat(values, positiveAxis(numberAttribute(attributes, 'axis'), values[0]?.shape.length ?? 0))
  },
  Pack: (inputs, attributes) => {
    const values = list(inputs)
    const axis = positiveAxis(numberAttribute(attributes, 'axis'), (values[0]?.shape.length ?? 0) + 1)
    return concat(values.map(value => reshaped(value, value.shape.toSpliced(axis, 0, 1))), axis)
  },
  Unpack: (inputs, attributes) => {
    const x = take(inputs, 'value')
    const axis = positiveAxis(numberAttribute(attributes, 'axis'), x.shape.length)
    const parts = Array.from({ length: x.shape[axis] ?? 0 }, () => ({ type: x.type, shape: x.shape.with(axis, 1) }))
    return emit({ op: 'Split', inputs: [x], attributes: { axis } }, parts).map(part => reshaped(part, x.shape.toSpliced(axis, 1)))
  },
  Slice: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const begin = x.shape.map((_, axis) => numbersAttribute(attributes, 'begin')[axis] ?? 0)
    const given = numbersAttribute(attributes, 'size')
    const size = x.shape.map((whole, axis) => {
      const part = given[axis] ?? -1
      return part === -1 ? whole - (begin[axis] ?? 0) : part
    })
    // Only the axes that are cut: an untouched one may be free at run time.
    const axes = size.flatMap((part, axis) => (part === x.shape[axis] ? [] : [axis]))
    if (axes.length === 0) return x
    const starts = axes.map(axis => begin[axis] ?? 0)
    const ends = axes.map(axis => (begin[axis] ?? 0) + (size[axis] ?? 0))
    return emitOne({ op: 'Slice', inputs: [x, int64(starts), int64(ends), int64(axes)] }, size)
  },
  PadV2: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const paddings = attributes.paddings as readonly (readonly [number, number])[]
    const pads = int64([...paddings.map(([before]) => before), ...paddings.map(([, after]) => after)])
    const filler = filled(x.type, [], numberAttribute(attributes, 'constantValue'))
    const shape = x.shape.map((size, axis) => size + (paddings[axis]?.[0] ?? 0) + (paddings[axis]?.[1] ?? 0))
    return emitOne({ op: 'Pad', inputs: [x, pads, filler] }, shape)
  },
  SplitV: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const axis = positiveAxis(numberAttribute(attributes, 'axis'), x.shape.length)
    const given = attributes.numOrSizeSplits
    const whole = x.shape[axis] ?? 0
    const sizes = typeof given === 'number'
      ? new Array<number>(given).fill(whole / given)
      : numbersAttribute(attributes, 'numOrSizeSplits').map((size, _, all) =>
        (size === -1 ? whole - all.reduce((sum, other) => sum + Math.max(other, 0), 0) : size))
    const parts = sizes.map(size => ({ type: x.type, shape: x.shape.with(axis, size) }))
    return emit({ op: 'Split', inputs: [x, int64(sizes)], attributes: { axis } }, parts)
  },
  Tile: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const repeats = numbersAttribute(attributes, 'reps')
    return emitOne({ op: 'Tile', inputs: [x, int64(repeats)] }, x.shape.map((size, axis) => size * (repeats[axis] ?? 1)))
  },
  GatherV2: (inputs, attributes) => {
    const [x, indices] = [take(inputs, 'x'), take(inputs, 'indices')]
    const batchDims = numberAttribute(attributes, 'batchDims')
    if (batchDims !== 0) throw new Error(`batchDims is ${String(batchDims)}; only 0 is recorded`)
    const axis = positiveAxis(numberAttribute(attributes, 'axis'), x.shape.length)
    return emitOne({ op: 'Gather', inputs: [x, indices], attributes: { axis } }, x.shape.toSpliced(axis, 1, ...indices.shape))
  },
  OneHot: (inputs, attributes) => {
    const indices = take(inputs, 'indices')
    const depth = numberAttribute(attributes, 'depth')
    // ORT's OneHot has no int32 kernel on the CPU: compare with every class instead.
    const classes = constant('int32', [depth], Int32Array.from({ length: depth }, (_, index) => index))
    const column = reshaped(indices, [...indices.shape, 1])
    const equal = emitOne({ op: 'Equal', inputs: [column, classes] }, [...indices.shape, depth], 'bool')
    const [on, off] = ['onValue', 'offValue'].map(name => filled('float32', [], numberAttribute(attributes, name)))
    const hot = emitOne({ op: 'Where', inputs: [equal, on ?? equal, off ?? equal] }, equal.shape, 'float32')
    return attributes.dtype === 'int32' ? cast(hot, 'int32') : hot
  },
  Fill: (_, attributes) =>
    filled(typeof attributes.dtype === 'string' ? attributes.dtype : 'float32', numbersAttribute(attributes, 'shape'), numberAttribute(attributes, 'value')),
  ZerosLike: inputs => likeWith(take(inputs, 'x'), 0),
  OnesLike: inputs => likeWith(take(inputs, 'x'), 1),
}

function likeWith(x: Value, value: number): Value {
  const type: ElementType = x.type
  return filled(type, x.shape, value)
}
