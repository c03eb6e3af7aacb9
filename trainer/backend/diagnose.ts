/** Finds where numbers stop being numbers: the graph once more, plainly, with a count beside every value. */
import { backend, backendName } from './backend.js'
import { typeOf } from './describe.js'
import { emitOne, inOrder, reshaped, sizeOf, withSites, type Value } from './graph.js'
import { Session } from './session.js'
import * as tf from './tf.js'
import { leaves, pathsOf, type TensorTree } from './tree.js'

/**
 * Which operation is the first to give a number that is not finite, with its shapes and the line that asked for it. `record` traces the
 * function on `inputs`, which stand for `args`.
 */
export async function firstNotFinite(
  args: readonly TensorTree[], inputs: readonly Value[], { name, threads }: { name: string; threads: number }, record: () => readonly Value[],
): Promise<string> {
  for (const [index, tensor] of leaves(args).entries()) {
    if (tensor.dtype === 'float32' && !(await tensor.data<'float32'>()).every(Number.isFinite)) {
      return `the argument ${[...pathsOf(args).keys()][index] ?? ''} of "${name}" holds numbers that are not finite`
    }
  }
  if (tf.getBackend() !== backendName) return `no argument of "${name}" holds such a number`
  const values = inOrder(withSites(record)).flatMap(node => node.outputs.filter(({ type }) => type === 'float32'))
  const options = { device: backend.device, threads, optimise: false, name: `${name}-diagnosis` }
  const session = await Session.compile(inputs, values.map(countNotFinite), options)
  const counts = await session.run(await Promise.all(leaves(args).map(tensor => backend.feed(tensor))))
  await session.release()
  const first = values.find((_, index) => (counts[index] as Float32Array)[0] !== 0)
  if (first?.origin.kind !== 'node') return `no operation of "${name}" gives such a number when it is run again`
  const { op, inputs: given, site } = first.origin.node
  const shapes = given.map(typeOf).join(', ')
  return `the first operation of "${name}" to give numbers that are not finite is ${op} of ${shapes}, at ${site ?? 'an unknown place'}`
}

/** How many elements are not finite [1]. */
function countNotFinite(x: Value): Value {
  const test = (op: string) => emitOne({ op, inputs: [x] }, x.shape, 'bool')
  const either = emitOne({ op: 'Or', inputs: [test('IsNaN'), test('IsInf')] }, x.shape, 'bool')
  const flat = reshaped(emitOne({ op: 'Cast', inputs: [either], attributes: { to: 1 } }, x.shape, 'float32'), [sizeOf(x.shape)])
  return emitOne({ op: 'ReduceSum', inputs: [flat], attributes: { keepdims: 1 } }, [1])
}
