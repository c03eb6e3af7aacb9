/** One compiled graph in onnxruntime-node. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { InferenceSession, Tensor, waitsQuietly } from './onnxruntime.js'
import { described } from './describe.js'
import { lower, type NamedValue } from './lower.js'
import { rewritten, type RewriteName } from './rewrite.js'
import { sizeOf, type ElementArray, type Value } from './graph.js'

export type Device = 'cpu' | 'webgpu' | 'cuda'

/** For measurements of what a part of the engine brings. */
export interface SessionStudy {
  /** Rewrites that are left out. */
  without?: readonly RewriteName[]
  /** False: onnxruntime runs the graph as it is lowered, with nothing folded or fused. */
  graphOptimisation?: boolean
}

export interface SessionOptions extends SessionStudy {
  device: Device
  /** Threads inside one operation; 1 for a lane. */
  threads: number
  /** Off for a graph that runs once: optimising it costs more than it saves. */
  optimise: boolean
  /** What the files are called that `PAWL_GRAPHS` asks for. */
  name: string
}

/** An array on the host, or a tensor that lies on the device. */
export type Feed = ElementArray | Tensor

/** Results of up to so many elements come to the host at once; larger ones stay on a device until somebody reads them. */
const largestOnHost = 4096

/** Operations of `com.microsoft` that the rewrites use exist on these devices only. */
const devicesWithContrib: readonly Device[] = ['cpu', 'cuda']

let written = 0

export type ValueType = Pick<Value, 'type' | 'shape'>

export class Session {
  /** Types and shapes of the outputs; the recorded graph itself may be forgotten. */
  readonly outputs: readonly ValueType[]
  /** Nodes that were lowered. */
  readonly nodes: number
  private readonly session: InferenceSession
  private readonly inputs: readonly ValueType[]

  private constructor(session: InferenceSession, inputs: readonly ValueType[], outputs: readonly ValueType[], nodes: number) {
    this.session = session
    this.inputs = inputs
    this.outputs = outputs
    this.nodes = nodes
  }

  /** `stay` keeps large results on the device. Errors: what onnxruntime says of the graph or of the device. */
  static async compile(inputs: readonly Value[], outputs: readonly Value[], options: SessionOptions, stay = false): Promise<Session> {
    const { device, threads, optimise, without, graphOptimisation = true, name } = options
    const named = (prefix: string) => (value: Value, index: number): NamedValue => ({ name: `${prefix}${String(index)}`, value })
    const values = optimise ? rewritten(outputs, { without: without ?? [], contrib: devicesWithContrib.includes(device) }) : outputs
    const graph = { inputs: inputs.map(named('input')), outputs: values.map(named('output')) }
    const { model, nodes } = lower(graph)
    const folder = process.env.PAWL_GRAPHS
    if (folder) {
      const path = join(folder, `${name}-${String(process.pid)}-${String(written++)}`)
      mkdirSync(folder, { recursive: true })
      writeFileSync(`${path}.onnx`, model)
      writeFileSync(`${path}.txt`, described(graph))
    }
    const location = (value: Value) => (stay && sizeOf(value.shape) > largestOnHost ? 'gpu-buffer' : 'cpu')
    const session = await InferenceSession.create(model, {
      executionProviders: device === 'cpu' ? ['cpu'] : [device, 'cpu'],
      intraOpNumThreads: threads,
      extra: waitsQuietly,
      interOpNumThreads: 1,
      // One block for all values of a run is larger than what the arena hands out and takes back, and no faster.
      enableMemPattern: false,
      graphOptimizationLevel: optimise && graphOptimisation ? 'all' : 'disabled',
      logSeverityLevel: 3,
      ...(device === 'webgpu' ? { preferredOutputLocation: Object.fromEntries(graph.outputs.map(output => [output.name, location(output.value)])) } : {}),
    })
    const typesOf = (all: readonly Value[]) => all.map(({ type, shape }) => ({ type, shape }))
    return new Session(session, typesOf(inputs), typesOf(outputs), nodes)
  }

  /**
   * Runs the graph on values in the order of the inputs; bool travels as bytes. `into`: arrays that the results are written to,
   * instead of new ones.
   */
  async run(feeds: readonly Feed[], into?: readonly ElementArray[]): Promise<Feed[]> {
    const named: Record<string, Tensor> = {}
    this.inputs.forEach((value, index) => {
      const feed = feeds[index]
      if (!feed) throw new Error(`input ${String(index)} of the session is missing`)
      named[`input${String(index)}`] = 'location' in feed ? feed : toTensor(value, feed)
    })
    if (into) {
      await this.session.run(named, Object.fromEntries(this.outputs.map((value, index) =>
        [`output${String(index)}`, toTensor(value, into[index] ?? arrayFor(value))])))
      return [...into]
    }
    const results = await this.session.run(named)
    return this.outputs.map((_, index) => {
      const result = results[`output${String(index)}`]
      if (result?.location === 'gpu-buffer') return result
      const data = result?.data
      if (data instanceof Float32Array || data instanceof Int32Array || data instanceof Uint8Array) return data
      throw new Error(`output ${String(index)} of the session has an element type that is not handled`)
    })
  }

  async release(): Promise<void> {
    await this.session.release()
  }
}

/** An array for the elements of a value. */
export function arrayFor({ type, shape }: ValueType): ElementArray {
  const size = sizeOf(shape)
  return type === 'float32' ? new Float32Array(size) : type === 'int32' ? new Int32Array(size) : new Uint8Array(size)
}

function toTensor(value: ValueType, data: ElementArray): Tensor {
  if (data instanceof Float32Array) return new Tensor('float32', data, value.shape)
  if (data instanceof Int32Array) return new Tensor('int32', data, value.shape)
  if (data instanceof BigInt64Array) return new Tensor('int64', data, value.shape)
  if (data instanceof Int8Array) return new Tensor('int8', data, value.shape)
  return value.type === 'bool' ? new Tensor('bool', data, value.shape) : new Tensor('uint8', data, value.shape)
}
