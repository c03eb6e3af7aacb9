/** An exported classifier, run from its file. Holds no tfjs, and loads ONNX Runtime with the first file: the agent's own process never does. */
import type { InferenceSession, TensorConstructor } from './onnxruntime.js'
import type { ModelMetadata } from '../contract.js'
import { readModelMetadata } from '../export/metadata.js'
import { channels } from '../model/presets.js'

export interface ModelOutput {
  /** All row-major, one row an image. */
  logits: Float32Array
  /** [N, C], calibrated, rows sum to 1. */
  probabilities: Float32Array
  /** [N, D]. */
  embedding: Float32Array
}

export class ModelFile {
  readonly metadata: ModelMetadata
  private readonly session: InferenceSession
  private readonly Tensor: TensorConstructor

  private constructor({ metadata, session, Tensor }: { metadata: ModelMetadata; session: InferenceSession; Tensor: TensorConstructor }) {
    this.metadata = metadata
    this.session = session
    this.Tensor = Tensor
  }

  /** Errors: bytes that are no model of pawl's, or that onnxruntime refuses. */
  static async open(model: Uint8Array, { threads = 1 }: { threads?: number } = {}): Promise<ModelFile> {
    const metadata = readModelMetadata(model)
    const { InferenceSession, Tensor, waitsQuietly } = await import('./onnxruntime.js')
    const session = await InferenceSession.create(model, {
      executionProviders: ['cpu'], intraOpNumThreads: threads, extra: waitsQuietly, logSeverityLevel: 3,
    })
    const { size } = metadata
    const [input] = session.inputMetadata
    const [, height, width] = input?.isTensor ? input.shape : []
    if (height === size && width === size) return new ModelFile({ metadata, session, Tensor })
    await session.release()
    throw new Error(`the model reads pictures of ${String(width)} × ${String(height)}, not of ${String(size)} × ${String(size)} as it says`)
  }

  /** Pixels uint8 [N, S, S, 3], as `decodeImage` gives them. */
  async run(pixels: Uint8Array): Promise<ModelOutput> {
    const { size } = this.metadata
    const image = new this.Tensor('uint8', pixels, [pixels.length / (size * size * channels), size, size, channels])
    const results = await this.session.run({ image })
    const output = (name: string): Float32Array => {
      const data = results[name]?.data
      if (!(data instanceof Float32Array)) throw new Error(`the model has no float output "${name}"`)
      return data
    }
    return { logits: output('logits'), probabilities: output('probabilities'), embedding: output('embedding') }
  }

  async release(): Promise<void> {
    await this.session.release()
  }
}
