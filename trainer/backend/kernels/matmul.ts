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
    // Its own errors: an output index that no input has, more than two inputs, an index twice in one.
    tf.backend_util.decodeEinsumEquation(equation, values.length)
    const [left = '', right = ''] = equation.split('->')
    const sizes = new Map<string, number>()
    left.split(',').forEach((labels, index) => {
      const own = values[index]?.shape ?? []
      if (own.length !== labels.length) throw new Error(`"${labels}" names ${String(labels.length)} axes of [${own.join(', ')}]`)
      Array.from(labels).forEach((label, axis) => {
        const size = own[axis] ?? 0
        const before = sizes.get(label) ?? size
        if (before !== size) throw new Error(`expected dimension ${String(before)} at axis ${String(axis)} of input shaped [${own.join()}], got ${String(size)}`)
        sizes.set(label, size)
      })
    })
    const shape = Array.from(right, label => sizes.get(label) ?? 0)
    return emitOne({ op: 'Einsum', inputs: values, attributes: { equation } }, shape)
  },
  BatchMatMul: (inputs, attributes) => product(take(inputs, 'a'), take(inputs, 'b'), attributes),
}
