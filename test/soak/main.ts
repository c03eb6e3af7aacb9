/**
 * `npm run soak -- --minutes 30`: a day a minute; prints what grows, by how much an hour, and ends with 1 where anything grows beyond its bound.
 * `--calm`: frames alone, so that one classifier lives from the first to the last.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { soak } from './soak.js'
import { judge, table } from './verdict.js'

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '30' }, calm: { type: 'boolean', default: false } } })
const minutes = Number(values.minutes)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))
const folder = await mkdtemp(join(tmpdir(), 'pawl-soak-'))
const say = (line: string) => { process.stdout.write(`${line}\n`) }

const { readings, happened, problems } = await soak({ minutes, folder, calm: values.calm, say })
const findings = judge(readings, { warmUpSeconds: Math.max(180, minutes * 60 * 0.3), long: values.calm })
say(Object.entries(happened).map(([what, times]) => `${what}: ${String(times)}`).join('; '))
for (const line of table(findings)) say(line)
for (const problem of problems) say(`PROBLEM: ${problem}`)
await rm(folder, { recursive: true, force: true })
process.exit(problems.length || findings.some(({ grows, unknown }) => grows || unknown) ? 1 : 0)
