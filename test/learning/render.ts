/** Tables of the benchmark's results. */
import { tabled } from '../bench/table.js'
import type { RunResult } from './run.js'

/** A row for each method, number of labels and length: mean, standard deviation and least of the seeds, in per cent. */
export function rendered(results: readonly RunResult[]): string[] {
  const groups = new Map<string, RunResult[]>()
  for (const result of results) {
    const name = `${result.method} ${String(result.perClass)} ${String(result.minutes)} ${String(result.steps)} ${String(result.validation)} ${String(result.choose)}`
    groups.set(name, [...groups.get(name) ?? [], result])
  }
  const rows = [...groups.values()].map(runs => {
    const [first] = runs
    const accuracies = runs.map(({ accuracy, framesAccuracy, validationAccuracy }) => 100 * (accuracy ?? framesAccuracy ?? validationAccuracy))
    return {
      method: first?.method ?? '', labels: 10 * (first?.perClass ?? 0), minutes: first?.minutes ?? null, steps: first?.steps ?? null, of: first?.choose ? 'frames' : 'test', seeds: runs.length,
      mean: mean(accuracies).toFixed(2), spread: spread(accuracies).toFixed(2), least: Math.min(...accuracies).toFixed(2),
      validation: mean(runs.map(({ validationAccuracy }) => 100 * validationAccuracy)).toFixed(1),
    }
  })
  return tabled(rows)
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Standard deviation of a sample. */
function spread(values: readonly number[]): number {
  const middle = mean(values)
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / Math.max(values.length - 1, 1))
}
