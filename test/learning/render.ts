/** Tables of the benchmark's results. */
import { tabled } from '../bench/table.js'
import { leftOut } from './ablations.js'
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
