/**
 * jit(fn): the one seam between the trainer and the engine. On `onnxruntime` the first call for a signature traces
 * `fn` into a graph and compiles it; later calls replay the session without dispatching any operation. On an eager
 * backend `fn` just runs.
 *
 * INVARIANTS of a traced function
 * - State goes in and comes out: tensors that `fn` closes over are baked into the graph as constants.
 * - Nothing inside may read a tensor's data or draw from Math.random: both raise an error that says where.
 */
import * as tf from './tf.js'
import { backend, backendName } from './backend.js'
import { callSite } from './call-site.js'
import { firstNotFinite } from './diagnose.js'
import type { ElementArray, Value } from './graph.js'
import { arrayFor, Session, type SessionStudy } from './session.js'
import { leaves, pathsOf, rebuilder, type TensorTree } from './tree.js'

export type { TensorTree } from './tree.js'

export interface JitOptions extends SessionStudy {
  /** What errors and debug files call the function. */
  name: string
  /** Threads inside one operation; a lane takes 1. */
  threads: number
  /** Results are written over those of the call before: they hold until the next call. Off a host's memory it changes nothing. */
  reuse?: boolean
}

/** One signature that was compiled, and why the ones before it did not serve. */
export interface Compilation {
  /** The arguments that differ from the signature that was compiled before; empty for the first. */
  changed: string[]
  nodes: number
  traceMs: number
  compileMs: number
}

interface Compiled {
  session: Session
  into: ElementArray[] | undefined
  rebuild: (tensors: readonly tf.Tensor[]) => TensorTree
}

export type Jitted<A extends readonly TensorTree[], R extends TensorTree> = ((...args: A) => Promise<R>) & {
  /** Milliseconds spent inside sessions since the start. */
  readonly sessionMs: () => number
  /** Signatures compiled so far; a growing list means that shapes change from call to call. */
  readonly compilations: readonly Compilation[]
  /** Which operation is the first to give numbers that are not finite for these arguments, with its shapes and its place. */
  diagnose: (...args: A) => Promise<string>
  release: () => Promise<void>
  /** `await using` releases it. */
  [Symbol.asyncDispose]: () => Promise<void>
}

/** Errors: what `fn` raises while it is traced, with the place; what onnxruntime says of the graph. */
export function jit<A extends readonly TensorTree[], R extends TensorTree>(fn: (...args: A) => R, options: JitOptions): Jitted<A, R> {
  const compiled = new Map<string, Compiled>()
  const compilations: Compilation[] = []
  let latest: ReadonlyMap<string, string> | null = null
  let sessionMs = 0

  const call = async (...args: A): Promise<R> => {
    if (tf.getBackend() !== backendName) return runEagerly(() => fn(...args))
    const signature = pathsOf(args)
    const key = [...signature].join('\n')
    let entry = compiled.get(key)
    if (!entry) {
      const made = await compile(fn, args, options)
      entry = made.compiled
      compiled.set(key, entry)
      compilations.push({ ...made.report, changed: latest ? differences(latest, signature) : [] })
    }
    latest = signature
    const { session, into, rebuild } = entry
    const feeds = await Promise.all(leaves(args).map(tensor => backend.feed(tensor)))
    const start = performance.now()
    const results = await session.run(feeds, into)
    sessionMs += performance.now() - start
    return rebuild(session.outputs.map((value, index) => backend.tensorOf(value, results[index]))) as R
  }
  const release = async () => {
    for (const { session } of compiled.values()) await session.release()
    compiled.clear()
  }
  return Object.assign(call, {
    sessionMs: () => sessionMs,
    compilations,
    diagnose: (...args: A) => {
      const inputs = inputsFor(args)
      return firstNotFinite(args, inputs, options, () => traced(fn, args, inputs, options.name).outputs)
    },
    release,
    [Symbol.asyncDispose]: release,
  })
}

async function compile<A extends readonly TensorTree[]>(
  fn: (...args: A) => TensorTree, args: A, options: JitOptions,
): Promise<{ compiled: Compiled; report: Omit<Compilation, 'changed'> }> {
  const start = performance.now()
  const { name, reuse, ...rest } = options
  const inputs = inputsFor(args)
  const { outputs, rebuild } = traced(fn, args, inputs, name)
  const tracedAt = performance.now()
  const session = await Session.compile(inputs, outputs, { ...rest, name, device: backend.device, optimise: true }, true)
  const into = reuse && backend.device === 'cpu' ? session.outputs.map(arrayFor) : undefined
  const compileMs = performance.now() - tracedAt
  return { compiled: { session, into, rebuild }, report: { nodes: session.nodes, traceMs: tracedAt - start, compileMs } }
}

function inputsFor(args: readonly TensorTree[]): Value[] {
  return [...pathsOf(args).keys()].map((path, index) => backend.inputFor(path, leaves(args)[index] as tf.Tensor))
}

/** Records `fn` on symbols that stand for its arguments. */
function traced<A extends readonly TensorTree[]>(fn: (...args: A) => TensorTree, args: A, inputs: readonly Value[], name: string) {
  return trace(name, () => {
    const symbols = inputs.map(value => tf.engine().makeTensorFromTensorInfo(backend.adopt(value)))
    return fn(...(rebuilder(args)(symbols) as A))
  })
}

/** Records what `fn` computes and gives the values of its results, in the order of `leaves`. */
export function trace(name: string, fn: () => TensorTree): { outputs: Value[]; rebuild: Compiled['rebuild'] } {
  const random = Math.random
  Math.random = () => {
    throw new Error(`Math.random is called while "${name}" is traced, at ${callSite()}: the draw would be the same at every call; draw outside of jit and hand it in as an argument`)
  }
  backend.tracing = name
  try {
    const { results, rebuild } = tidied(fn)
    const outputs = results.map(tensor => backend.graphValue(tensor))
    tf.dispose(results)
    return { outputs, rebuild }
  } catch (cause) {
    if (cause instanceof Error && cause.message.startsWith('Kernel ')) {
      throw new Error(`${cause.message}; asked for while "${name}" is traced, at ${callSite(cause.stack)}`, { cause })
    }
    throw cause
  } finally {
    backend.tracing = null
    Math.random = random
  }
}

async function runEagerly<R extends TensorTree>(fn: () => R): Promise<R> {
  const { results, rebuild } = tidied(fn)
  await Promise.resolve()
  return rebuild(results) as R
}

/** Runs `fn`, keeps its results alone, and tells how to put them back into its structure. */
function tidied(fn: () => TensorTree): { results: tf.Tensor[]; rebuild: Compiled['rebuild'] } {
  let rebuild: Compiled['rebuild'] = () => { throw new Error('nothing was computed') }
  const results = tf.tidy(() => {
    const tree = fn()
    rebuild = rebuilder(tree)
    return leaves(tree)
  })
  return { results, rebuild }
}

/** `arg 2.labeled: float32[16,49,48], before float32[8,49,48]`. */
function differences(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): string[] {
  return [...new Set([...before.keys(), ...now.keys()])].flatMap(path =>
    before.get(path) === now.get(path) ? [] : [`${path}: ${now.get(path) ?? 'gone'}, before ${before.get(path) ?? 'not there'}`])
}
