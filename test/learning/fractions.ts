/** The paper's own comparison: a ViT on the labels alone, and SSMAE, by the share of the training photographs that have one. */
import { classes } from '../../fixtures/dataset.js'
import type { MethodName } from '../../trainer/contract.js'
import type { RunKey, RunResult } from './run.js'
import { grouped, mean, spread } from './script.js'
import { markdown, percent } from './tables.js'

/** What the others are compared with. */
const alone: MethodName = 'supervised'
/** Photographs of each class in the training file. */
const perClassInAll = 6000

/** A run for each share of labels (per cent), seed and method, the methods of a seed side by side. */
export function keysOf(
  { percents, seeds, methods, ...rest }: { percents: readonly number[]; seeds: readonly number[]; methods: readonly MethodName[] }
    & Pick<RunKey, 'steps' | 'minutes' | 'validation' | 'choose'>,
): RunKey[] {
  return percents.flatMap(labeled => seeds.flatMap(seed => methods.map((method): RunKey =>
    ({ method, seed, frames: null, perClass: Math.max(1, Math.round((labeled / 100) * perClassInAll)), switches: {}, ...rest }))))
}

/** A row for each share of labels and length of the runs; gaps are those of the seeds that both methods have. */
export function gapsTable(results: readonly RunResult[]): string[] {
  const methods = [...new Set(results.map(({ method }) => method))].filter(method => method !== alone)
  const groups = grouped(results, ({ perClass, steps, minutes, validation, choose }) => [perClass, steps, minutes, validation, choose].join(' '))
  const rows = [...groups.values()].map(runs => {
    const of = (method: RunKey['method']) => new Map(runs.filter(run => run.method === method).map(run => [run.seed, accuracyOf(run)]))
    const [base, [first]] = [of(alone), runs]
    return {
      labels: `${String((100 * (first?.perClass ?? 0)) / perClassInAll)} % (${String(classes.length * (first?.perClass ?? 0))})`,
      length: first?.steps === null ? `${String(first.minutes)} min` : `${String(first?.steps)} steps`,
      of: first?.choose ? 'frames' : 'test images',
      seeds: String(new Set(runs.map(({ seed }) => seed)).size),
      [alone]: shown([...base.values()]),
      ...Object.fromEntries(methods.flatMap(method => {
        const [own, gaps] = [of(method), [...of(method)].flatMap(([seed, accuracy]) => gapOf(accuracy, base.get(seed)))]
        return [[method, shown([...own.values()])], [`${method} − ${alone}`, shown(gaps, { signed: true })]]
      })),
    }
  })
  return markdown(rows)
}

function accuracyOf({ accuracy, framesAccuracy, validationAccuracy }: RunResult): number {
  return accuracy ?? framesAccuracy ?? validationAccuracy
}

function gapOf(own: number, base: number | undefined): number[] {
  return base === undefined ? [] : [own - base]
}

/** Mean and standard deviation in per cent. */
function shown(values: readonly number[], { signed = false } = {}): string {
  if (values.length === 0) return '-'
  const [middle, around] = [mean(values), values.length > 1 ? ` ± ${percent(spread(values))}` : '']
  return `${signed && middle >= 0 ? '+' : ''}${percent(middle)}${around}`
}
