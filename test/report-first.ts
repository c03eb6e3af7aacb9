/**
 * The paper's own first experiments, on Fashion-MNIST (trainer/learning.md tells what they gave):
 * - `npm run report:first -- reconstruction [--minutes 5 | --steps N] [--seeds 1] [--held-out 2000] [--picture reconstruction.png]`
 * - `npm run report:first -- consistency [--methods pawl] [--minutes 5 | --steps N] [--seeds 1] [--per-class 10] [--held-out 2000] [--views 4]
 *   [--model folder]`: of a model that a round of each method makes, or of one that is there
 * - `npm run report:first -- fractions [--methods supervised,paper,pawl] [--percents 1,5,10,25] [--steps 2000 | --minutes M] [--seeds 1,2,3]
 *   [--validation 600] [--test]`: a line a run, those that are there are passed over
 * - `npm run report:first -- --render` only prints what the results tell; `--results folder` says where they are.
 *
 * The 10,000 test images are opened by `--test` alone. Ends with 2 when the command line is not understood.
 */
import { appendFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { methods } from '../trainer/contract.js'
import { presets } from '../trainer/model/presets.js'
import { imagesOf } from './learning/data.js'
import { renderedFirst, type FirstResult } from './learning/first-tables.js'
import { gapsTable, keysOf } from './learning/fractions.js'
import { picture } from '../trainer/pictures/rows.js'
import { reconstruction } from './learning/reconstruction.js'
import type { RunResult } from './learning/run.js'
import { runMissing } from './learning/runs.js'
import { linesOf, names, number, numbers, parsed, say, stop } from './learning/script.js'
import { consistency } from './learning/views.js'

const { values, positionals } = parsed(import.meta.filename, {
  allowPositionals: true,
  options: {
    methods: { type: 'string' },
    percents: { type: 'string', default: '1,5,10,25' },
    'per-class': { type: 'string', default: '10' },
    seeds: { type: 'string' },
    minutes: { type: 'string' },
    steps: { type: 'string' },
    'held-out': { type: 'string', default: '2000' },
    views: { type: 'string', default: '4' },
    validation: { type: 'string', default: '600' },
    model: { type: 'string' },
    picture: { type: 'string', default: join(import.meta.dirname, '..', 'trainer', 'reconstruction.png') },
    results: { type: 'string', default: join(import.meta.dirname, 'learning') },
    test: { type: 'boolean', default: false },
    render: { type: 'boolean', default: false },
  },
})

const files = { first: join(values.results, 'first.jsonl'), fractions: join(values.results, 'fractions.jsonl') }
const heldOut = number('held-out', values['held-out'])
if (heldOut % 2 !== 0) stop(`--held-out is "${values['held-out']}", expected an even number`)

const sections = {
  reconstruction: async () => {
    const images = await imagesOf('train')
    for (const seed of numbers('seeds', values.seeds ?? '1')) {
      const { result, rows } = await reconstruction(images, { seed, ...lengthOr({ minutes: 5, steps: null }), heldOut, say })
      await writeFile(values.picture, await picture(rows, presets.nano.size))
      await keep(result)
    }
  },
  consistency: async () => {
    const images = await imagesOf('train')
    const rest = { perClass: number('per-class', values['per-class']), ...lengthOr({ minutes: 5, steps: null }), heldOut, views: number('views', values.views), say }
    for (const method of names('methods', values.methods ?? 'pawl', methods)) {
      for (const seed of numbers('seeds', values.seeds ?? '1')) await keep(await consistency(images, { model: values.model ?? null, method, seed, ...rest }))
    }
  },
  fractions: async () => {
    const keys = keysOf({
      percents: numbers('percents', values.percents), seeds: numbers('seeds', values.seeds ?? '1,2,3'),
      methods: names('methods', values.methods ?? 'supervised,paper,pawl', methods), ...lengthOr({ minutes: null, steps: 2000 }),
      validation: number('validation', values.validation), choose: !values.test,
    })
    print(gapsTable(await runMissing(keys, files.fractions)))
  },
}

if (values.render) {
  const runs = await linesOf<RunResult>(files.fractions)
  print([...renderedFirst(await linesOf<FirstResult>(files.first)), ...runs.length ? ['', ...gapsTable(runs)] : []])
} else {
  const known = Object.keys(sections) as (keyof typeof sections)[]
  for (const name of names('sections', positionals.join(','), known)) await sections[name]()
}

async function keep(result: FirstResult): Promise<void> {
  await appendFile(files.first, `${JSON.stringify(result)}\n`)
  print(renderedFirst([result]))
}

/** Minutes or steps as they are asked for, else as a section has them. */
function lengthOr(usual: { minutes: number | null; steps: number | null }): { minutes: number | null; steps: number | null } {
  if (values.steps !== undefined) return { minutes: null, steps: number('steps', values.steps) }
  return values.minutes === undefined ? usual : { minutes: number('minutes', values.minutes), steps: null }
}

function print(lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`)
}
