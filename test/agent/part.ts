/** A part of the bench: what it is given, and what it tells. */
import type { Site } from './site.js'

/** Measured beside what is asked for. */
export interface Figure {
  what: string
  measured: number
  unit: string
  /** The most, or with `atLeast` the least, that is asked for; null: it is told for its own sake. */
  asked: number | null
  atLeast?: boolean
}

export interface PartResult {
  figures: Figure[]
  /** What lies behind the figures, for machines. */
  details: unknown
}

export interface PartOptions {
  /** A box of its own, with models 1 and 2 of a preset. */
  site: (preset?: 'nano' | 'tiny') => Promise<Site>
  /** Length of what is measured over time. */
  seconds: number
  say: (line: string) => void
}

export type Part = (options: PartOptions) => Promise<PartResult>

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}
