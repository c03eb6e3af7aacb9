/** Messages between the agent and a classifier child. */
import type { ModelMetadata } from '../../trainer/index.js'

export type ClassifierRequest =
  | { type: 'load'; path: string; sha256: string; threads: number }
  /** `pixels`: as the model reads them, uint8 [S, S, 3]. */
  | { type: 'classify'; id: number; pixels: Uint8Array }

export interface Classification {
  label: string
  confidence: number
  probabilities: Record<string, number>
  /** What the model makes of the picture before it names a class [D]. */
  embedding: Float32Array
}

export type ClassifierReply =
  | { type: 'ready'; metadata: ModelMetadata }
  | { type: 'refused'; message: string }
  | { type: 'classified'; id: number; classification: Classification }
  | { type: 'failed'; id: number; message: string }
