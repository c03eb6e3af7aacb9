/** Matrix products, recorded plainly; `../rewrite.ts` lays transposes, factors and sums into them. */
import * as tf from '../tf.js'
import { emitOne, reshaped, sizeOf, type Value } from '../graph.js'
import { broadcastShape } from './elementwise.js'
import { take, type KernelAttributes, type KernelTable } from './kernel.js'
import { transposed } from './shape.js'

/** a [..., M, K] times b [..., K, N]; `transposeA` and `transposeB` swap the last two axes first. */
export function product(givenA: Value, givenB: Value, { transposeA, transposeB }: KernelAttributes): Value {
  const batch = broadcastShape(givenA.shape.slice(0, -2), givenB.shape.slice(0, -2))
  const single = sizeOf(batch) === 1
  const operand = (given: Value, swapped: boolean): Value => {
    const matrices = single ? reshaped(given, given.shape.slice(-2)) : given
    return swapped ? turned(matrices) : matrices
  }
  const [a, b] = [operand(givenA, transposeA === true), operand(givenB, transposeB === true)]
  const [m, inner] = a.shape.slice(-2)
  const [innerB, n] = b.shape.slice(-2)
  if (m === undefined || n === undefined || inner !== innerB) throw new Error(`[${a.shape.join(', ')}] times [${b.shape.join(', ')}] do not fit`)
  const made = emitOne({ op: 'MatMul', inputs: [a, b] }, single ? [m, n] : [...batch, m, n])
  return reshaped(made, [...batch, m, n])
}

/** The last two axes swapped. */
function turned(x: Value): Value {
  const rank = x.shape.length
  return transposed(x, [...x.shape.keys()].map(axis => (axis < rank - 2 ? axis : 2 * rank - 3 - axis)))
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
