/**
 * What a warm start is worth, and whether a bad champion lives on in what follows it:
 * `npm run bench:warm -- [--seeds 1,2,3] [--per-class 10] [--steps 600] [--results warm.jsonl] [--render]`.
 *
 * Writes a JSON line a seed and passes over those that are there. The test images are not opened: the frames' own classes tell.
 */
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { tabled } from './bench/table.js'
import { imagesOf } from './learning/data.js'
import { linesOf, mean, number, numbers, say, spread } from './learning/script.js'
import { beginnings, warmUp, type WarmKey, type WarmResult } from './learning/warm.js'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1,2,3' },
    'per-class': { type: 'string', default: '10' },
    steps: { type: 'string', default: '600' },
    results: { type: 'string', default: join(import.meta.dirname, 'learning', 'warm.jsonl') },
    render: { type: 'boolean', default: false },
  },
})

const [perClass, steps] = [number('per-class', values['per-class']), number('steps', values.steps)]
const keys = numbers('seeds', values.seeds).map((seed): WarmKey => ({ seed, perClass, steps }))
const done = await linesOf<WarmResult>(values.results)
const images = values.render ? [] : await imagesOf('train')
for (const key of values.render ? [] : keys) {
  if (done.some(result => nameOf(result) === nameOf(key))) continue
  say(nameOf(key))
  const result = await warmUp(key, images, say)
  await appendFile(values.results, `${JSON.stringify(result)}\n`)
  done.push(result)
}
const per = (share: number) => (100 * share).toFixed(2)
const rows = beginnings.map(beginning => {
  const rounds = done.flatMap(result => result.rounds).filter(round => round.beginning === beginning)
  const scratch = done.flatMap(result => result.rounds).filter(round => round.beginning === 'scratch')
  const accuracies = rounds.map(({ accuracy }) => accuracy)
  return {
    beginning, seeds: rounds.length, champion: beginning === 'scratch' ? '' : per(mean(rounds.map(({ champion }) => champion ?? Number.NaN))),
    mean: per(mean(accuracies)), spread: per(spread(accuracies)),
    'against scratch': rounds.map(({ accuracy }, index) => per(accuracy - (scratch[index]?.accuracy ?? Number.NaN))).join(' '),
  }
})
process.stdout.write(`${tabled(rows).join('\n')}\n`)

function nameOf({ seed, perClass: labels, steps: length }: WarmKey): string {
  return `warm start, seed ${String(seed)}, ${String(labels)} a class, ${String(length)} steps`
}
