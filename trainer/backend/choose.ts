/** The engines that tfjs can compute on, and the switch between them. */
import * as tf from './tf.js'
import { backend as onnxruntime, backendName, registerOnnxRuntimeBackend } from './backend.js'
import type { Device } from './session.js'

export interface Engine {
  backend: 'onnxruntime' | 'tensorflow'
  device: Device
}

/** What runs everywhere, and what the others are compared with. */
export const embedded: Engine = { backend: 'onnxruntime', device: 'cpu' }

/** Every engine that a box may have. */
export const engines: readonly Engine[] = [
  embedded,
  { backend: 'onnxruntime', device: 'webgpu' },
  { backend: 'onnxruntime', device: 'cuda' },
  { backend: 'tensorflow', device: 'cuda' },
  { backend: 'tensorflow', device: 'cpu' },
]

export function sameEngine(a: Engine, b: Engine): boolean {
  return a.backend === b.backend && a.device === b.device
}

/** `onnxruntime on webgpu`. */
export function nameOf({ backend, device }: Engine): string {
  return `${backend} on ${device}`
}

/** Whether an engine computes in the host's memory, where lanes can share one state. */
export function sharesMemory({ backend, device }: Engine): boolean {
  return backend === 'onnxruntime' && device === 'cpu'
}

/**
 * Whether results can stay on the engine's device from step to step. onnxruntime-node brings those of CUDA to the host: there a state on the
 * host lets two vectors of weights and one gradient travel a step, and not the optimiser's state as well.
 */
export function keepsState(engine: Engine): boolean {
  return engine.backend === 'tensorflow' || engine.device === 'webgpu'
}

/** Makes tfjs compute on an engine in this thread; each thread has an engine of its own. Errors: why the engine does not start. */
export async function useEngine({ backend, device }: Engine): Promise<void> {
  if (backend === 'tensorflow') await loadTensorflow(device)
  else registerOnnxRuntimeBackend()
  const started = await tf.setBackend(backend === 'onnxruntime' ? backendName : backend)
  if (!started) throw new Error(`the ${backend} backend does not start in this thread`)
  if (backend === 'onnxruntime') onnxruntime.device = device
}

const packages = { cuda: '@tensorflow/tfjs-node-gpu', webgpu: '@tensorflow/tfjs-node-gpu', cpu: '@tensorflow/tfjs-node' } as const

/** tfjs-node-gpu computes on the processor where it finds no GPU, so it stands in for tfjs-node there. */
async function loadTensorflow(device: Device): Promise<void> {
  const names = [packages[device], packages.cuda]
  for (const [index, name] of names.entries()) {
    try {
      const module = await import(name) as { node?: { isGPUDevice?: boolean } }
      if (device !== 'cpu' && !module.node?.isGPUDevice) throw new Error(`${name} loads, but finds no GPU`)
      return
    } catch (cause) {
      if (!missing(cause)) throw cause
      if (index === names.length - 1) throw new Error(`${[...new Set(names)].join(' or ')} is not installed`, { cause })
    }
  }
}

function missing(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ERR_MODULE_NOT_FOUND'
}
