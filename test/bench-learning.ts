/**
 * How well it learns: method × labels a class × seed on Fashion-MNIST, with plain baselines beside:
 * `npm run bench:learning -- [--methods ssmae,paper,…] [--per-class 10,60,100] [--seeds 1,2,3,4,5] [--minutes 15 | --steps N] [--validation 600]
 * [--results results.jsonl] [--choose] [--render]`.
 *
 * Writes a JSON line a run and passes over the runs that are there already; one that is interrupted goes on from its checkpoint.
 * The 10,000 test images are opened once, at the end of a run; with `--choose` never, and the frames' own classes tell instead.
 * `--render` only prints the table of the lines there are.
 */
import { appendFile, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { classes } from '../fixtures/dataset.js'
import { methods } from '../trainer/contract.js'
import { imageFolder, imagesOf } from './learning/data.js'
import { baselines } from './learning/baselines.js'
import { rendered } from './learning/render.js'
import { run, type RunKey, type RunResult } from './learning/run.js'
import { linesOf, names, number, numbers, say } from './learning/script.js'

const { values } = parseArgs({
  options: {
    methods: { type: 'string', default: [...methods, ...baselines].join(',') },
    'per-class': { type: 'string', default: '10,60,100' },
    seeds: { type: 'string', default: '1,2,3,4,5' },
    minutes: { type: 'string', default: '15' },
    steps: { type: 'string' },
    validation: { type: 'string', default: '600' },
    results: { type: 'string', default: join(import.meta.dirname, 'learning', 'results.jsonl') },
    choose: { type: 'boolean', default: false },
    render: { type: 'boolean', default: false },
  },
})

const wanted = names('methods', values.methods, [...methods, ...baselines])
const budget = values.steps === undefined ? { minutes: number('minutes', values.minutes), steps: null } : { minutes: null, steps: number('steps', values.steps) }
const keys = numbers('per-class', values['per-class']).flatMap(perClass => numbers('seeds', values.seeds).flatMap(seed => wanted.map((method): RunKey => ({
  method, perClass, seed, ...(isBaseline(method) ? { minutes: null, steps: null } : budget), validation: number('validation', values.validation), choose: values.choose,
}))))

const done = await linesOf<RunResult>(values.results)
if (!values.render) {
  say(`photographs as files in ${imageFolder}`)
  const photographs = { train: await imagesOf('train'), test: values.choose ? [] : await imagesOf('t10k'), classes }
  for (const key of keys) {
    if (done.some(result => nameOf(result) === nameOf(key))) continue
    say(nameOf(key))
    const folder = join(imageFolder, 'runs', nameOf(key).replaceAll(' ', '-'))
    await mkdir(folder, { recursive: true })
    const result = await run(key, photographs, { folder, say })
    await appendFile(values.results, `${JSON.stringify(result)}\n`)
    await rm(folder, { recursive: true, force: true })
    done.push(result)
    say(`  ${percent(result.accuracy)} of the test images, ${percent(result.framesAccuracy)} of the frames, ${(100 * result.validationAccuracy).toFixed(1)} % of the validation images`)
  }
}
process.stdout.write(`${rendered(done).join('\n')}\n`)

function nameOf({ method, perClass, seed, minutes, steps, validation, choose }: RunKey): string {
  const length = minutes !== null ? `${String(minutes)} min` : steps !== null ? `${String(steps)} steps` : 'to its end'
  return `${method} ${String(perClass)} a class, seed ${String(seed)}, ${length}, ${String(validation)} validation images${choose ? ', to choose by' : ''}`
}

function isBaseline(method: RunKey['method']): boolean {
  return (baselines as readonly string[]).includes(method)
}

function percent(share: number | null): string {
  return share === null ? 'no look' : `${(100 * share).toFixed(2)} %`
}
