/** Operations that shorten axes, and those that normalise along one. */
import { constant, emit, emitOne, int64, type Value } from '../graph.js'
import { cast } from './elementwise.js'
import { numberAttribute, numbersAttribute, positiveAxis, take, type Kernel, type KernelTable } from './kernel.js'

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

/** tfjs names the axes differently for Max than for the others. */
const reduction = (op: string, axisName = 'axis'): Kernel => (inputs, attributes) => {
  const x = take(inputs, 'x')
  const given = attributes[axisName]
  const all = x.shape.map((_, axis) => axis)
  const axes = given === undefined || given === null ? all : numbersAttribute(attributes, axisName)
  return reduce(op, x, axes.map(axis => positiveAxis(axis, x.shape.length)), attributes.keepDims === true)
}

const extremeIndex = (op: string): Kernel => (inputs, attributes) => {
  const x = take(inputs, 'x')
  const axis = positiveAxis(numberAttribute(attributes, 'axis'), x.shape.length)
  const shape = reducedShape(x.shape, [axis], false)
  return cast(emitOne({ op, inputs: [x], attributes: { axis, keepdims: 0 } }, shape, 'int64'), 'int32')
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
