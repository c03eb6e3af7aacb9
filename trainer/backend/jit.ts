/**
 * jit(fn): the one seam between the trainer and the engine. On `onnxruntime` the first call for a signature traces
 * `fn` into a graph and compiles it; later calls replay the session without dispatching any operation. On an eager
 * backend `fn` just runs.
 *
 * INVARIANTS of a traced function
 * - State goes in and comes out: tensors that `fn` closes over are baked into the graph as constants.
 * - Nothing inside may read a tensor's data; randomness comes in as an argument.
 */
import * as tf from './tf.js'
import { backend, backendName } from './backend.js'
import { input, type Value } from './graph.js'
import { Session } from './session.js'

/** Tensors in nested arrays and objects. */
export type TensorTree = tf.Tensor | readonly TensorTree[] | { readonly [key: string]: TensorTree }

export interface JitOptions {
  /** Threads inside one operation; a lane takes 1. */
  threads: number
}

interface Compiled {
  session: Session
  outputs: readonly Value[]
  rebuild: (tensors: readonly tf.Tensor[]) => TensorTree
}

export type Jitted<A extends readonly TensorTree[], R extends TensorTree> = ((...args: A) => Promise<R>) & {
  /** Milliseconds spent inside sessions since the start. */
  readonly sessionMs: () => number
  /** Signatures compiled so far; a growing count means that shapes change from call to call. */
  readonly compilations: () => number
  release: () => Promise<void>
}

export function jit<A extends readonly TensorTree[], R extends TensorTree>(fn: (...args: A) => R, options: JitOptions): Jitted<A, R> {
  const compiled = new Map<string, Compiled>()
  let sessionMs = 0

  const call = async (...args: A): Promise<R> => {
    if (tf.getBackend() !== backendName) return runEagerly(() => fn(...args))
    const tensors = leaves(args)
    const key = signature(args)
    let entry = compiled.get(key)
    if (!entry) {
      entry = await compile(fn, args, tensors, options)
      compiled.set(key, entry)
    }
    const feeds = await Promise.all(tensors.map(async tensor => arrayOf(await tensor.data())))
    const start = performance.now()
    const results = await entry.session.run(feeds)
    sessionMs += performance.now() - start
    const made = entry.outputs.map((value, index) => {
      const data = results[index]
      if (!data || data instanceof BigInt64Array) throw new Error('an output has an element type that no tensor has')
      return tf.tensor(data, [...value.shape], dtypeOf(value))
    })
    return entry.rebuild(made) as R
  }
  return Object.assign(call, {
    sessionMs: () => sessionMs,
    compilations: () => compiled.size,
    release: async () => {
      for (const { session } of compiled.values()) await session.release()
      compiled.clear()
    },
  })
}

async function compile<A extends readonly TensorTree[]>(
  fn: (...args: A) => TensorTree, args: A, tensors: readonly tf.Tensor[], options: JitOptions,
): Promise<Compiled> {
  const inputs = tensors.map((tensor, index) => input(`input${String(index)}`, dtypeFor(tensor), tensor.shape))
  const { outputs, rebuild } = trace(() => {
    const symbols = inputs.map(value => tf.engine().makeTensorFromTensorInfo(backend.adopt(value)))
    return fn(...(rebuilder(args)(symbols) as A))
  })
  return { session: await Session.compile(inputs, outputs, { threads: options.threads, optimise: true }), outputs, rebuild }
}

/** Records what `fn` computes and gives the values of its results, in the order of `leaves`. */
export function trace(fn: () => TensorTree): { outputs: Value[]; rebuild: Compiled['rebuild'] } {
  let rebuild: Compiled['rebuild'] | null = null
  const results = tf.tidy(() => {
    const tree = fn()
    rebuild = rebuilder(tree)
    return leaves(tree)
  })
  const outputs = results.map(tensor => backend.graphValue(tensor))
  tf.dispose(results)
  if (!rebuild) throw new Error('nothing was traced')
  return { outputs, rebuild }
}

async function runEagerly<R extends TensorTree>(fn: () => R): Promise<R> {
  let rebuild: Compiled['rebuild'] | null = null
  const results = tf.tidy(() => {
    const tree = fn()
    rebuild = rebuilder(tree)
    return leaves(tree)
  })
  await Promise.resolve()
  return (rebuild as Compiled['rebuild'] | null)?.(results) as R
}

export function leaves(tree: TensorTree): tf.Tensor[] {
  if (tree instanceof tf.Tensor) return [tree]
  return Object.values(tree).flatMap((branch: TensorTree) => leaves(branch))
}

/** A function that puts tensors, in the order of `leaves`, into the shape of `tree`. */
function rebuilder(tree: TensorTree): (tensors: readonly tf.Tensor[]) => TensorTree {
  return tensors => {
    let next = 0
    const build = (branch: TensorTree): TensorTree => {
      if (branch instanceof tf.Tensor) {
        const tensor = tensors[next++]
        if (!tensor) throw new Error('fewer tensors than the structure holds')
        return tensor
      }
      if (Array.isArray(branch)) return branch.map((inner: TensorTree) => build(inner))
      return Object.fromEntries(Object.entries(branch).map(([key, inner]) => [key, build(inner as TensorTree)]))
    }
    return build(tree)
  }
}

function signature(tree: TensorTree): string {
  if (tree instanceof tf.Tensor) return `${tree.dtype}[${tree.shape.join()}]`
  return `{${Object.entries(tree).map(([key, branch]) => `${key}:${signature(branch as TensorTree)}`).join()}}`
}

function dtypeFor(tensor: tf.Tensor): 'float32' | 'int32' | 'bool' {
  if (tensor.dtype === 'float32' || tensor.dtype === 'int32' || tensor.dtype === 'bool') return tensor.dtype
  throw new Error(`jit takes no tensors of type ${tensor.dtype}`)
}

function dtypeOf(value: Value): 'float32' | 'int32' | 'bool' {
  if (value.type === 'float32' || value.type === 'int32' || value.type === 'bool') return value.type
  throw new Error(`jit returns no tensors of type ${value.type}`)
}

function arrayOf(data: Float32Array | Int32Array | Uint8Array | string[]): Float32Array | Int32Array | Uint8Array {
  if (Array.isArray(data)) throw new Error('jit takes no strings')
  return data
}
