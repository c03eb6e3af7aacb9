/** Rows that go to, or come from, places that are computed. */
import * as tf from '../tf.js'
import { constant, emitOne, int64, reshaped, sizeOf, type Value } from '../graph.js'
import { binary, cast, where } from './elementwise.js'
import { at, numberAttribute, numbersAttribute, take, type KernelTable } from './kernel.js'
import { reduce } from './reduce.js'
import { filled } from './shape.js'

const shaped = (value: Value) => ({ dataId: {}, shape: [...value.shape], dtype: 'float32' as const })
const int32 = (values: readonly number[], shape: readonly number[]) => constant('int32', shape, Int32Array.from(values))

/** `table` [R, D] where the rows [n, D] went to the places [n], added up or the last one counting. */
function scattered(table: Value, places: Value, rows: Value, reduction: 'add' | 'none'): Value {
  const width = at(table.shape, 1)
  const indices = binary('Add', reshaped(places, [sizeOf(places.shape), 1]), int32(new Array<number>(width).fill(0), [1, width]))
  return emitOne({ op: 'ScatterElements', inputs: [table, indices, rows], attributes: { axis: 0, reduction } }, table.shape)
}

/** The places [n] of rows in a table [R, D] for indices [..., n, J] into an output of `shape`; checked with tfjs's own words. */
function target(indices: Value, updates: Value, shape: readonly number[]) {
  const { sliceRank, numUpdates, sliceSize, strides, outputSize } = tf.backend_util.calculateShapes(shaped(updates), shaped(indices), [...shape])
  const table = [outputSize / sliceSize, sliceSize]
  const { origin } = indices
  if (origin.kind === 'constant') {
    const numbers = Array.from(origin.data, Number)
    for (let from = 0; from < numbers.length; from += sliceRank) {
      const index = numbers.slice(from, from + sliceRank)
      if (index.some((place, axis) => place < 0 || place >= at(shape, axis))) {
        throw new Error(`Invalid indices: ${index.join(', ')} does not index into ${shape.join(', ')}`)
      }
    }
  }
  const byAxis = reshaped(indices, [numUpdates, sliceRank])
  const places = reduce('ReduceSum', binary('Mul', byAxis, int32(strides.slice(0, sliceRank), [sliceRank])), [1], false)
  return { table, places, updates: reshaped(updates, [numUpdates, sliceSize]) }
}

/** How often each of `size` values occurs in x [..., n], or the sum of the weights [..., n] where it does: [..., size]. */
function counted(x: Value, weights: Value, size: number, once: boolean): Value {
  const hits = binary('Equal', reshaped(x, [...x.shape, 1]), int32(Array.from({ length: size }, (_, value) => value), [size]), 'bool')
  const axis = [x.shape.length - 1]
  const type = weights.type
  if (once) return cast(reduce('ReduceMax', cast(hits, 'int32'), axis, false), type)
  const worth = sizeOf(weights.shape) === 0 ? cast(hits, type) : where(hits, reshaped(weights, [...x.shape, 1]), filled(type, [], 0))
  return reduce('ReduceSum', worth, axis, false)
}

export const scatters: KernelTable = {
  /** x [I…, D…] and segmentIds [I…] give [numSegments, D…]; an id outside of them counts nowhere. */
  UnsortedSegmentSum: (inputs, attributes) => {
    const [x, ids] = [take(inputs, 'x'), take(inputs, 'segmentIds')]
    const segments = numberAttribute(attributes, 'numSegments')
    const rest = x.shape.slice(ids.shape.length)
    const outside = binary('Or', binary('Less', ids, int32([0], []), 'bool'), binary('GreaterOrEqual', ids, int32([segments], []), 'bool'))
    const places = where(outside, int32([segments], []), ids)
    const width = sizeOf(rest)
    const table = filled(x.type, [segments + 1, width], 0)
    const sums = scattered(table, places, reshaped(x, [sizeOf(ids.shape), width]), 'add')
    return reshaped(emitOne({ op: 'Slice', inputs: [sums, int64([0]), int64([segments]), int64([0])] }, [segments, width]), [segments, ...rest])
  },
  ScatterNd: (inputs, attributes) => {
    const given = take(inputs, 'updates')
    const shape = numbersAttribute(attributes, 'shape')
    const { table, places, updates } = target(take(inputs, 'indices'), given, shape)
    return reshaped(scattered(filled(given.type, table, 0), places, updates, 'add'), shape)
  },
  TensorScatterUpdate: inputs => {
    const whole = take(inputs, 'tensor')
    const { table, places, updates } = target(take(inputs, 'indices'), take(inputs, 'updates'), whole.shape)
    return reshaped(scattered(reshaped(whole, table), places, updates, 'none'), whole.shape)
  },
  SparseToDense: (inputs, attributes) => {
    const [given, values] = [take(inputs, 'sparseIndices'), take(inputs, 'sparseValues')]
    const shape = numbersAttribute(attributes, 'outputShape')
    const indices = given.shape.length < 2 ? reshaped(given, [sizeOf(given.shape), 1]) : given
    const all = emitOne({ op: 'Expand', inputs: [values, int64([at(indices.shape, 0)])] }, [at(indices.shape, 0)])
    const { table, places, updates } = target(indices, all, shape)
    const background = emitOne({ op: 'Expand', inputs: [take(inputs, 'defaultValue'), int64(table)] }, table)
    return reshaped(scattered(background, places, updates, 'none'), shape)
  },
  GatherNd: inputs => {
    const [params, indices] = [take(inputs, 'params'), take(inputs, 'indices')]
    const [shape] = tf.backend_util.prepareAndValidate(shaped(params), { ...shaped(indices), dtype: indices.type as 'int32' })
    return emitOne({ op: 'GatherND', inputs: [params, cast(indices, 'int64')] }, shape)
  },
  Bincount: (inputs, attributes) => {
    const x = take(inputs, 'x')
    return counted(reshaped(x, [sizeOf(x.shape)]), take(inputs, 'weights'), numberAttribute(attributes, 'size'), false)
  },
  DenseBincount: (inputs, attributes) =>
    counted(take(inputs, 'x'), take(inputs, 'weights'), numberAttribute(attributes, 'size'), attributes.binaryOutput === true),
  /** Where values [B, M] would stand in sorted rows [B, S]: before ('left') or behind ('right') what is equal. */
  SearchSorted: (inputs, attributes) => {
    const [rows, values] = [take(inputs, 'sortedSequence'), take(inputs, 'values')]
    const column = reshaped(rows, [at(rows.shape, 0), 1, at(rows.shape, 1)])
    const before = binary(attributes.side === 'left' ? 'Less' : 'LessOrEqual', column, reshaped(values, [...values.shape, 1]), 'bool')
    return reduce('ReduceSum', cast(before, 'int32'), [2], false)
  },
}
