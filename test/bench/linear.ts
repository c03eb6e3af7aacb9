/** How the step's time and the process's memory grow with the batch and with the depth, with a plot of it. */
import { writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { TopLevelSpec } from 'vega-lite'
import { evenLanes, presets, type Preset } from '../../trainer/model/presets.js'
import { chart, colours } from './chart.js'
import { fitted, type Point } from './fit.js'
import { linearSpec } from './linear-plot.js'
import { imagesOf, inTurns, median, megabytes, stepTimes, type Options, type Result, type Row } from './measure.js'

const plotFile = fileURLToPath(new URL('../../trainer/backend/linear.svg', import.meta.url))

/** Labeled images of a step; twice as many unlabeled ones go with them. */
const batches = [4, 8, 12, 16, 20, 24, 28, 32]
const depths = [2, 4, 6, 8, 10, 12]

interface Variant {
  preset: Preset
  varied: 'batch' | 'depth'
  /** Images, or encoder blocks. */
  size: number
}

const variants = new Map([
  ...batches.map((labeled): Variant => ({ preset: { ...presets.nano, labeled, unlabeled: 2 * labeled }, varied: 'batch', size: 3 * labeled })),
  ...depths.map((depth): Variant => ({ preset: { ...presets.nano, depth }, varied: 'depth', size: depth })),
].map((variant): [string, Variant] => [`${variant.varied} ${String(variant.size)}`, variant]))

export async function run({ turns, repeats, say }: Options): Promise<Result> {
  const results = await inTurns(turns, [...variants.keys()], name => {
    say(name)
    return stepTimes({ preset: variants.get(name)?.preset ?? presets.nano, repeats: repeats ?? 10 })
  })
  const rows = [...variants].map(([name, { preset, varied, size }]) => {
    const times = results.get(name) ?? []
    return {
      varied, size, images: imagesOf(preset), depth: preset.depth,
      // The quietest turn: on a shared machine the others tell of its other users.
      secondsPerStep: Math.min(...times.map(({ secondsPerStep }) => secondsPerStep)),
      peakMb: megabytes(median(times.map(({ peakRssBytes }) => peakRssBytes))),
    }
  })
  const curve = (varied: string, of: (row: (typeof rows)[number]) => number) =>
    rows.filter(row => row.varied === varied).map((row): Point => [row.size, of(row)])
  const milliseconds = (row: (typeof rows)[number]) => row.secondsPerStep * 1000
  const curves = {
    batch: curve('batch', milliseconds),
    depth: curve('depth', milliseconds),
    memory: curve('batch', row => row.peakMb),
  }
  await writeFile(plotFile, await chart(drawn(curves)))
  return { rows: [...rows.map(({ size: _, ...row }): Row => row)], notes: [...Object.entries(curves).map(described), `plot: ${plotFile}`] }
}

function drawn({ batch, depth, memory }: Record<'batch' | 'depth' | 'memory', Point[]>): TopLevelSpec {
  const { width, tokens } = { width: presets.nano.width, tokens: (presets.nano.size / presets.nano.patch) ** 2 }
  const time = { y: 'median of the steps, ms', digits: 1 }
  return linearSpec([
    { ...time, title: 'Step time and batch', x: 'images in a step', points: batch, colour: colours.blue },
    { ...time, title: 'Step time and depth', x: 'blocks of the encoder', points: depth, colour: colours.vermilion },
    { title: 'Memory and batch', x: 'images in a step', y: 'peak resident memory, MB', digits: 0, points: memory, colour: colours.green },
  ], `full SSMAE training step at nano: ${String(tokens)} tokens of ${String(width)}; batch at depth ${String(presets.nano.depth)}, `
  + `depth at ${String(imagesOf(presets.nano))} images; ${String(evenLanes(presets.nano, availableParallelism()))} lanes; dashed: least squares`)
}

const units: Readonly<Record<string, string>> = { batch: 'ms and images', depth: 'ms and blocks', memory: 'MB and images' }

function described([name, points]: [string, readonly Point[]]): string {
  const { slope, intercept, r2 } = fitted(points)
  return `${name} (${units[name] ?? ''}): ${intercept.toFixed(2)} + ${slope.toPrecision(4)} x, R² ${r2.toFixed(5)}`
}
