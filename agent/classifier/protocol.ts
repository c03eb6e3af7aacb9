/** Messages between the agent and a classifier child. */
import type { ModelMetadata } from '../../trainer/index.js'

export type ClassifierRequest =
  | { type: 'load'; path: string; sha256: string; threads: number }
  | { type: 'classify'; id: number; jpeg: Uint8Array }

export interface Classification {
  label: string
  confidence: number
  probabilities: Record<string, number>
  /** What the model makes of the picture before it names a class [D]. */
  embedding: Float32Array
  /** JPEG bytes to prediction inside the child, milliseconds. */
  latencyMs: number
}

export type ClassifierReply =
  | { type: 'ready'; metadata: ModelMetadata }
  | { type: 'refused'; message: string }
  | { type: 'classified'; id: number; classification: Classification }
  | { type: 'failed'; id: number; message: string }
