/** `npm run crash -- --kills 200 --seed 1`: cuts the power of a box so often, prints what it found, and ends with 1 where anything was lost. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { crash } from './crash.js'

const { values } = parseArgs({ options: { kills: { type: 'string', default: '200' }, seed: { type: 'string', default: '1' }, folder: { type: 'string' } } })
const folder = values.folder ?? await mkdtemp(join(tmpdir(), 'pawl-crash-'))
// The daemon of the moment ends with it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))
const say = (line: string) => { process.stdout.write(`${line}\n`) }

const { problems, servingAgainMs, ...counts } = await crash({ kills: Number(values.kills), seed: Number(values.seed), folder, say })
const sorted = servingAgainMs.toSorted((a, b) => a - b)
const at = (share: number) => `${((sorted[Math.floor(share * (sorted.length - 1))] ?? NaN) / 1000).toFixed(1)} s`
say(JSON.stringify(counts, null, 2))
say(`from the start after a kill to the first prediction: median ${at(0.5)}, at most ${at(1)} (${String(sorted.length)} starts)`)
say(problems.length ? `${String(problems.length)} problems:\n${problems.join('\n')}` : 'nothing was lost')
if (problems.length) say(`what is left lies in ${folder}`)
else if (values.folder === undefined) await rm(folder, { recursive: true })
process.exit(problems.length ? 1 : 0)
