/** Which engine trains: the one that is asked for, or the fastest that loads. */
import * as tf from './tf.js'
import { backend as onnxruntime, backendName, registerOnnxRuntimeBackend } from './backend.js'
import type { Device } from './session.js'

export interface Engine {
  backend: 'onnxruntime' | 'tensorflow'
  device: Device
}

/** What runs everywhere. */
export const embedded: Engine = { backend: 'onnxruntime', device: 'cpu' }

/** Whether an engine computes in the host's memory, where lanes can share one state. */
export function sharesMemory({ backend, device }: Engine): boolean {
  return backend === 'onnxruntime' && device === 'cpu'
}

/**
 * `auto` takes `@tensorflow/tfjs-node-gpu` where it is installed, loads, and sees a GPU; else the embedded engine on the CPU.
 * Errors: `tensorflow` asked for by name where it does not load.
 */
export async function chooseEngine(wanted: 'auto' | Engine['backend'], device: 'auto' | Device): Promise<Engine> {
  if (wanted === 'onnxruntime') return { backend: 'onnxruntime', device: device === 'auto' ? 'cpu' : device }
  const tensorflow = await loadTensorflow()
  if (tensorflow.loaded && (wanted === 'tensorflow' || tensorflow.gpu)) {
    return { backend: 'tensorflow', device: tensorflow.gpu ? 'cuda' : 'cpu' }
  }
  if (wanted === 'tensorflow') {
    throw new Error(`the tensorflow backend does not load: ${tensorflow.reason ?? 'unknown reason'}. Install @tensorflow/tfjs-node-gpu (deploy/README.md), or use --backend onnxruntime`)
  }
  return embedded
}

/** Makes tfjs compute on an engine in this thread; each thread has an engine of its own. Errors: the backend does not start. */
export async function useEngine({ backend, device }: Engine): Promise<void> {
  if (backend === 'onnxruntime') registerOnnxRuntimeBackend()
  else await loadTensorflow()
  const started = await tf.setBackend(backend === 'onnxruntime' ? backendName : backend)
  if (!started) throw new Error(`the ${backend} backend does not start in this thread`)
  if (backend === 'onnxruntime') onnxruntime.device = device
}

export async function listBackends(): Promise<{ name: string; loads: boolean; detail: string }[]> {
  const tensorflow = await loadTensorflow()
  return [
    { name: 'onnxruntime', loads: true, detail: 'CPU' },
    { name: 'tensorflow', loads: tensorflow.loaded, detail: tensorflow.reason ?? (tensorflow.gpu ? 'GPU' : 'CPU') },
  ]
}

async function loadTensorflow(): Promise<{ loaded: boolean; gpu: boolean; reason?: string }> {
  // A variable name keeps the compiler from asking for an optional package.
  const name = '@tensorflow/tfjs-node-gpu'
  try {
    const module = await import(name) as { node?: { isGPUDevice?: boolean } }
    return { loaded: true, gpu: module.node?.isGPUDevice === true }
  } catch (cause) {
    const [reason = ''] = (cause instanceof Error ? cause.message : String(cause)).split('\n')
    return { loaded: false, gpu: false, reason }
  }
}
