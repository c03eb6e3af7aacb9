/** The weights of a round in memory that all lanes share. */
import type { ParameterTable } from '../model/parameters.js'

/** The four vectors that make up a training state, each float32 [n] over all weights. */
export const stateParts = ['student', 'teacher', 'momentum', 'variance'] as const
export type StatePart = (typeof stateParts)[number]

/** Plain shared buffers: what crosses to a worker thread. */
export interface SharedBuffers {
  state: Record<StatePart, SharedArrayBuffer>
  /** One gradient vector a lane. */
  gradients: SharedArrayBuffer[]
  /** Decoded images, uint8 [count, S, S, 3]. */
  images: SharedArrayBuffer
  /** What was known of each image before the transformer learned: log-probabilities, float32 [count, C]; empty where nothing was. */
  beliefs: SharedArrayBuffer
}

export function mapParts<T>(of: (part: StatePart) => T): Record<StatePart, T> {
  return { student: of('student'), teacher: of('teacher'), momentum: of('momentum'), variance: of('variance') }
}

export function allocate(table: ParameterTable, lanes: number, imageBytes: number, beliefBytes = 0): SharedBuffers {
  const vector = () => new SharedArrayBuffer(table.size * Float32Array.BYTES_PER_ELEMENT)
  return {
    state: mapParts(vector),
    gradients: Array.from({ length: lanes }, vector),
    images: new SharedArrayBuffer(imageBytes),
    beliefs: new SharedArrayBuffer(beliefBytes),
  }
}
