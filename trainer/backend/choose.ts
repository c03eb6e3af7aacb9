/** Which engine trains: the one that is asked for, or the fastest that loads. */

export interface ChosenBackend {
  backend: 'onnxruntime' | 'tensorflow'
  device: string
}

/**
 * `auto` takes `@tensorflow/tfjs-node-gpu` where it is installed, loads, and sees a GPU; else the embedded engine on the CPU.
 * Errors: `tensorflow` asked for by name where it does not load.
 */
export async function chooseBackend(wanted: 'auto' | 'onnxruntime' | 'tensorflow'): Promise<ChosenBackend> {
  if (wanted === 'onnxruntime') return { backend: 'onnxruntime', device: 'cpu' }
  const tensorflow = await loadTensorflow()
  if (tensorflow.loaded && (wanted === 'tensorflow' || tensorflow.gpu)) {
    return { backend: 'tensorflow', device: tensorflow.gpu ? 'cuda' : 'cpu' }
  }
  if (wanted === 'tensorflow') {
    throw new Error(`the tensorflow backend does not load: ${tensorflow.reason ?? 'unknown reason'}. Install @tensorflow/tfjs-node-gpu (deploy/README.md), or use --backend onnxruntime`)
  }
  return { backend: 'onnxruntime', device: 'cpu' }
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
