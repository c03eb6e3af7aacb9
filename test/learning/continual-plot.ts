/** A plot of what became of the models: accuracy round by round, by the way of upkeep. */
import type { TopLevelSpec } from 'vega-lite'
import { colours, ink } from '../bench/chart.js'
import type { ContinualResult, ContinualRound, UpkeepName } from './continual.js'
import { curvesOf, scaleOf, type Look } from './curves.js'
import { grouped, mean, spread } from './script.js'

const looks = {
  pawl: [colours.blue, 'circle'],
  ungated: [colours.vermilion, 'square'],
  labels: [colours.green, 'triangle-up'],
  gdumb: [colours.orange, 'triangle-right'],
  none: [colours.black, 'cross'],
} as const satisfies Record<UpkeepName, Look>

const parts = [
  ({ steps }: ContinualResult) => `${String(steps)} steps`,
  ({ frames, maxFrames }: ContinualResult) => `${String(frames)} of ${String(maxFrames)} frames`,
  ({ tests }: ContinualResult) => `${String(tests)} tests`,
  ({ choose }: ContinualResult) => (choose ? 'to choose by' : ''),
]

const [width, height, lineHeight] = [840, 380, 14]

/** A curve an upkeep under the names of the times: mean and standard deviation of the seeds, and how many of their challengers were refused. */
export function continualSpec(results: readonly ContinualResult[]): TopLevelSpec {
  const curves = curvesOf(results, { looks, kindOf: ({ upkeep }) => upkeep, parts })
  const rows = curves.flatMap(({ name, colour, dash, results }) => roundsOf(results).map(row => ({ curve: name, colour, dash, ...row })))
  const times = timesOf(results)
  const head = -lineHeight * Math.max(...times.map(({ lines }) => lines.length)) - 8
  const rounds = [...new Set(rows.map(({ round }) => round))]
  const ends = [0.5, Math.max(...rounds) + 0.5]
  const x = { field: 'round', type: 'quantitative', title: 'round', scale: { domain: ends, nice: false }, axis: { values: rounds, format: 'd' } } as const
  const y = { type: 'quantitative', title: 'accuracy, % of the pictures of the time', scale: { zero: false }, axis: { tickCount: 8 } } as const
  const color = { field: 'colour', type: 'nominal', scale: null } as const
  const detail = { field: 'curve' }
  const legend = { title: null, rowPadding: 6 }
  return {
    title: { text: 'Accuracy on a site that changes', subtitle: described(results) },
    width, height,
    data: { values: rows },
    layer: [
      {
        data: { values: times.filter((_, index) => index % 2 === 1) }, mark: { type: 'rect', color: ink.grid, opacity: 0.5, aria: false },
        encoding: { x: { ...x, field: 'from' }, x2: { field: 'to' }, y: { value: head }, y2: { value: height } },
      },
      {
        name: 'times', data: { values: times }, mark: { type: 'text', baseline: 'top', lineHeight, color: ink.quiet },
        encoding: { x: { ...x, field: 'middle' }, y: { value: head + 6 }, text: { field: 'lines' } },
      },
      { name: 'spreads', mark: { type: 'area', opacity: 0.15 }, encoding: { x, y: { ...y, field: 'low' }, y2: { field: 'high' }, color, detail } },
      {
        name: 'curves', mark: { type: 'line', strokeWidth: 1.5 },
        encoding: { x, y: { ...y, field: 'mean' }, color, detail, strokeDash: { field: 'dash', type: 'nominal', scale: null } },
      },
      {
        name: 'means', mark: { type: 'point', size: 55, strokeWidth: 1.5 },
        encoding: {
          x, y: { ...y, field: 'mean' }, shape: { field: 'curve', scale: scaleOf(curves, 'shape'), legend },
          stroke: { field: 'curve', scale: scaleOf(curves, 'colour'), legend }, fill: { field: 'curve', scale: scaleOf(curves, 'fill'), legend },
        },
      },
      {
        name: 'refusals', transform: [{ filter: 'datum.refused > 0' }], mark: { type: 'text', dy: -12, fontSize: 12, fontWeight: 600 },
        encoding: { x, y: { ...y, field: 'mean' }, color, text: { field: 'mark' } },
      },
    ],
  }
}

/** Over all seeds; accuracies in per cent. */
function roundsOf(results: readonly ContinualResult[]) {
  const groups = grouped(results.flatMap(({ rounds }) => rounds), ({ round }) => String(round))
  return [...groups].map(([round, same]) => {
    const accuracies = same.map(({ accuracy }) => 100 * accuracy)
    const [middle, around] = [mean(accuracies), spread(accuracies)]
    const refused = same.filter(isRefused).length
    return { round: Number(round), mean: middle, low: middle - around, high: middle + around, refused, mark: `×${String(refused)}` }
  })
}

/** Rounds in a row at which the site looks the same; its name, a line a property. */
function timesOf([first]: readonly ContinualResult[]) {
  const times: { name: string; lines: string[]; from: number; to: number; middle: number }[] = []
  for (const { round, domain } of first?.rounds ?? []) {
    const [last, to] = [times.at(-1), round + 0.5]
    if (last?.name === domain) Object.assign(last, { to, middle: (last.from + to) / 2 })
    else times.push({ name: domain, lines: domain.split(', '), from: round - 0.5, to, middle: round })
  }
  return times
}

function described(results: readonly ContinualResult[]): string {
  const seeds = new Set(results.map(({ seed }) => seed)).size
  return [
    seeds > 1 ? `${String(seeds)} seeds: mean and standard deviation` : 'one seed',
    ...results.some(({ rounds }) => rounds.some(isRefused)) ? ['×2: the challengers of two seeds were refused'] : [],
  ].join('; ')
}

function isRefused({ trained, promoted }: ContinualRound): boolean {
  return trained && !promoted
}
