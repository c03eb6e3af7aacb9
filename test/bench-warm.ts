/**
 * What a warm start is worth, and whether a bad champion lives on in what follows it:
 * `npm run bench:warm -- [--seeds 1,2,3] [--per-class 10] [--steps 600] [--without nothing,shortcut] [--before 1] [--results warm.jsonl]
 * [--render]`.
 *
 * Without the shortcut it is the transformer alone that begins warm and that is measured; else what was fitted stands beside it.
 * `--before 4` gives the champion four rounds in a row behind it, each begun with the model of the one before, on the same
 * images; a champion of mixed-up labels is left out then.
 * Writes a JSON line a seed and passes over those that are there. The test images are not opened: the frames' own classes tell.
 */
import { join } from 'node:path'
import { tabled } from './bench/table.js'
import { ablations, leftOut, type Ablation } from './learning/ablations.js'
import { imagesOf } from './learning/data.js'
import { completed, grouped, mean, names, number, numbers, parsed, say, spread, stop } from './learning/script.js'
import { beginnings, warmUp, type WarmKey, type WarmResult } from './learning/warm.js'

const { values } = parsed(import.meta.filename, {
  options: {
    seeds: { type: 'string', default: '1,2,3' },
    'per-class': { type: 'string', default: '10' },
    steps: { type: 'string', default: '600' },
    without: { type: 'string', default: 'nothing,shortcut' },
    results: { type: 'string', default: join(import.meta.dirname, 'learning', 'warm.jsonl') },
    before: { type: 'string', default: '1' },
    render: { type: 'boolean', default: false },
  },
})

const [perClass, steps, before] = [number('per-class', values['per-class']), number('steps', values.steps), number('before', values.before)]
if (!Number.isInteger(before)) stop(`--before is "${values.before}", expected a whole number of rounds`)
const without = names('without', values.without, Object.keys(ablations) as Ablation[])
const keys = numbers('seeds', values.seeds).flatMap(seed => without.map((name): WarmKey => ({ seed, perClass, steps, before, switches: ablations[name] })))
const images = values.render ? [] : await imagesOf('train')
const done = await completed<WarmKey, WarmResult>(values.render ? [] : keys, { file: values.results, nameOf, run: key => warmUp(key, images, say) })
const per = (share: number) => (100 * share).toFixed(2)
const groups = [...grouped(done, ({ switches, perClass: labels, steps: length, before: rounds = 1 }) => [leftOut(switches) ?? '', 10 * labels, length, rounds].join(', ')).values()]
const rows = groups.flatMap(results => beginnings.flatMap(beginning => {
  const those = (one: string) => results.flatMap(({ rounds }) => rounds.filter(round => round.beginning === one))
  const [rounds, scratch] = [those(beginning), those('scratch')]
  if (rounds.length === 0) return []
  const accuracies = rounds.map(({ accuracy }) => accuracy)
  const [first] = results
  return {
    without: leftOut(first?.switches ?? {}) ?? '', labels: 10 * (first?.perClass ?? 0), steps: first?.steps ?? 0, before: beginning === 'scratch' ? '' : first?.before ?? 1, seeds: rounds.length, beginning,
    champion: beginning === 'scratch' ? '' : per(mean(rounds.map(({ champion }) => champion ?? Number.NaN))),
    mean: per(mean(accuracies)), spread: per(spread(accuracies)),
    'against scratch': rounds.map(({ accuracy }, index) => per(accuracy - (scratch[index]?.accuracy ?? Number.NaN))).join(' '),
  }
}))
process.stdout.write(`${tabled(rows).join('\n')}\n`)

function nameOf({ seed, perClass: labels, steps: length, before: rounds = 1, switches }: WarmKey): string {
  const [name, long] = [leftOut(switches), rounds === 1 ? '' : ` after ${String(rounds)} rounds`]
  return `warm start${long}${name === null ? '' : ` without ${name}`}, seed ${String(seed)}, ${String(labels)} a class, ${String(length)} steps`
}
