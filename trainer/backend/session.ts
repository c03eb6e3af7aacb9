/** One compiled graph in onnxruntime-node. */
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { lower, type NamedValue } from './lower.js'
import type { ElementArray, Value } from './graph.js'

export interface SessionOptions {
  /** Threads inside one operation; 1 for a lane. */
  threads: number
  /** Off for a graph that runs once: optimising it costs more than it saves. */
  optimise: boolean
}

export class Session {
  private readonly session: InferenceSession
  private readonly inputs: readonly Value[]
  private readonly outputs: readonly Value[]

  private constructor(session: InferenceSession, inputs: readonly Value[], outputs: readonly Value[]) {
    this.session = session
    this.inputs = inputs
    this.outputs = outputs
  }

  static async compile(inputs: readonly Value[], outputs: readonly Value[], options: SessionOptions): Promise<Session> {
    const name = (prefix: string) => (value: Value, index: number): NamedValue => ({ name: `${prefix}${String(index)}`, value })
    const model = lower({ inputs: inputs.map(name('input')), outputs: outputs.map(name('output')) })
    const session = await InferenceSession.create(model, {
      executionProviders: ['cpu'],
      intraOpNumThreads: options.threads,
      interOpNumThreads: 1,
      graphOptimizationLevel: options.optimise ? 'all' : 'disabled',
      logSeverityLevel: 3,
    })
    return new Session(session, inputs, outputs)
  }

  /** Runs the graph on arrays in the order of the inputs; bool travels as bytes. */
  async run(feeds: readonly ElementArray[]): Promise<ElementArray[]> {
    const named: Record<string, Tensor> = {}
    this.inputs.forEach((value, index) => {
      const data = feeds[index]
      if (!data) throw new Error(`input ${String(index)} of the session is missing`)
      named[`input${String(index)}`] = toTensor(value, data)
    })
    const results = await this.session.run(named)
    return this.outputs.map((_, index) => {
      const data = results[`output${String(index)}`]?.data
      if (data instanceof Float32Array || data instanceof Int32Array || data instanceof Uint8Array) return data
      throw new Error(`output ${String(index)} of the session has an element type that is not handled`)
    })
  }

  async release(): Promise<void> {
    await this.session.release()
  }
}

function toTensor(value: Value, data: ElementArray): Tensor {
  if (data instanceof Float32Array) return new Tensor('float32', data, value.shape)
  if (data instanceof Int32Array) return new Tensor('int32', data, value.shape)
  if (data instanceof BigInt64Array) return new Tensor('int64', data, value.shape)
  return value.type === 'bool' ? new Tensor('bool', data, value.shape) : new Tensor('uint8', data, value.shape)
}
