/**
 * Products in eight bits (dynamic quantisation): weights are int8 in the file, one scale a column; what they are multiplied with
 * becomes uint8 at run time, by the range that it has in this batch.
 */
import { cast } from '../backend/kernels/elementwise.js'
import { constant, emit, emitOne, type ElementArray, type Value } from '../backend/graph.js'
import { rebuilt } from '../backend/rewrite.js'

/**
 * Largest weight of a column. Processors without VNNI add two products uint8 × int8 in sixteen saturating bits: 2 · 255 · 64 fits
 * them, 2 · 255 · 127 does not, and a model must answer alike on every box.
 */
const levels = 64

/**
 * The same graph with its products x [.., M, K] · w [K, N] in integers wherever w is the data of one of `weights`; other constant
 * matrices stay as they are. To be applied before the graph is rewritten.
 */
export function withInt8Products(outputs: readonly Value[], weights: readonly Value[]): Value[] {
  const learned = new Set(weights.flatMap(({ origin }) => (origin.kind === 'constant' ? [origin.data] : [])))
  const quantised = new Map<ElementArray, QuantisedMatrix>()
  return rebuilt(outputs, (_, made) => {
    const [product] = made
    if (product?.origin.kind !== 'node' || product.origin.node.op !== 'MatMul') return made
    const [x, w] = product.origin.node.inputs
    if (!x || w?.origin.kind !== 'constant' || w.shape.length !== 2 || !learned.has(w.origin.data)) return made
    const matrix = quantised.get(w.origin.data) ?? quantisedColumns(w)
    quantised.set(w.origin.data, matrix)
    return [int8Product(x, matrix, product.shape)]
  })
}

interface QuantisedMatrix {
  /** int8 [K, N]. */
  values: Value
  /** float32 [N]: what a one of the column stands for. */
  scales: Value
}

/** Symmetric, each column by its own largest weight; a column of zeros stays one. */
function quantisedColumns({ shape, origin }: Value): QuantisedMatrix {
  const [rows = 0, columns = 0] = shape
  if (origin.kind !== 'constant' || !(origin.data instanceof Float32Array)) throw new Error(`weights [${String(rows)}, ${String(columns)}] that are no float32 constant cannot be quantised`)
  const { data } = origin
  const largest = new Float32Array(columns)
  data.forEach((value, index) => { largest[index % columns] = Math.max(largest[index % columns] ?? 0, Math.abs(value)) })
  const scales = largest.map(value => (value > 0 ? value / levels : 1))
  const values = Int8Array.from(data, (value, index) => Math.round(value / (scales[index % columns] ?? 1)))
  return { values: constant('int8', shape, values), scales: constant('float32', [columns], scales) }
}

/** The integer product, and back to real numbers by the scales of both sides. */
function int8Product(x: Value, { values, scales }: QuantisedMatrix, shape: readonly number[]): Value {
  const [bytes, scale, zero] = emit({ op: 'DynamicQuantizeLinear', inputs: [x] }, [
    { type: 'uint8', shape: x.shape }, { type: 'float32', shape: [] }, { type: 'uint8', shape: [] },
  ]) as [Value, Value, Value]
  const sums = emitOne({ op: 'MatMulInteger', inputs: [bytes, values, zero] }, shape, 'int32')
  return emitOne({ op: 'Mul', inputs: [cast(sums, 'float32'), emitOne({ op: 'Mul', inputs: [scale, scales] }, scales.shape)] }, shape)
}
