/**
 * What a round costs those who wait for predictions: `npm run bench:serving [-- --turns 6] [--seconds 5] [--rate 10] [--preset nano] [--lanes N]
 * [--mechanisms] [--json]`.
 *
 * Times frames from JPEG to prediction through the agent's own classifier, in turns: the round stands still, then it works, and so on, so that
 * whatever else the machine does falls on both. With `--mechanisms` (root) it works in turns at other priorities too.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { loadavg, setPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { ClassifierPool } from '../agent/classifier/pool.js'
import { bundled, defaultConfig } from '../agent/config.js'
import { readLabels } from '../agent/frames/labels.js'
import { runInChild } from '../agent/rounds/round.js'
import { presets, Random, untrainedModel, type PresetName } from '../trainer/index.js'
import { tabled } from './bench/table.js'
import { ordinary } from './ordinary.js'

const { values } = parseArgs({
  options: {
    turns: { type: 'string', default: '6' }, seconds: { type: 'string', default: '5' }, rate: { type: 'string', default: '10' },
    preset: { type: 'string', default: 'nano' }, lanes: { type: 'string' }, mechanisms: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
const [turns, seconds, rate] = [Number(values.turns), Number(values.seconds), Number(values.rate)]
const preset = values.preset as PresetName
const say = (text: string) => { process.stderr.write(`${text}\n`) }
const random = new Random(7)
const at = (ms: readonly number[], share: number) => ms.toSorted((a, b) => a - b)[Math.min(ms.length - 1, Math.floor(share * ms.length))] ?? NaN

/** Lets a process and all its threads compute at another priority. */
const mechanisms: Record<string, (pid: number) => void> = {
  'as it is started': pid => { schedule(pid, '--idle', 19) },
  'nice 19': pid => { schedule(pid, '--other', 19) },
  'nice 10': pid => { schedule(pid, '--other', 10) },
}
function schedule(pid: number, policy: string, nice: number): void {
  execFileSync('chrt', [policy, '--all-tasks', '--pid', '0', String(pid)])
  for (const thread of readdirSync(`/proc/${String(pid)}/task`)) setPriority(Number(thread), nice)
}

const folder = await mkdtemp(join(tmpdir(), 'pawl-serving-'))
const pool = new ClassifierPool({ threads: 1, loadMs: 60_000, onProblem: say })
const jpegs = await pictures()
await serve()

/** The round stands still while this says why. */
let reason: string | null = null
let [steps, stands] = [0, false]
const ending = new AbortController()
const labels = await readLabels(bundled('labeled'), bundled('validation'))
const unlabeled = (await readdir(bundled('unlabeled'))).sort().slice(0, 1000).map(name => join(bundled('unlabeled'), name))
const before = children()
const round = runInChild({ ...ordinary, ...labels, preset, unlabeled, out: join(folder, 'round'), seed: 1, minutes: 600, lanes: values.lanes === undefined ? null : Number(values.lanes) }, {
  graceMs: 60_000, limits: defaultConfig().rounds, brake: { reason: () => Promise.resolve(reason), working: false },
  signal: ending.signal, closing: new AbortController().signal,
  onEvent: event => {
    if (event.type === 'progress') steps = event.step
    if (event.type === 'pause') stands = event.reason !== null
  },
})
const [trainer = 0] = children().filter(pid => !before.includes(pid))
say('waiting for the round to begin its steps')
await until(() => steps >= 5)

const seen = new Map<string, { ms: number[]; steps: number }>()
for (let turn = 1; turn <= turns; turn++) {
  await stand(true)
  await measure('the round stands still', turn)
  for (const [name, apply] of Object.entries(mechanisms).slice(0, values.mechanisms ? undefined : 1)) {
    if (values.mechanisms) apply(trainer)
    await stand(false)
    await measure(values.mechanisms ? `it works, ${name}` : 'it works', turn)
  }
}
ending.abort()
await round
await pool.stop()
await rm(folder, { recursive: true, force: true })

const [[, rest] = ['', { ms: [], steps: 0 }]] = [...seen]
const rows = [...seen].map(([what, { ms, steps }]) => ({
  what, frames: ms.length, 'p50 ms': at(ms, 0.5), 'p99 ms': at(ms, 0.99), 'largest ms': at(ms, 1),
  'p50 ratio': at(ms, 0.5) / at(rest.ms, 0.5), 'p99 ratio': at(ms, 0.99) / at(rest.ms, 0.99), 'steps/s': steps / (turns * seconds),
}))
process.stdout.write(values.json ? rows.map(row => `${JSON.stringify(row)}\n`).join('') : `${tabled(rows).join('\n')}\n`)
say(`(load of the machine over the last minute: ${loadavg()[0]?.toFixed(1) ?? ''})`)

async function measure(what: string, turn: number): Promise<void> {
  // What was under way ends first.
  await send(0.5)
  const stepsBefore = steps
  const ms = await send(seconds)
  const all = seen.get(what) ?? { ms: [], steps: 0 }
  seen.set(what, { ms: [...all.ms, ...ms], steps: all.steps + steps - stepsBefore })
  say(`turn ${String(turn)}, ${what}: p50 ${at(ms, 0.5).toFixed(1)} ms, largest ${at(ms, 1).toFixed(1)} ms`)
}

/** Frames at the rate, each at a random moment of its time; whether or not the one before is answered. */
async function send(forSeconds: number): Promise<number[]> {
  const began = performance.now()
  const answered: Promise<number>[] = []
  for (let frame = 0; frame < forSeconds * rate; frame++) {
    await sleep(Math.max(0, began + (1000 * (frame + random.float())) / rate - performance.now()))
    const sent = performance.now()
    answered.push(pool.classify(jpegs[frame % jpegs.length] as Buffer).then(() => performance.now() - sent))
  }
  return Promise.all(answered)
}

async function stand(still: boolean): Promise<void> {
  reason = still ? 'it is measured what is usual' : null
  const from = steps
  await until(() => (still ? stands : !stands && steps > from))
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(20)
}

/** The model need not know anything. */
async function serve(): Promise<void> {
  const model = await untrainedModel(preset)
  const path = join(folder, 'model.onnx')
  await writeFile(path, model)
  await pool.swap({ version: 1, path, sha256: createHash('sha256').update(model).digest('hex') })
  await send(2)
}

function pictures(): Promise<Buffer[]> {
  const side = Math.max(112, presets[preset].size)
  return Promise.all(Array.from({ length: 16 }, (_, index) => sharp({
    create: { width: side, height: side, channels: 3, background: '#444', noise: { type: 'gaussian', mean: 100 + index * 5, sigma: 30 } },
  }).jpeg().toBuffer()))
}

/** Processes that this one has started. */
function children(): number[] {
  const threads = readdirSync('/proc/self/task')
  return threads.flatMap(thread => readFileSync(`/proc/self/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number))
}
