/** Operations that shorten axes, and those that normalise along one. */
import { constant, emit, emitOne, float32, int64, type Value } from '../graph.js'
import { binary, cast, where } from './elementwise.js'
import { axesOf, numberAttribute, positiveAxis, take, type Kernel, type KernelTable } from './kernel.js'
import { flipped } from './shape.js'

function reducedShape(shape: readonly number[], axes: readonly number[], keepDims: boolean): number[] {
  return shape.map((size, axis) => (axes.includes(axis) ? 1 : size)).filter((_, axis) => keepDims || !axes.includes(axis))
}

export function reduce(op: string, x: Value, axes: readonly number[], keepDims: boolean): Value {
  if (axes.length === 0) return x
  const keepdims = keepDims ? 1 : 0
  const emission = op === 'ReduceSum'
    ? { op, inputs: [x, int64(axes)], attributes: { keepdims } }
    : { op, inputs: [x], attributes: { axes, keepdims } }
  return emitOne(emission, reducedShape(x.shape, axes, keepDims))
}

/** What `reduce` gives, or NaN where there was one: ONNX Runtime passes over them. */
function withNaN(op: 'ReduceMax' | 'ReduceMin', x: Value, axes: readonly number[], keepDims: boolean): Value {
  const extreme = reduce(op, x, axes, keepDims)
  if (x.type !== 'float32' || axes.length === 0) return extreme
  const missing = cast(emitOne({ op: 'IsNaN', inputs: [x] }, x.shape, 'bool'), 'float32')
  const any = binary('Greater', reduce('ReduceMax', missing, axes, keepDims), float32(0), 'bool')
  return where(any, float32(Number.NaN), extreme)
}

/** tfjs names the axes differently for Max than for the others. */
const reduction = (op: string, axisName = 'axis'): Kernel => (inputs, attributes) => {
  const x = take(inputs, 'x')
  const reducer = op === 'ReduceMax' || op === 'ReduceMin' ? withNaN.bind(null, op) : reduce.bind(null, op)
  return reducer(op === 'ReduceMean' ? cast(x, 'float32') : x, axesOf(x, attributes[axisName]), attributes.keepDims === true)
}

/** All or any of booleans. */
const quantifier = (op: 'ReduceMin' | 'ReduceMax'): Kernel => (inputs, attributes) => {
  const x = cast(take(inputs, 'x'), 'int32')
  return cast(reduce(op, x, axesOf(x, attributes.axis), attributes.keepDims === true), 'bool')
}

const extremeIndex = (op: string): Kernel => (inputs, attributes) => {
  const x = cast(take(inputs, 'x'), 'float32')
  const axis = positiveAxis(numberAttribute(attributes, 'axis'), x.shape.length)
  const shape = reducedShape(x.shape, [axis], false)
  const least = float32(op === 'ArgMax' ? -Infinity : Infinity)
  const numbers = where(emitOne({ op: 'IsNaN', inputs: [x] }, x.shape, 'bool'), least, x)
  return cast(emitOne({ op, inputs: [numbers], attributes: { axis, keepdims: 0 } }, shape, 'int64'), 'int32')
}

const alongAxis = (op: string, axisName: string): Kernel => (inputs, attributes) => {
  const logits = take(inputs, 'logits')
  const axis = positiveAxis(numberAttribute(attributes, axisName), logits.shape.length)
  return emitOne({ op, inputs: [logits], attributes: { axis } }, logits.shape)
}

export const reductions: KernelTable = {
  Sum: reduction('ReduceSum'),
  Mean: reduction('ReduceMean'),
  Max: reduction('ReduceMax', 'reductionIndices'),
  Min: reduction('ReduceMin'),
  Prod: reduction('ReduceProd'),
  All: quantifier('ReduceMin'),
  Any: quantifier('ReduceMax'),
  Cumsum: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const axis = constant('int32', [], Int32Array.of(positiveAxis(numberAttribute(attributes, 'axis'), x.shape.length)))
    const flags = { exclusive: attributes.exclusive === true ? 1 : 0, reverse: attributes.reverse === true ? 1 : 0 }
    return emitOne({ op: 'CumSum', inputs: [x, axis], attributes: flags }, x.shape)
  },
  /** ONNX has none: each round multiplies by what stands 1, 2, 4, … places before, until every place holds all that came before it. */
  Cumprod: (inputs, attributes) => {
    const given = take(inputs, 'x')
    const axis = positiveAxis(numberAttribute(attributes, 'axis'), given.shape.length)
    const size = given.shape[axis] ?? 0
    const ones = (value: Value) => constant(value.type, [], value.type === 'int32' ? Int32Array.of(1) : Float32Array.of(1))
    /** Later by some places, with ones in front. */
    const delayed = (value: Value, places: number) => {
      const pads = [...given.shape, ...given.shape].map((_, index) => (index === axis ? places : index === axis + given.shape.length ? -places : 0))
      return emitOne({ op: 'Pad', inputs: [value, int64(pads), ones(value)] }, value.shape)
    }
    const turn = (value: Value) => (attributes.reverse === true ? flipped(value, [axis]) : value)
    let made = turn(given)
    if (attributes.exclusive === true) made = delayed(made, 1)
    for (let places = 1; places < size; places *= 2) made = binary('Mul', made, delayed(made, places))
    return turn(made)
  },
  /** The k largest along the last axis, and where they stood. */
  TopK: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const k = numberAttribute(attributes, 'k')
    const shape = [...x.shape.slice(0, -1), k]
    const [values, places] = emit(
      { op: 'TopK', inputs: [x, int64([k])], attributes: { axis: -1, largest: 1, sorted: 1 } },
      [{ type: x.type, shape }, { type: 'int64', shape }],
    )
    if (!values || !places) throw new Error('TopK made no output')
    return [values, cast(places, 'int32')]
  },
  ArgMax: extremeIndex('ArgMax'),
  ArgMin: extremeIndex('ArgMin'),
  Softmax: alongAxis('Softmax', 'dim'),
  LogSoftmax: alongAxis('LogSoftmax', 'axis'),

  /** Ours: x [..., D] to zero mean and unit variance along the last axis; outputs y and 1/σ [..., 1]. */
  LayerNorm: (inputs, attributes) => {
    const x = take(inputs, 'x')
    const axis = x.shape.length - 1
    const width = x.shape[axis] ?? 1
    const scale = constant('float32', [width], new Float32Array(width).fill(1))
    const row = [...x.shape.slice(0, axis), 1]
    const epsilon = { float: numberAttribute(attributes, 'epsilon') }
    const [y, , inverseDeviation] = emit(
      { op: 'LayerNormalization', inputs: [x, scale], attributes: { axis, epsilon } },
      [x.shape, row, row].map(shape => ({ type: 'float32', shape })),
    )
    if (!y || !inverseDeviation) throw new Error('LayerNormalization made no output')
    return [y, inverseDeviation]
  },
}
