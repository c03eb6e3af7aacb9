/**
 * The tfjs backend: every kernel call records a node and returns at once; data appears when somebody reads it.
 *
 * INVARIANTS
 * - An entry holds a value of the graph; when its data is on the host, the value is a constant over that data; when a session
 *   left it on the device, a resident.
 * - Reading computes what the entry needs in a session of its own and replaces the value by a constant, so that
 *   nothing is computed twice and the recorded nodes can be collected.
 */
import * as tf from './tf.js'
import { constant, inOrder, input, reshaped, sizeOf, type ElementArray, type ElementType, type Value } from './graph.js'
import { callSite } from './call-site.js'
import { kernels } from './kernels/index.js'
import { Session, type Device, type Feed, type ValueType } from './session.js'

export const backendName = 'onnxruntime'

interface Entry {
  value: Value
  references: number
}

type HostDataType = 'float32' | 'int32' | 'bool'

class OnnxRuntimeBackend extends tf.KernelBackend {
  /** Where sessions run. */
  device: Device = 'cpu'
  /** The name of the function that is being traced. */
  tracing: string | null = null
  private readonly entries = new Map<object, Entry>()

  override epsilon(): number {
    return 1e-7
  }

  override floatPrecision(): 32 {
    return 32
  }

  override timerAvailable(): boolean {
    return false
  }

  override memory(): { unreliable: boolean } {
    return { unreliable: false }
  }

  override dispose(): void {
    this.entries.clear()
  }

  override numDataIds(): number {
    return this.entries.size
  }

  override write(values: tf.BackendValues, shape: number[], dtype: tf.DataType): object {
    const dataId = {}
    this.move(dataId, values, shape, dtype, 1)
    return dataId
  }

  override move(dataId: object, values: tf.BackendValues, shape: number[], dtype: tf.DataType, references: number): void {
    const type = hostType(dtype)
    this.entries.set(dataId, { value: constant(type, shape, hostArray(values, type, sizeOf(shape))), references })
  }

  override refCount(dataId: object): number {
    return this.entries.get(dataId)?.references ?? 0
  }

  override incRef(dataId: object): void {
    this.entry(dataId).references++
  }

  decRef(dataId: object): void {
    this.entry(dataId).references--
  }

  override disposeData(dataId: object, force = false): boolean {
    const entry = this.entries.get(dataId)
    if (entry && !force && --entry.references > 0) return false
    this.entries.delete(dataId)
    const tensor = entry && residentOf(entry)
    // An operation that changes nothing hands the same value on.
    if (tensor && ![...this.entries.values()].some(other => residentOf(other) === tensor)) tensor.dispose()
    return true
  }

  override async read(dataId: object): Promise<tf.BackendValues> {
    this.refuseInTrace()
    const entry = this.entry(dataId)
    const { origin, type, shape } = entry.value
    if (origin.kind === 'constant') return toBackendValues(origin.data)
    const residents = residentsBelow(entry.value)
    const session = await Session.compile(residents.map(({ value }) => value), [entry.value], { device: this.device, threads: 1, optimise: false, name: 'read' })
    const [data] = await session.run(residents.map(({ tensor }) => tensor))
    await session.release()
    if (!data || 'location' in data) throw new Error('the session made no output on the host')
    // What lies on the device stays there for the next session.
    if (origin.kind !== 'resident') entry.value = constant(type, shape, data)
    return toBackendValues(data)
  }

  override readSync(dataId: object): tf.BackendValues {
    this.refuseInTrace()
    const { origin } = this.entry(dataId).value
    if (origin.kind === 'constant') return toBackendValues(origin.data)
    throw new Error('this backend computes asynchronously: read a tensor with `await tensor.data()`')
  }

  /** What a session takes in for a tensor: its data on the host, or the tensor on the device. */
  async feed(tensor: tf.Tensor): Promise<Feed> {
    const { origin } = this.entry(tensor.dataId).value
    if (origin.kind === 'resident') return origin.tensor
    const data = await tensor.data()
    if (Array.isArray(data)) throw new Error('this backend has no tensors of strings')
    return data as Feed
  }

  /** A graph input that stands for a tensor. Errors: a type that sessions do not take. */
  inputFor(name: string, { dtype, shape }: tf.Tensor): Value {
    return input(name, hostType(dtype), shape)
  }

  /** A tensor over what a session gave for `value`. */
  tensorOf({ type, shape }: ValueType, result: Feed | undefined): tf.Tensor {
    if (!result) throw new Error('the session made fewer outputs than the graph has')
    const value = 'location' in result
      ? { type, shape, origin: { kind: 'resident' as const, tensor: result } }
      : constant(type, shape, result)
    return tf.engine().makeTensorFromTensorInfo(this.adopt(value))
  }

  private refuseInTrace(): void {
    if (this.tracing !== null) {
      throw new Error(`a tensor is read while "${this.tracing}" is traced, at ${callSite()}: inside of jit nothing has a value yet; return the tensor and read it outside of jit`)
    }
  }

  /** The graph value behind a tensor, under the tensor's own shape. */
  graphValue(tensor: tf.TensorInfo): Value {
    return reshaped(this.entry(tensor.dataId).value, tensor.shape)
  }

  /** A tensor info that stands for a value of the graph. */
  adopt(value: Value): tf.TensorInfo {
    const dataId = {}
    this.entries.set(dataId, { value, references: 1 })
    return { dataId, shape: [...value.shape], dtype: hostType(value.type) }
  }

  /** Another tensor info over the same data: what tfjs expects of a copy. */
  share({ dataId, shape, dtype }: tf.TensorInfo): tf.TensorInfo {
    this.incRef(dataId)
    return { dataId, shape, dtype }
  }

  private entry(dataId: object): Entry {
    const entry = this.entries.get(dataId)
    if (!entry) throw new Error('the tensor was disposed, or belongs to another backend')
    return entry
  }
}

function residentOf({ value: { origin } }: Entry) {
  return origin.kind === 'resident' ? origin.tensor : null
}

/** The tensors on the device that a value is computed from. */
function residentsBelow(value: Value) {
  const leaves = new Set([value, ...inOrder([value]).flatMap(({ inputs }) => inputs)])
  return [...leaves].flatMap(leaf => (leaf.origin.kind === 'resident' ? [{ value: leaf, tensor: leaf.origin.tensor }] : []))
}

function hostType(type: tf.DataType | ElementType): HostDataType {
  if (type === 'float32' || type === 'int32' || type === 'bool') return type
  throw new Error(`the ${backendName} backend has no tensors of type ${type}`)
}

function hostArray(values: tf.BackendValues, type: HostDataType, size: number): ElementArray {
  const array = values as ArrayLike<number>
  if (array.length !== size) throw new Error(`${String(array.length)} values for a tensor of ${String(size)}`)
  if (type === 'float32') return values instanceof Float32Array ? values : Float32Array.from(array)
  if (type === 'int32') return values instanceof Int32Array ? values : Int32Array.from(array)
  return values instanceof Uint8Array ? values : Uint8Array.from(array)
}

function toBackendValues(data: ElementArray): Float32Array | Int32Array | Uint8Array {
  if (data instanceof BigInt64Array || data instanceof Int8Array) throw new Error('int64 and int8 values stay inside the graph')
  return data
}

/** The one instance, registered with tfjs at the priority of a backend that must be asked for by name. */
export const backend = new OnnxRuntimeBackend()

export function registerOnnxRuntimeBackend(): void {
  if (tf.findBackend(backendName)) return
  tf.registerBackend(backendName, () => backend, 0)
  tf.registerKernel({ kernelName: 'Identity', backendName, kernelFunc: ({ inputs }) => backend.share(inputs.x as tf.TensorInfo) })
  for (const [kernelName, kernel] of Object.entries(kernels)) {
    tf.registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({ inputs, attrs }) => {
        const given = Object.entries(inputs).flatMap(([name, tensor]) => (tensor ? [[name, tensor] as const] : []))
        try {
          const values = Object.fromEntries(given.map(([name, tensor]) => [name, backend.graphValue(tensor)]))
          const made = kernel(values, { ...attrs })
          return Array.isArray(made) ? made.map(value => backend.adopt(value)) : backend.adopt(made)
        } catch (cause) {
          const shapes = given.map(([name, tensor]) => `${name} [${tensor.shape.join(', ')}]`).join(', ')
          throw new Error(`${kernelName} of ${shapes}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
        }
      },
    })
  }
}
