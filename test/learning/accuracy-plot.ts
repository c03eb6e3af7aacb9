/** A plot of the accuracy by the number of labels. */
import type { TopLevelSpec } from 'vega-lite'
import { classes } from '../../fixtures/dataset.js'
import { colours } from '../bench/chart.js'
import { curvesOf, scaleOf, valuesOf, type Curve, type Look } from './curves.js'
import type { RunResult } from './run.js'
import { grouped, mean, spread } from './script.js'

const looks = {
  pawl: [colours.blue, 'circle'],
  ungated: [colours.vermilion, 'square'],
  paper: [colours.purple, 'diamond'],
  supervised: [colours.green, 'triangle-up'],
  'mae-finetune': [colours.sky, 'triangle-down'],
  logistic: [colours.black, 'cross'],
  cnn: [colours.orange, 'triangle-right'],
} as const satisfies Record<RunResult['method'], Look>

/** Pixels from one curve's marks to the next one's at the same number of labels. */
const apart = 5
/** The axis goes on by this factor at both ends. */
const margin = 1.3

/** A curve a method: mean and standard deviation of the seeds, and each seed faintly. */
export function accuracySpec(results: readonly RunResult[]): TopLevelSpec {
  const curves = runCurves(results).map(curve => ({ ...curve, points: pointsOf(curve) })).sort((a, b) => lastOf(b) - lastOf(a))
  const rows = <Row extends object>(of: (curve: (typeof curves)[number]) => Row[]) => ({
    values: curves.flatMap((curve, index) => of(curve).map(row => ({
      curve: curve.name, colour: curve.colour, dash: curve.dash, shift: apart * (index - (curves.length - 1) / 2), ...row,
    }))),
  })
  const means = rows(({ points }) => points)
  const seeds = rows(curve => curve.results.map(run => ({ labels: labelsOf(run), accuracy: accuracyOf(run) })))
  const labels = [...new Set(results.map(labelsOf))].sort((a, b) => a - b)
  const ends = [Math.min(...labels) / margin, Math.max(...labels) * margin]
  const measured = valuesOf(results, measuredOn)
  const x = { field: 'labels', type: 'quantitative', title: 'labels', scale: { type: 'log', domain: ends, nice: false }, axis: { values: labels, format: ',d' } } as const
  const y = { type: 'quantitative', title: measured.length > 1 ? 'accuracy, %' : `accuracy, % of the ${measured.join('')}`, scale: { zero: false } } as const
  const color = { field: 'colour', type: 'nominal', scale: null } as const
  const legend = { title: null, rowPadding: 6 }
  const xOffset = { expr: 'datum.shift' }
  return {
    title: { text: 'Accuracy by the number of labels', subtitle: described(results) },
    width: 560, height: 360,
    layer: [
      { name: 'seeds', data: seeds, mark: { type: 'point', size: 16, opacity: 0.4, xOffset, aria: false }, encoding: { x, y: { ...y, field: 'accuracy' }, color } },
      { name: 'spreads', data: means, mark: { type: 'rule', strokeWidth: 1.5, xOffset, aria: false }, encoding: { x, y: { ...y, field: 'low' }, y2: { field: 'high' }, color } },
      {
        name: 'curves', data: means, mark: { type: 'line', strokeWidth: 1.5, xOffset },
        encoding: { x, y: { ...y, field: 'mean' }, color, detail: { field: 'curve' }, strokeDash: { field: 'dash', type: 'nominal', scale: null } },
      },
      {
        name: 'means', data: means, mark: { type: 'point', size: 70, strokeWidth: 1.5, xOffset },
        encoding: {
          x, y: { ...y, field: 'mean' }, shape: { field: 'curve', scale: scaleOf(curves, 'shape'), legend },
          stroke: { field: 'curve', scale: scaleOf(curves, 'colour'), legend }, fill: { field: 'curve', scale: scaleOf(curves, 'fill'), legend },
        },
      },
    ],
  }
}

/** A curve for each method, length of its rounds and kind of images that it is measured on. */
export function runCurves(results: readonly RunResult[]): Curve<RunResult>[] {
  return curvesOf(results, { looks, kindOf: ({ method }) => method, parts: [measuredOn, lengthOf, validationOf, framesOf] })
}

/** A point for each number of labels; accuracies in per cent. */
function pointsOf({ results }: Curve<RunResult>) {
  const groups = [...grouped(results, run => String(labelsOf(run)))].map(([labels, runs]) => {
    const accuracies = runs.map(accuracyOf)
    const [middle, around] = [mean(accuracies), spread(accuracies)]
    return { labels: Number(labels), mean: middle, low: middle - around, high: middle + around }
  })
  return groups.sort((a, b) => a.labels - b.labels)
}

function lastOf({ points }: { points: ReturnType<typeof pointsOf> }): number {
  return points.at(-1)?.mean ?? 0
}

function described(results: readonly RunResult[]): string {
  const [seeds, lengths] = [new Set(results.map(({ seed }) => seed)).size, valuesOf(results, lengthOf)]
  return [
    ...lengths.length === 1 ? [`rounds of ${lengths.join('')}`] : [],
    seeds > 1 ? `up to ${String(seeds)} seeds: mean, standard deviation and each of them` : 'one seed',
  ].join('; ')
}

function labelsOf({ perClass }: RunResult): number {
  return classes.length * perClass
}

function accuracyOf({ accuracy, framesAccuracy, validationAccuracy }: RunResult): number {
  return 100 * (accuracy ?? framesAccuracy ?? validationAccuracy)
}

/** What `accuracyOf` is a share of. */
function measuredOn({ accuracy, framesAccuracy }: RunResult): string {
  return accuracy !== null ? 'test images' : framesAccuracy !== null ? 'frames' : 'validation images'
}

/** The length of a round; empty for a baseline, which ends by itself. */
function lengthOf({ minutes, steps }: RunResult): string {
  return minutes !== null ? `${String(minutes)} min` : steps !== null ? `${String(steps)} steps` : ''
}

/** Empty where a round had all of them. */
function framesOf({ frames }: RunResult): string {
  return frames === null ? '' : `${String(frames)} frames`
}

function validationOf({ validation }: RunResult): string {
  return `${String(validation)} to validate`
}
