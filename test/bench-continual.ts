/**
 * What becomes of a model on a site that changes, over twelve rounds, by the way it is kept up to date:
 * `npm run bench:continual -- [--upkeeps none,labels,gdumb,ungated,pawl] [--seeds 1,2,3,4,5] [--steps 100] [--frames 1500] [--max-frames 3000]
 * [--tests 600] [--results continual.jsonl] [--choose] [--render] [--plot folder]`.
 *
 * Writes a JSON line a run and passes over the runs that are there already; one that is interrupted goes on from its last round. With
 * `--choose` the test images are not opened. `--render` only prints the tables of the lines there are. `--plot` draws `continual.svg` into
 * the folder.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { play, upkeepNames, type ContinualKey, type ContinualResult } from './learning/continual.js'
import { imageFolder } from './learning/data.js'
import { rendered } from './learning/continual-tables.js'
import { continualSpec } from './learning/continual-plot.js'
import { plot } from './learning/plot.js'
import { completed, names, number, numbers, parsed, say } from './learning/script.js'

const { values } = parsed(import.meta.filename, {
  options: {
    upkeeps: { type: 'string', default: upkeepNames.join(',') },
    seeds: { type: 'string', default: '1,2,3,4,5' },
    steps: { type: 'string', default: '100' },
    frames: { type: 'string', default: '1500' },
    'max-frames': { type: 'string', default: '3000' },
    tests: { type: 'string', default: '600' },
    results: { type: 'string', default: join(import.meta.dirname, 'learning', 'continual.jsonl') },
    choose: { type: 'boolean', default: false },
    render: { type: 'boolean', default: false },
    plot: { type: 'string' },
  },
})

const wanted = names('upkeeps', values.upkeeps, upkeepNames)
const keys = numbers('seeds', values.seeds).flatMap(seed => wanted.map((upkeep): ContinualKey => ({
  upkeep, seed, steps: number('steps', values.steps), frames: number('frames', values.frames), maxFrames: number('max-frames', values['max-frames']),
  tests: number('tests', values.tests), choose: values.choose,
})))

const done = await completed<ContinualKey, ContinualResult>(values.render ? [] : keys, {
  file: values.results, nameOf, run: key => play(key, folderOf(key), say), onKept: key => rm(folderOf(key), { recursive: true, force: true }),
})
if (values.plot !== undefined) await plot(done, { file: values.results, folder: values.plot, specs: { continual: continualSpec } })
process.stdout.write(`${rendered(done).join('\n')}\n`)

function folderOf(key: ContinualKey): string {
  return join(imageFolder, 'continual', nameOf(key).replaceAll(' ', '-'))
}

function nameOf({ upkeep, seed, steps, frames, maxFrames, tests, choose }: ContinualKey): string {
  return `${upkeep}, seed ${String(seed)}, ${String(steps)} steps, ${String(frames)} of ${String(maxFrames)} frames, ${String(tests)} tests${choose ? ', to choose by' : ''}`
}
