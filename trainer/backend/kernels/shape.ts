/** Operations that move elements without computing on them. */
import { constant, emit, emitOne, int64, reshaped, sameShape, sizeOf, type ElementType, type Value } from '../graph.js'
import { cast } from './elementwise.js'
import { axesOf, numberAttribute, numbersAttribute, positiveAxis, take, type KernelAttributes, type KernelInputs, type KernelTable } from './kernel.js'

export function filled(type: string, shape: readonly number[], value: number): Value {
  const size = sizeOf(shape)
  if (type === 'int32') return constant('int32', shape, new Int32Array(size).fill(value))
  if (type === 'bool') return constant('bool', shape, new Uint8Array(size).fill(value))
  return constant('float32', shape, new Float32Array(size).fill(value))
}

/** As many zeros as x has elements, however many those are at run time. */
export function zeros(x: Value): Value {
  const shape = emitOne({ op: 'Shape', inputs: [x] }, [x.shape.length], 'int64')
  return emitOne({ op: 'ConstantOfShape', inputs: [shape] }, x.shape, 'float32')
}

export function concat(values: readonly Value[], axis: number): Value {
  const [first] = values
  if (!first) throw new Error('nothing to concatenate')
  if (values.length === 1) return first
  const total = values.reduce((sum, value) => sum + (value.shape[axis] ?? 0), 0)
  return emitOne({ op: 'Concat', inputs: values, attributes: { axis } }, first.shape.with(axis, total))
}

/** x [B…, P…, n, Q…] at indices [B…, I…] along `axis` gives [B…, P…, I…, Q…]; `batchDims` counts the B. */
function gather(x: Value, indices: Value, attributes: KernelAttributes): Value {
  const axis = positiveAxis(numberAttribute(attributes, 'axis'), x.shape.length)
  const batchDims = batchDimsOf(x, indices, axis, numberAttribute(attributes, 'batchDims'))
  const { origin } = indices
  const bound = x.shape[axis] ?? 0
  const outside = origin.kind === 'constant' && !(origin.data instanceof BigInt64Array) ? origin.data.find(index => index < 0 || index >= bound) : undefined
  if (outside !== undefined) throw new Error(`GatherV2: the index value ${String(outside)} is not in [0, ${String(bound - 1)}]`)
  if (batchDims === 0) return emitOne({ op: 'Gather', inputs: [x, indices], attributes: { axis } }, x.shape.toSpliced(axis, 1, ...indices.shape))
  const range = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index)
  const inFront = transposed(x, [...range(0, batchDims), axis, ...range(batchDims, axis), ...range(axis + 1, x.shape.length)])
  const wanted = indices.shape.slice(batchDims)
  const gathered = emitOne(
    { op: 'GatherND', inputs: [inFront, cast(reshaped(indices, [...indices.shape, 1]), 'int64')], attributes: { batch_dims: batchDims } },
    [...indices.shape, ...inFront.shape.slice(batchDims + 1)])
  const before = axis - batchDims
  const first = batchDims + wanted.length
  return transposed(gathered, [
    ...range(0, batchDims), ...range(first, first + before), ...range(batchDims, first), ...range(first + before, gathered.shape.length),
  ])
}

/** With tfjs's own words for what is wrong. */
function batchDimsOf(x: Value, indices: Value, axis: number, given: number): number {
  const rank = indices.shape.length
  if (given < -rank || given > rank) throw new Error(`Expect batchDims in the range of [-${String(rank)}, ${String(rank)}], but got ${String(given)}`)
  const batchDims = given < 0 ? given + rank : given
  if (batchDims > axis) throw new Error(`batchDims (${String(batchDims)}) must be less than or equal to axis (${String(axis)})`)
  const differs = x.shape.findIndex((size, at) => at < batchDims && size !== indices.shape[at])
  if (differs >= 0) throw new Error(`x.shape[${String(differs)}] should be equal to indices.shape[${String(differs)}]`)
  return batchDims
}

export function transposed(x: Value, perm: readonly number[]): Value {
  return emitOne({ op: 'Transpose', inputs: [x], attributes: { perm } }, perm.map(axis => x.shape[axis] ?? 0))
}

/** The other way round along the axes. */
export function flipped(x: Value, axes: readonly number[]): Value {
  const [starts, ends, steps] = [-1, -(2 ** 31), -1].map(value => int64(axes.map(() => value))) as [Value, Value, Value]
  return emitOne({ op: 'Slice', inputs: [x, starts, ends, int64(axes), steps] }, x.shape)
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
    if (axis < 0 || axis > x.shape.length) throw new Error(`there is no axis ${String(attributes.dim)}`)
    return reshaped(x, x.shape.toSpliced(axis, 0, 1))
  },
  Transpose: (inputs, attributes) => {
    const x = take(inputs, 'x')
    return transposed(x, numbersAttribute(attributes, 'perm'))
  },
  Concat: (inputs, attributes) => {
    const all = list(inputs)
    const axis = positiveAxis(numberAttribute(attributes, 'axis'), all[0]?.shape.length ?? 0)
    const values = all.filter(value => sizeOf(value.shape) > 0)
    const [first] = all
    const others = (value: Value) => value.shape.toSpliced(axis, 1)
    if (first && !all.every(value => sameShape(others(value), others(first)))) {
      throw new Error(`the shapes differ in more than axis ${String(axis)}`)
    }
    if (values.length > 0 || !first) return concat(values, axis)
    return filled(first.type, first.shape.with(axis, all.reduce((sum, { shape }) => sum + (shape[axis] ?? 0), 0)), 0)
  },
  Pack: (inputs, attributes) => {
    const values = list(inputs)
    const axis = positiveAxis(numberAttribute(attributes, 'axis'), (values[0]?.shape.length ?? 0) + 1)
    if (values.some(({ shape, type }) => !sameShape(shape, values[0]?.shape ?? []) || type !== values[0]?.type)) {
      throw new Error('tensors of different shapes or types cannot be stacked')
    }
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
    const [starting, sizes] = [attributes.begin, attributes.size]
    const begin = x.shape.map((_, axis) => numbersAttribute({ starting }, 'starting')[axis] ?? 0)
    const given = sizes === undefined || sizes === null ? [] : numbersAttribute({ sizes }, 'sizes')
    const size = x.shape.map((whole, axis) => {
      const part = given[axis] ?? -1
      return part < 0 ? whole - (begin[axis] ?? 0) : part
    })
    if (begin.some(start => start < 0)) throw new Error('slice() does not support negative begin indexing.')
    if (x.shape.some((whole, axis) => (begin[axis] ?? 0) + (size[axis] ?? 0) > whole)) {
      throw new Error(`begin [${begin.join(', ')}] and size [${size.join(', ')}] reach beyond [${x.shape.join(', ')}]`)
    }
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
    if (sizes.reduce((sum, size) => sum + size, 0) !== whole) throw new Error(`the sizes ${sizes.join(', ')} do not sum to ${String(whole)}`)
    const parts = sizes.map(size => ({ type: x.type, shape: x.shape.with(axis, size) }))
    return emit({ op: 'Split', inputs: [x, int64(sizes)], attributes: { axis } }, parts)
  },
  Tile: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const repeats = numbersAttribute(attributes, 'reps')
    return emitOne({ op: 'Tile', inputs: [x, int64(repeats)] }, x.shape.map((size, axis) => size * (repeats[axis] ?? 1)))
  },
  GatherV2: (inputs, attributes) => gather(take(inputs, 'x'), take(inputs, 'indices'), attributes),
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
  Fill: (_, attributes) => {
    if (typeof attributes.value === 'string') throw new Error('this backend has no tensors of type string')
    return filled(typeof attributes.dtype === 'string' ? attributes.dtype : 'float32', numbersAttribute(attributes, 'shape'), numberAttribute(attributes, 'value'))
  },
  Range: (_, attributes) => {
    const [start, stop, given] = ['start', 'stop', 'step'].map(name => numberAttribute(attributes, name)) as [number, number, number]
    // tfjs counts down where nobody named a step.
    const step = stop < start && given === 1 ? -1 : given
    const length = Math.max(0, Math.ceil((stop - start) / step))
    const values = Array.from({ length }, (_unused, index) => start + index * step)
    return attributes.dtype === 'int32' ? constant('int32', [length], Int32Array.from(values)) : constant('float32', [length], Float32Array.from(values))
  },
  LinSpace: (_, attributes) => {
    const [start, stop, num] = ['start', 'stop', 'num'].map(name => numberAttribute(attributes, name)) as [number, number, number]
    return constant('float32', [num], Float32Array.from({ length: num }, (_unused, index) => start + index * (stop - start) / Math.max(1, num - 1)))
  },
  Reverse: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const axes = axesOf(x, attributes.dims)
    if (axes.length === 0) return x
    if (axes.some(axis => axis < 0 || axis >= x.shape.length)) throw new Error(`there are no axes ${axes.join(', ')}`)
    return flipped(x, axes)
  },
  ZerosLike: inputs => likeWith(take(inputs, 'x'), 0),
  OnesLike: inputs => likeWith(take(inputs, 'x'), 1),
}

function likeWith(x: Value, value: number): Value {
  const type: ElementType = x.type
  return filled(type, x.shape, value)
}
