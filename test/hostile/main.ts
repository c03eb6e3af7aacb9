/**
 * `npm run hostile -- [--minutes 10] [--seed 1]`: pictures, cameras, requests, configurations, labels and models that are not what they should be,
 * thrown at one box, again and again. Prints what was thrown at what and how often, and ends with 1 at any problem.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { hostile } from './hostile.js'

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' }, seed: { type: 'string', default: '1' } } })
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))
const folder = await mkdtemp(join(tmpdir(), 'pawl-hostile-'))
const say = (line: string) => { process.stdout.write(`${line}\n`) }

say(`seed ${values.seed}`)
const { problems, thrown, peakMb } = await hostile({ minutes: Number(values.minutes), seed: Number(values.seed), folder, say })
for (const [what, kinds] of Object.entries(thrown)) {
  say(`${what}: ${String(Object.values(kinds).reduce((sum, count) => sum + count, 0))}`)
  for (const [kind, count] of Object.entries(kinds)) say(`  ${String(count).padStart(5)}  ${kind}`)
}
say(`most memory, MB: ${JSON.stringify(peakMb)}`)
for (const problem of problems) say(`PROBLEM: ${problem}`)
if (problems.length) say(`seed ${values.seed}; what is left lies in ${folder}`)
else await rm(folder, { recursive: true })
process.exit(problems.length ? 1 : 0)
