/** Tables of the benchmark's results. */
import { tabled } from '../bench/table.js'
import { leftOut } from './ablations.js'
import { isBaseline } from './baselines.js'
import type { RunResult } from './run.js'
import { grouped, mean, spread } from './script.js'

/** A row for each method, number of labels and length: mean, standard deviation and least of the seeds, in per cent. */
export function rendered(results: readonly RunResult[]): string[] {
  const groups = grouped(results, ({ method, switches, perClass, minutes, steps, validation, frames, choose }) =>
    [method, leftOut(switches), perClass, minutes, steps, validation, frames, choose].join(' '))
  const rows = [...groups.values()].map(runs => {
    const [first] = runs
    const accuracies = runs.map(({ accuracy, framesAccuracy, validationAccuracy }) => 100 * (accuracy ?? framesAccuracy ?? validationAccuracy))
    return {
      method: first?.method ?? '', without: leftOut(first?.switches ?? {}) ?? '', labels: 10 * (first?.perClass ?? 0), frames: first?.frames ?? null, minutes: first?.minutes ?? null, steps: first?.steps ?? null, of: first?.choose ? 'frames' : 'test', seeds: runs.length,
      mean: mean(accuracies).toFixed(2), spread: spread(accuracies).toFixed(2), least: Math.min(...accuracies).toFixed(2),
      validation: mean(runs.map(({ validationAccuracy }) => 100 * validationAccuracy)).toFixed(1),
    }
  })
  return tabled(rows)
}

export interface Gain {
  labels: number
  minutes: number | null
  steps: number | null
  /** What `pawl` is compared with. */
  over: string
  /** Points of the test images, seed by seed. */
  points: number[]
}

export function gains(results: readonly RunResult[]): string[] {
  return tabled(gainsOf(results).map(({ points, ...gain }) => ({
    ...gain, seeds: points.length, mean: mean(points).toFixed(2), least: Math.min(...points).toFixed(2), 'seed by seed': points.map(gained => gained.toFixed(1)).join(' '),
  })))
}

/** Of `pawl` on the test images, over the better of the plain baselines and over the other methods, where they have seeds in common. */
export function gainsOf(results: readonly RunResult[]): Gain[] {
  const opened = results.filter(({ accuracy }) => accuracy !== null)
  const groups = grouped(opened.filter(({ method, switches }) => method === 'pawl' && leftOut(switches) === null), ({ perClass, minutes, steps, validation, frames }) =>
    [perClass, minutes, steps, validation, frames].join(' '))
  const rivals = grouped(opened.filter(({ method }) => method !== 'pawl'), ({ method, switches, minutes, steps }) =>
    isBaseline(method) ? 'plain baselines' : [method, leftOut(switches) && `without ${String(leftOut(switches))}`, minutes && `${String(minutes)} min`, steps && `${String(steps)} steps`].filter(Boolean).join(' '))
  return [...groups.values()].flatMap(runs => [...rivals].flatMap(([over, others]) => {
    const points = runs.flatMap(({ seed, perClass, accuracy }) => {
      const own = others.filter(other => other.seed === seed && other.perClass === perClass)
      return own.length ? [100 * ((accuracy ?? 0) - Math.max(...own.map(other => other.accuracy ?? 0)))] : []
    })
    const [first] = runs
    return points.length ? [{ labels: 10 * (first?.perClass ?? 0), minutes: first?.minutes ?? null, steps: first?.steps ?? null, over, points }] : []
  }))
}
