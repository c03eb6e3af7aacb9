/**
 * The built daemon on site, beside the figures asked for:
 * `npm run bench:agent [-- --parts idle,swap,latency,recovery,cameras] [--seconds 120] [--results F] [--models D]`.
 *
 * A part is a file below agent/ and a row here. Prints one table; `--results` appends one line of JSON a part to a file; `--models` is a
 * folder where the models are kept that it trains, for the next time. What is being measured goes to stderr. Needs mosquitto, ffmpeg and,
 * for cameras over RTSP, what test/cameras/rtsp-camera.ts names.
 */
import { appendFile, mkdtemp, rm } from 'node:fs/promises'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cameras } from './agent/cameras.js'
import { idle } from './agent/idle.js'
import { latency } from './agent/latency.js'
import type { Figure, Part } from './agent/part.js'
import { recovery } from './agent/recovery.js'
import { Site, trainModels } from './agent/site.js'
import { swap } from './agent/swap.js'
import { tabled } from './bench/table.js'

const parts: Readonly<Record<string, Part>> = { idle, swap, latency, recovery, cameras }

const { values } = parseArgs({
  options: {
    parts: { type: 'string', default: Object.keys(parts).join(',') }, seconds: { type: 'string', default: '120' },
    results: { type: 'string' }, models: { type: 'string' },
  },
})
const wanted = values.parts.split(',')
const unknown = wanted.find(name => !(name in parts))
if (unknown !== undefined) stop(`--parts: "${unknown}", expected some of ${Object.keys(parts).join(', ')}`)
const seconds = Number(values.seconds)
if (!(seconds > 0)) stop(`--seconds is "${values.seconds}", expected a number above 0`)

const folder = await mkdtemp(join(tmpdir(), 'pawl-bench-agent-'))
const say = (line: string) => { process.stderr.write(`${line}\n`) }
const trained = new Map<string, Promise<string[]>>()
const modelsOf = (preset: string) => {
  const there = trained.get(preset) ?? trainModels(values.models ?? join(folder, 'models'), preset)
  trained.set(preset, there)
  return there
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))

const figures: Figure[] = []
try {
  for (const name of wanted) {
    const loadBefore = loadavg()[0]
    const site = async (preset = 'nano') => Site.in(join(folder, 'site'), await modelsOf(preset))
    const result = await parts[name]!({ site, seconds, say })
    figures.push(...result.figures)
    const machine = { cpu: cpus()[0]?.model, cores: cpus().length, loadBefore, loadAfter: loadavg()[0] }
    if (values.results !== undefined) await appendFile(values.results, JSON.stringify({ part: name, at: new Date().toISOString(), machine, ...result }) + '\n')
  }
} finally {
  await rm(folder, { recursive: true, force: true })
}

process.stdout.write(`${tabled(figures.map(({ what, measured, unit, asked, atLeast = false }) => ({
  what, measured, unit, asked: asked === null ? '' : `${atLeast ? '≥' : '≤'} ${String(Math.round(10 * asked) / 10)}`,
  reached: asked === null ? '' : (atLeast ? measured >= asked : measured <= asked) ? 'yes' : 'no',
}))).join('\n')}\n`)

function stop(reason: string): never {
  process.stderr.write(`${reason}\n`)
  process.exit(2)
}
