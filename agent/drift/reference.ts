/** What a model is used to, and a window of newer predictions beside it. Pure. */
import { inertiaOf } from './inertia.js'
import { ksPValue, ksStatistic } from './two-sample.js'

/** One number of a prediction: of its embedding, the probability of a class, or the confidence. */
export interface Dimension {
  kind: 'embedding' | 'class' | 'confidence'
  /** The class, or the place in the embedding. */
  name: string
}

/** The predictions that the reference is made of. */
export interface Gathered {
  /** Version of the model that made them. */
  model: number
  dimensions: Dimension[]
  /** A list for each dimension, the oldest picture first; the last is the confidence. */
  columns: Float32Array[]
  /** When the pictures were taken. */
  timesMs: number[]
}

export type Reference = readonly (Dimension & {
  /** Ascending [n]. */
  sorted: Float32Array
  mean: number
  /** At least 1; see `inertiaOf`. */
  inertia: number
})[]

export interface Move extends Dimension {
  /** Kolmogorov-Smirnov distance to the reference, 0 to 1. */
  distance: number
  /** Means of the reference and of the window. */
  from: number
  to: number
}

export interface Comparison {
  /** Bound on the chance that any dimension moves as far in a window of the reference's own distribution (Bonferroni over the dimensions). */
  p: number
  /** The move of each dimension. */
  moves: Move[]
  /** Place of the farthest. */
  farthest: number
}

export function makeReference({ dimensions, columns }: Gathered): Reference {
  return dimensions.map((dimension, index) => {
    const column = columns[index] ?? new Float32Array()
    return { ...dimension, sorted: column.slice().sort(), mean: meanOf(column), inertia: inertiaOf(column) }
  })
}

/**
 * `columns`: one for each dimension of the reference. A distance counts for less where the series is inert, as if there were fewer pictures.
 * O(dimensions × (n + m log m) + n m).
 */
export function compare(reference: Reference, columns: readonly Float32Array[]): Comparison {
  let [largest, farthest] = [0, 0]
  const moves = reference.map(({ kind, name, sorted, mean, inertia }, dimension) => {
    const column = columns[dimension] ?? new Float32Array()
    const distance = ksStatistic(sorted, column.slice().sort())
    const counts = distance / Math.sqrt(inertia)
    if (counts > largest) [largest, farthest] = [counts, dimension]
    return { kind, name, distance, from: mean, to: meanOf(column) }
  })
  const [n, m] = [reference[0]?.sorted.length ?? 0, columns[0]?.length ?? 0]
  // All dimensions are of one size: the farthest has the smallest p.
  return { p: Math.min(1, reference.length * ksPValue(largest, n, m)), moves, farthest }
}

function meanOf(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
