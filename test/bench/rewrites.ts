/** What each part of the engine brings: the step with everything, beside the step without it. */
import { availableParallelism } from 'node:os'
import type { TimingOptions } from '../../trainer/bench.js'
import { rewriteNames } from '../../trainer/backend/rewrite.js'
import { presets } from '../../trainer/model/presets.js'
import { inTurns, median, medianRatio, megabytes, stepTimes, type Options, type Result } from './measure.js'

type Study = Partial<Omit<TimingOptions, 'engine'>>

const everything = 'everything'
const studies: Readonly<Record<string, Study>> = {
  [everything]: {},
  ...Object.fromEntries(rewriteNames.map((name): [string, Study] => [`without the rewrite ${name}`, { without: [name] }])),
  'without any rewrite': { without: rewriteNames },
  'without onnxruntime\'s optimisation': { graphOptimisation: false },
  'without either': { without: rewriteNames, graphOptimisation: false },
  'shares in one part': { tokensPerPart: Number.MAX_SAFE_INTEGER },
  'one lane, a thread a core': { lanes: 1, threads: availableParallelism() },
  'one lane, one thread': { lanes: 1 },
}

export async function run({ turns, repeats, say }: Options): Promise<Result> {
  const results = await inTurns(turns, Object.keys(studies), name => {
    say(name)
    return stepTimes({ preset: presets.nano, repeats: repeats ?? 10, ...studies[name] })
  })
  const seconds = (name: string) => results.get(name)?.map(({ secondsPerStep }) => secondsPerStep) ?? []
  const rows = [...results].map(([name, times]) => ({
    step: name,
    secondsPerStep: median(seconds(name)),
    minSeconds: Math.min(...times.map(({ minSeconds }) => minSeconds)),
    timesEverything: medianRatio(seconds(name), seconds(everything)),
    firstSeconds: median(times.map(({ firstSeconds }) => firstSeconds)),
    peakMb: megabytes(median(times.map(({ peakRssBytes }) => peakRssBytes))),
  }))
  return { rows, notes: ['nano; each ratio is the median over the turns, within a turn'] }
}
