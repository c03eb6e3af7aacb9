/**
 * How well it learns: method × labels a class × seed on Fashion-MNIST, with plain baselines beside:
 * `npm run bench:learning -- [--methods pawl,paper,…] [--per-class 10,60,100] [--seeds 1,2,3,4,5] [--minutes 15 | --steps N] [--validation 600]
 * [--frames N] [--without nothing,stem,…] [--results results.jsonl] [--choose] [--render] [--plot folder]`.
 *
 * Writes a JSON line a run and passes over the runs of the same recipe that are there already; one that is interrupted goes on from its
 * checkpoint.
 * The 10,000 test images are opened once, at the end of a run; with `--choose` never, and the frames' own classes tell instead.
 * `--render` only prints the table of the lines there are. `--plot` draws `accuracy.svg` and `pseudo-labels.svg` into the folder.
 */
import { join } from 'node:path'
import { methods } from '../trainer/contract.js'
import { ablations, leftOut, type Ablation } from './learning/ablations.js'
import { accuracySpec } from './learning/accuracy-plot.js'
import { baselines, isBaseline } from './learning/baselines.js'
import { plot } from './learning/plot.js'
import { pseudoLabelSpec } from './learning/pseudo-label-plot.js'
import { gains, rendered } from './learning/render.js'
import type { RunKey, RunResult } from './learning/run.js'
import { isOfToday, runMissing } from './learning/runs.js'
import { linesOf, names, number, numbers, parsed, say } from './learning/script.js'

const { values } = parsed(import.meta.filename, {
  options: {
    methods: { type: 'string', default: [...methods, ...baselines].join(',') },
    'per-class': { type: 'string', default: '10,60,100' },
    seeds: { type: 'string', default: '1,2,3,4,5' },
    minutes: { type: 'string', default: '15' },
    steps: { type: 'string' },
    validation: { type: 'string', default: '600' },
    frames: { type: 'string' },
    without: { type: 'string', default: 'nothing' },
    results: { type: 'string', default: join(import.meta.dirname, 'learning', 'results.jsonl') },
    choose: { type: 'boolean', default: false },
    render: { type: 'boolean', default: false },
    plot: { type: 'string' },
  },
})

const wanted = names('methods', values.methods, [...methods, ...baselines])
const budget = values.steps === undefined ? { minutes: number('minutes', values.minutes), steps: null } : { minutes: null, steps: number('steps', values.steps) }
const without = names('without', values.without, Object.keys(ablations) as Ablation[])
const common = {
  validation: number('validation', values.validation), frames: values.frames === undefined ? null : number('frames', values.frames), choose: values.choose,
}
const keys = numbers('per-class', values['per-class']).flatMap(perClass => numbers('seeds', values.seeds).flatMap(seed => wanted.flatMap(
  (method): RunKey[] => isBaseline(method)
    ? [{ method, perClass, seed, minutes: null, steps: null, switches: {}, ...common, frames: null }]
    : without.map(name => ({ method, perClass, seed, ...budget, switches: ablations[name], ...common })),
)))

const lines = values.render ? await linesOf<RunResult>(values.results) : await runMissing(keys, values.results)
const done = lines.filter(isOfToday)
if (done.length < lines.length) say(`${String(lines.length - done.length)} lines are of recipes of before, and are left out`)
const whole = done.filter(({ switches }) => leftOut(switches) === null)
if (values.plot !== undefined) await plot(whole, { file: values.results, folder: values.plot, specs: { accuracy: accuracySpec, 'pseudo-labels': pseudoLabelSpec } })
process.stdout.write(`${[...rendered(done), '', ...gains(done)].join('\n')}\n`)
