/** A plot of what became of the pseudo-labels over the steps of a round. */
import type { TopLevelSpec } from 'vega-lite'
import { classes } from '../../fixtures/dataset.js'
import { gateOptions } from '../../trainer/gate/pseudo-label-gate.js'
import { recipes } from '../../trainer/recipe.js'
import { colours, ink } from '../bench/chart.js'
import { runCurves } from './accuracy-plot.js'
import type { RunResult } from './run.js'

/** Those whose pseudo-labels are let through by different rules. */
const shown = ['pawl', 'ungated', 'paper'] as const

/** Lines as symbols, as high as the others. */
const [stroke, dashes] = ['M-1,0L1,0M0,-1M0,1', 'M-1,0L-.2,0M.2,0L1,0M0,-1M0,1']

/** What the legend calls it, by which a row says what it is. */
const kinds = {
  accuracy: 'accuracy of the teacher on the gate images',
  precision: 'precision of the pseudo-labels that counted',
  opening: 'the gate opens',
  promise: 'precision promised where the gate opens',
} as const

/** A panel a method, a line a seed, at the smallest number of labels that there is; null where no run of these methods looked at its gate. */
export function pseudoLabelSpec(results: readonly RunResult[]): TopLevelSpec | null {
  const looked = results.filter(({ method, looks }) => shown.some(name => name === method) && looks.length)
  const perClass = Math.min(...looked.map(run => run.perClass))
  const panels = runCurves(looked.filter(run => run.perClass === perClass))
  if (!panels.length) return null
  const rows = panels.flatMap(({ name, results }) => results.flatMap(run => rowsOf(run).map(row => ({ panel: name, seed: run.seed, ...row }))))
  const promises = panels.filter(({ results }) => results.some(isPromised))
    .map(({ name }) => ({ panel: name, what: kinds.promise, value: 100 * gateOptions.openAt }))
  const only = (...what: string[]) => [{ filter: { field: 'what', oneOf: what } }]
  const scale = { zero: false, padding: 6 }
  const x = { field: 'step', type: 'quantitative', title: 'step', scale, axis: { tickCount: 5, format: ',d' } } as const
  const y = { field: 'value', type: 'quantitative', title: 'accuracy and precision, %', scale: { ...scale, domainMax: 100, nice: false } } as const
  const domain = [kinds.accuracy, kinds.precision, kinds.opening, ...promises.length ? [kinds.promise] : []]
  const [range, shapes] = [[colours.blue, colours.vermilion, ink.text, ink.quiet], [stroke, stroke, 'triangle-up', dashes]]
  const legend = { title: null, orient: 'bottom', direction: 'vertical', offset: 14, symbolOpacity: 1, symbolSize: 90, symbolStrokeWidth: 2 } as const
  const color = { field: 'what', scale: { domain, range }, legend } as const
  const shape = { field: 'what', scale: { domain, range: shapes }, legend } as const
  return {
    title: { text: `What pseudo-labels are worth, with ${String(classes.length * perClass)} labels`, subtitle: 'one line a seed; a gap where no pseudo-label counted' },
    data: { values: [...rows, ...promises] },
    facet: { column: { field: 'panel', sort: panels.map(({ name }) => name) } },
    spacing: 32,
    spec: {
      width: 280, height: 260,
      layer: [
        { name: 'promises', transform: only(kinds.promise), mark: { type: 'rule', strokeDash: [6, 4] }, encoding: { y, color } },
        {
          name: 'curves', transform: only(kinds.accuracy, kinds.precision), mark: { type: 'line', strokeWidth: 1.25, opacity: 0.7, point: { size: 12, aria: false } },
          encoding: { x, y, color, detail: { field: 'seed' } },
        },
        { name: 'openings', transform: only(kinds.opening), mark: { type: 'point', size: 50 }, encoding: { x, y, color, shape } },
      ],
    },
  }
}

/** In per cent. What counted from one look to the next stands between the two; where nothing did, there is no precision. */
function rowsOf({ looks, pseudoLabels, stepsTaken }: RunResult) {
  return [
    ...looks.map(({ step, accuracy }) => ({ what: kinds.accuracy, step, value: 100 * accuracy })),
    ...looks.filter(({ open }, index) => open && !looks[index - 1]?.open)
      .map(({ step, accuracy }) => ({ what: kinds.opening, step, value: 100 * accuracy })),
    ...pseudoLabels.map(({ step, used, right }, index) => ({
      what: kinds.precision, step: (step + (pseudoLabels[index + 1]?.step ?? stepsTaken ?? step)) / 2, value: used ? (100 * right) / used : null,
    })),
  ]
}

function isPromised({ method }: RunResult): boolean {
  return method in recipes && recipes[method as keyof typeof recipes].gate === 'precision'
}
