/**
 * The training engine beside others and beside itself:
 * `npm run bench:engine [-- peers,rewrites,wasm,linear,numerics] [--turns 3] [--repeats N] [--presets nano,tiny] [--json]`.
 *
 * Prints a table a section, or with `--json` one line a row; what is being measured goes to stderr. For PyTorch's rows
 * PAWL_TORCH_PEER names its program; OPENBLAS_CORETYPE reaches it. Ends with 2 when the command line is not understood.
 */
import { parseArgs } from 'node:util'
import { presets, type Preset } from '../trainer/model/presets.js'
import type { PresetName } from '../trainer/contract.js'
import type { Options, Result } from './bench/measure.js'
import { tabled } from './bench/table.js'

const sections: Readonly<Record<string, () => Promise<{ run: (options: Options) => Promise<Result> }>>> = {
  peers: () => import('./bench/peers.js'),
  rewrites: () => import('./bench/rewrites.js'),
  wasm: () => import('./bench/wasm.js'),
  linear: () => import('./bench/linear.js'),
  numerics: () => import('./bench/numerics.js'),
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    turns: { type: 'string', default: '3' },
    repeats: { type: 'string' },
    presets: { type: 'string', default: 'nano,tiny' },
    json: { type: 'boolean', default: false },
  },
})
const wanted = namesOf('sections', positionals.join(',') || Object.keys(sections).join(','), sections)
const options: Options = {
  turns: whole('turns', values.turns),
  repeats: values.repeats === undefined ? null : whole('repeats', values.repeats),
  presets: namesOf<Preset>('--presets', values.presets, presets) as PresetName[],
  say: text => { process.stderr.write(`${text}\n`) },
}

for (const name of wanted) {
  const { rows, notes } = await sections[name]?.().then(section => section.run(options)) ?? { rows: [], notes: [] }
  const lines = values.json
    ? [...rows.map(row => JSON.stringify({ section: name, ...row })), ...notes.map(note => JSON.stringify({ section: name, note }))]
    : ['', name, ...tabled(rows), ...notes.map(note => `(${note})`)]
  process.stdout.write(`${lines.join('\n')}\n`)
}

function namesOf<T>(what: string, given: string, table: Readonly<Record<string, T>>): string[] {
  const names = given.split(',')
  const unknown = names.find(name => !(name in table))
  if (unknown !== undefined) stop(`${what}: "${unknown}", expected some of ${Object.keys(table).join(', ')}`)
  return names
}

function whole(what: string, given: string): number {
  const number = Number(given)
  return Number.isInteger(number) && number > 0 ? number : stop(`--${what} is "${given}", expected a whole number above 0`)
}

function stop(reason: string): never {
  process.stderr.write(`${reason}\n`)
  process.exit(2)
}
