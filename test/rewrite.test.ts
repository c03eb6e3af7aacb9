/** Every rewrite of the graph does what it says, and changes no number. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import fc from 'fast-check'
import { backendName, registerOnnxRuntimeBackend } from '../trainer/backend/backend.js'
import { constant, emitOne, inOrder, input, type Value } from '../trainer/backend/graph.js'
import { jit, type TensorTree } from '../trainer/backend/jit.js'
import { rewriteNames, rewritten } from '../trainer/backend/rewrite.js'
import { Session } from '../trainer/backend/session.js'
import * as tf from '../trainer/backend/tf.js'
import { activations, block, type Activation } from '../trainer/model/layers.js'
import { draw } from './both-backends.js'

registerOnnxRuntimeBackend()
beforeEach(async () => { await tf.setBackend(backendName) })
const compiled: Session[] = []
afterEach(async () => { for (const session of compiled.splice(0)) await session.release() })

const [a, b] = [input('input0', 'float32', [3, 4]), input('input1', 'float32', [4, 5])]
const product = (left = a, right = b) => emitOne({ op: 'MatMul', inputs: [left, right] }, [left.shape[0] ?? 0, right.shape[1] ?? 0])
const transposed = (x: Value, perm: number[]) => emitOne({ op: 'Transpose', inputs: [x], attributes: { perm } }, perm.map(axis => x.shape[axis] ?? 0))
const number = (value: number) => constant('float32', [], Float32Array.of(value))
const row = constant('float32', [5], Float32Array.of(1, 2, 3, 4, 5))

const operations = (value: Value) => inOrder([value]).map(({ op }) => op)
const attributes = (value: Value) => (value.origin.kind === 'node' ? value.origin.node.attributes : null)

/** Results of the graph as it is recorded, and as it is rewritten. */
async function bothWays(inputs: Value[], value: Value, contrib = true): Promise<number[][]> {
  const feeds = await Promise.all(inputs.map(async ({ shape }, index) => await draw([...shape], 5 + index).data() as Float32Array))
  const results: number[][] = []
  for (const output of [value, ...rewritten([value], { contrib })]) {
    const session = await Session.compile(inputs, [output], { device: 'cpu', threads: 1, optimise: false, name: 'test' })
    compiled.push(session)
    const [made] = await session.run(feeds)
    results.push([...made as Float32Array])
  }
  return results
}

async function expectUnchanged(inputs: Value[], value: Value, contrib = true): Promise<void> {
  const [plain = [], other = []] = await bothWays(inputs, value, contrib)
  expect(other).toHaveLength(plain.length)
  plain.forEach((number, index) => { expect(other[index]).toBeCloseTo(number, 4) })
}

describe('rewrites', () => {
  it('compute what is the same once', async () => {
    const sum = emitOne({ op: 'Add', inputs: [product(), product()] }, [3, 5])
    const [value = sum] = rewritten([sum], { contrib: true, without: ['sums'] })
    expect(operations(value)).toEqual(['MatMul', 'Add'])
    await expectUnchanged([a, b], sum)
  })

  it('keep two operations apart that differ in an attribute alone', () => {
    const [one, two] = [[0, 1], [1, 0]].map(perm => transposed(input('input0', 'float32', [3, 3]), perm))
    const sum = emitOne({ op: 'Add', inputs: [one as Value, two as Value] }, [3, 3])
    expect(operations(rewritten([sum], { contrib: true })[0] ?? sum)).toEqual(['Transpose', 'Transpose', 'Add'])
  })

  it('lay a factor into the product that it scales, or that it is scaled for', async () => {
    for (const scaled of [
      emitOne({ op: 'Mul', inputs: [product(), number(0.5)] }, [3, 5]),
      product(emitOne({ op: 'Mul', inputs: [number(0.5), a] }, [3, 4])),
    ]) {
      const [value = scaled] = rewritten([scaled], { contrib: false })
      expect(operations(value)).toEqual(['Gemm'])
      expect(attributes(value)).toEqual({ alpha: { float: 0.5 } })
      await expectUnchanged([a, b], scaled)
    }
  })

  it('leave a factor where the product is needed without it too', () => {
    const made = product()
    const both = emitOne({ op: 'Sub', inputs: [emitOne({ op: 'Mul', inputs: [made, number(0.5)] }, [3, 5]), made] }, [3, 5])
    expect(operations(rewritten([both], { contrib: true })[0] ?? both)).toEqual(['MatMul', 'Mul', 'Sub'])
  })

  it('start a product from the matrix or the row that is added to it', async () => {
    const other = input('input2', 'float32', [3, 5])
    for (const term of [row, other]) {
      const sum = emitOne({ op: 'Add', inputs: [term, product()] }, [3, 5])
      expect(operations(rewritten([sum], { contrib: false })[0] ?? sum)).toEqual(['Gemm'])
      await expectUnchanged([a, b, other], sum)
    }
    const column = emitOne({ op: 'Add', inputs: [product(), input('input2', 'float32', [3, 1])] }, [3, 5])
    expect(operations(rewritten([column], { contrib: true })[0] ?? column)).toEqual(['MatMul', 'Add'])
  })

  it('read a stack of matrices however it lies, with any number of axes', async () => {
    const size = fc.integer({ min: 2, max: 5 })
    await fc.assert(fc.asyncProperty(
      fc.tuple(size, size, size, size, size), fc.constantFrom('plain', 'swapped', 'inFront'), fc.constantFrom('plain', 'swapped', 'inFront'),
      async ([stack, heads, m, k, n], lieA, lieB) => {
        const operand = (name: string, lie: 'plain' | 'swapped' | 'inFront', rows: number, columns: number) => {
          const given = { plain: [stack, heads, rows, columns], swapped: [stack, heads, columns, rows], inFront: [rows, stack, heads, columns] }[lie]
          const perm = { plain: null, swapped: [0, 1, 3, 2], inFront: [1, 2, 0, 3] }[lie]
          const source = input(name, 'float32', given)
          return { source, value: perm ? transposed(source, perm) : source }
        }
        const [left, right] = [operand('input0', lieA, m, k), operand('input1', lieB, k, n)]
        const made = emitOne({ op: 'MatMul', inputs: [left.value, right.value] }, [stack, heads, m, n])
        const [value = made] = rewritten([made], { contrib: true })
        expect(operations(value)).toEqual([lieA === 'plain' && lieB === 'plain' ? 'MatMul' : 'FusedMatMul'])
        await expectUnchanged([left.source, right.source], made)
      }), { numRuns: 20 })
  })

  it('leave a stack as it lies beside a single matrix, which onnxruntime takes no other way', async () => {
    const [stack, matrix] = [input('input0', 'float32', [3, 2, 4]), input('input1', 'float32', [4, 5])]
    const made = emitOne({ op: 'MatMul', inputs: [transposed(stack, [1, 0, 2]), matrix] }, [2, 3, 5])
    expect(operations(rewritten([made], { contrib: true })[0] ?? made)).toEqual(['Transpose', 'MatMul'])
    await expectUnchanged([stack, matrix], made)
  })

  it('use nothing but standard operations where an exported model asks for it', () => {
    const stack = input('input0', 'float32', [2, 3, 4])
    const made = emitOne({ op: 'MatMul', inputs: [transposed(stack, [0, 2, 1]), stack] }, [2, 4, 4])
    const [value = made] = rewritten([made], { contrib: false })
    expect(inOrder([value]).every(({ domain }) => domain === '')).toBe(true)
  })

  const kinds = Object.keys(activations) as Activation[]
  const cases = [...rewriteNames, 'all' as const].flatMap(left => kinds.map(activation => ({ left, activation })))
  it.each(cases)('a transformer block with $activation and its gradient come out the same without $left', async ({ left, activation }) => {
    const names = ['attention.query', 'attention.key', 'attention.value', 'attention.projection']
    const weights = () => ({
      ...Object.fromEntries(names.map((name, index) => [`b.${name}.weight`, draw([8, 8], index)])),
      'b.mlp.expand.weight': draw([8, 32], 40), 'b.mlp.contract.weight': draw([32, 8], 42),
    })
    const loss = (given: Record<string, tf.Tensor>, x: tf.Tensor) => tf.sum(tf.square(block(given, 'b', x as tf.Tensor2D, { tokens: 3, heads: 2, activation })))
    const slopes = (given: Record<string, tf.Tensor>, x: tf.Tensor): TensorTree => {
      const keys = Object.keys(given)
      const named = (values: tf.Tensor[]) => Object.fromEntries(values.map((value, index) => [keys[index] ?? '', value]))
      return tf.grads((input: tf.Tensor, ...values: tf.Tensor[]) => loss(named(values), input))([x, ...Object.values(given)])
    }
    const results = await Promise.all([[], left === 'all' ? [...rewriteNames] : [left]].map(async without => {
      const step = jit(slopes, { name: 'block', threads: 1, without })
      const made = await step(weights(), draw([6, 8], 7)) as tf.Tensor[]
      const numbers = await Promise.all(made.map(async tensor => [...await tensor.data()]))
      const nodes = step.compilations[0]?.nodes ?? 0
      await step.release()
      return { numbers: numbers.flat(), nodes }
    }))
    const [full, other] = results as [typeof results[number], typeof results[number]]
    full.numbers.forEach((value, index) => { expect(other.numbers[index]).toBeCloseTo(value, 3) })
    // A block computes nothing twice that its transposes do not hide.
    expect(full.nodes).toBeLessThan(other.nodes + (left === 'twins' ? 1 : 0))
  })
})
