/**
 * Whether a model learns more from the frames that the selection keeps than from as many that chance keeps, without labels and where a person labels
 * some of them: `npm run bench:selection -- [--seeds 1,2,3] [--mixes even,uneven] [--per-class 10] [--steps 150] [--first 2000] [--stream 8000]
 * [--asked 100] [--results selecting.jsonl] [--render]`.
 *
 * Writes a JSON line a seed and mix and passes over those that are there. The test images are not opened: the frames' own classes tell.
 */
import { join } from 'node:path'
import { tabled } from './bench/table.js'
import { imagesOf } from './learning/data.js'
import { completed, grouped, mean, names, number, numbers, parsed, say, spread } from './learning/script.js'
import { mixes, select, type SelectingKey, type SelectingResult } from './learning/selecting.js'

const { values } = parsed(import.meta.filename, {
  options: {
    seeds: { type: 'string', default: '1,2,3' },
    mixes: { type: 'string', default: mixes.join(',') },
    'per-class': { type: 'string', default: '10' },
    steps: { type: 'string', default: '150' },
    first: { type: 'string', default: '2000' },
    stream: { type: 'string', default: '8000' },
    asked: { type: 'string', default: '100' },
    results: { type: 'string', default: join(import.meta.dirname, 'learning', 'selecting.jsonl') },
    render: { type: 'boolean', default: false },
  },
})

const sizes = {
  perClass: number('per-class', values['per-class']), steps: number('steps', values.steps), first: number('first', values.first),
  stream: number('stream', values.stream), asked: number('asked', values.asked),
}
const keys = numbers('seeds', values.seeds).flatMap(seed => names('mixes', values.mixes, mixes).map((mix): SelectingKey => ({ seed, mix, ...sizes })))
const images = values.render ? [] : await imagesOf('train')
const done = await completed<SelectingKey, SelectingResult>(values.render ? [] : keys, {
  file: values.results, nameOf, run: key => select(key, images, say),
})
const per = (share: number) => (100 * share).toFixed(1)
const gain = (results: readonly SelectingResult[], what: 'frames' | 'labels') => {
  const gains = results.map(({ accuracy }) => accuracy[`${what} selected`] - accuracy[`${what} by chance`])
  return `${per(mean(gains))} ± ${per(spread(gains))}`
}
const rows = [...grouped(done, ({ mix }) => mix)].map(([mix, results]) => {
  const of = (what: keyof SelectingResult['accuracy']) => per(mean(results.map(({ accuracy }) => accuracy[what])))
  return {
    mix, seeds: results.length, kept: per(mean(results.map(({ kept, stream }) => kept / stream))), before: of('before'),
    'frames by chance': of('frames by chance'), selected: of('frames selected'), 'frames gain': gain(results, 'frames'),
    'labels by chance': of('labels by chance'), 'labels selected': of('labels selected'), 'labels gain': gain(results, 'labels'),
  }
})
process.stdout.write(`${tabled(rows).join('\n')}\n`)

function nameOf({ seed, mix, perClass, steps, first, stream, asked }: SelectingKey): string {
  return `selection, seed ${String(seed)}, ${mix} mix, ${String(perClass)} a class, ${String(steps)} steps, ${String(first)} frames and ${String(stream)} passing, ${String(asked)} asked`
}
