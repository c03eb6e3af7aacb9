/** Matrix products: `Gemm` where one matrix meets one matrix, `MatMul` and `FusedMatMul` over a batch. */
import * as tf from '../tf.js'
import { emitOne, reshaped, sizeOf, type Value } from '../graph.js'
import { broadcastShape } from './elementwise.js'
import { take, type KernelAttributes, type KernelTable } from './kernel.js'

/** a [..., M, K] times b [..., K, N]; `transposeA` and `transposeB` swap the last two axes first. */
export function product(a: Value, b: Value, attributes: KernelAttributes): Value {
  const transA = attributes.transposeA === true ? 1 : 0
  const transB = attributes.transposeB === true ? 1 : 0
  const [rowsA, columnsA] = a.shape.slice(-2)
  const [rowsB, columnsB] = b.shape.slice(-2)
  const [m, innerA] = transA ? [columnsA, rowsA] : [rowsA, columnsA]
  const [innerB, n] = transB ? [columnsB, rowsB] : [rowsB, columnsB]
  if (m === undefined || n === undefined || innerA !== innerB) {
    throw new Error(`[${a.shape.join(', ')}]${transA ? 'ᵀ' : ''} times [${b.shape.join(', ')}]${transB ? 'ᵀ' : ''} do not fit`)
  }
  const batch = broadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2))
  if (sizeOf(batch) === 1) {
    const plain = [reshaped(a, a.shape.slice(-2)), reshaped(b, b.shape.slice(-2))]
    // ORT fuses a plain MatMul with the bias that follows it; Gemm spares the transposes.
    const product = transA || transB
      ? emitOne({ op: 'Gemm', inputs: plain, attributes: { transA, transB } }, [m, n])
      : emitOne({ op: 'MatMul', inputs: plain }, [m, n])
    return reshaped(product, [...batch, m, n])
  }
  const emission = transA || transB
    ? { op: 'FusedMatMul', domain: 'com.microsoft' as const, inputs: [a, b], attributes: { transA, transB } }
    : { op: 'MatMul', inputs: [a, b] }
  return emitOne(emission, [...batch, m, n])
}

export const products: KernelTable = {
  Einsum: (inputs, attributes) => {
    const values = Object.values(inputs)
    const equation = String(attributes.equation).replaceAll(' ', '')
    const { allDims, idDims } = tf.backend_util.decodeEinsumEquation(equation, values.length)
    tf.backend_util.checkEinsumDimSizes(allDims.length, idDims, values as unknown as tf.Tensor[])
    const [left = '', right = ''] = equation.split('->')
    const sizes = new Map(left.split(',').flatMap((labels, index) => Array.from(labels, (label, axis) => [label, values[index]?.shape[axis] ?? 0])))
    const shape = Array.from(right, label => sizes.get(label) ?? 0)
    return emitOne({ op: 'Einsum', inputs: values, attributes: { equation } }, shape)
  },
  BatchMatMul: (inputs, attributes) => product(take(inputs, 'a'), take(inputs, 'b'), attributes),
}
