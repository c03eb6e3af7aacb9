/**
 * `npm run crash -- --kills 200 --seed 1`: cuts the power of a box so often, then does to its files, folders, clock and disk whatever can be done to
 * them. Prints what it found, and ends with 1 where anything was lost. `--faults <pattern>` chooses among what is done; `--kills 0` cuts no power.
 */
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { crash } from './crash.js'
import { faults } from './faults.js'
import { grow, type Grown } from './grown.js'
import { injected } from './inject.js'
import { surroundings } from './surroundings.js'

const { values: { kills, seed, faults: pattern, folder: given } } = parseArgs({
  options: { kills: { type: 'string', default: '200' }, seed: { type: 'string', default: '1' }, faults: { type: 'string', default: '' }, folder: { type: 'string' } },
})
const folder = given ?? await mkdtemp(join(tmpdir(), 'pawl-crash-'))
// Some of it runs as somebody else.
await chmod(folder, 0o755)
// The daemon of the moment ends with it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))
const say = (line: string) => { process.stdout.write(`${line}\n`) }
const problems: string[] = []

if (Number(kills) > 0) {
  const { problems: own, servingAgainMs, ...counts } = await crash({ kills: Number(kills), seed: Number(seed), folder, say })
  problems.push(...own)
  const sorted = servingAgainMs.toSorted((a, b) => a - b)
  const at = (share: number) => `${((sorted[Math.floor(share * (sorted.length - 1))] ?? NaN) / 1000).toFixed(1)} s`
  say(JSON.stringify(counts, null, 2))
  say(`from the start after a kill to the first prediction: median ${at(0.5)}, 95 % within ${at(0.95)}, at most ${at(1)} (${String(sorted.length)} starts)`)
}

const trials = [
  ...Object.entries(faults).map(([name, fault]) => ({ name, missing: null, run: (grown: Grown) => injected(grown, fault) })),
  ...Object.entries(surroundings).map(([name, { missing, run }]) => ({ name, missing: missing(), run })),
].filter(({ name }) => new RegExp(pattern).test(name))
if (trials.length) {
  const own = join(folder, 'grown-box')
  await mkdir(own)
  const grown = await grow(own)
  for (const { name, missing, run } of trials) {
    const found = missing === null ? await run(grown) : []
    say(`${name}: ${missing === null ? (found.length ? 'FAILED' : 'as it should be') : `skipped: ${missing}`}`)
    problems.push(...found.map(problem => `${name}: ${problem}`))
  }
  await grown.box.close()
}

say(problems.length ? `${String(problems.length)} problems:\n${problems.join('\n')}` : 'nothing was lost')
if (problems.length) say(`what is left lies in ${folder}`)
else if (given === undefined) await rm(folder, { recursive: true })
process.exit(problems.length ? 1 : 0)
