/**
 * How often the drift detectors alarm where nothing changes, against what is promised, and how soon where something does:
 * `npm run bench:drift -- [--model folder] [--json]`. Without the folder of a model it trains one on the bundled labels, 400 steps.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { noDrift, type Drift } from '../agent/camera/simulation.js'
import { bundled, defaultConfig } from '../agent/config.js'
import { Adwin } from '../agent/drift/adwin.js'
import { readLabels } from '../agent/frames/labels.js'
import { ModelFile, Random, train } from '../trainer/index.js'
import { falseAlarms, falseRejections, stepDelays } from './drift/rates.js'
import { predictionsOf, reconstructionErrorsOf, type Prediction } from './drift/pictures.js'
import { watching } from './drift/streams.js'
import { ordinary } from './ordinary.js'

/** Pictures until the alarm, and what raised it; null: nothing did. */
interface Delay { delay: number | null; detector: string }

const { values } = parseArgs({ options: { model: { type: 'string' }, json: { type: 'boolean', default: false } } })
const { reference, window, falseAlarmsPerMonth, everySeconds } = defaultConfig().drift
const say = (text: string) => { process.stderr.write(`${text}\n`) }
const rows: string[][] = []
const seeds = Array.from({ length: 10 }, (_, index) => index + 1)
const tell = (...row: string[]) => {
  rows.push(row)
  say(row.join(' | '))
}
const mean = (numbers: readonly number[]) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length
const median = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN
const spread = (numbers: readonly number[]) => `${String(median(numbers))} (${String(Math.min(...numbers))} to ${String(Math.max(...numbers))})`

for (const alpha of [0.05, 0.01]) {
  const { windows, rejected } = falseRejections({ windows: 10_000, alpha, seed: 1 })
  tell('two-sample, independent windows', `alpha ${String(alpha)}`, `${String(rejected)} of ${String(windows)}`, `at most ${String(alpha * windows)}`)
}
for (const inertia of [0, 0.3, 0.6, 0.9]) {
  const { tests, alarms, promised } = falseAlarms({ seeds: 20, tests: 500, inertia })
  tell(`whole monitor, correlation ${String(inertia)} from picture to picture`, `${String(tests)} tests`, `${String(alarms)} alarms`, `at most ${promised.toFixed(0)}`)
}
for (const step of [0.1, 0.2, 0.3]) tell('ADWIN, confidence falls by', String(step), spread(stepDelays({ step, seeds: 40, delta: 1e-5 })), 'pictures')

const folder = values.model ?? await trainedModel()
const model = await ModelFile.open(await readFile(join(folder, 'model.onnx')))
const clean = await predictionsOf(model, noDrift)
const changes: Record<string, Drift> = {
  none: noDrift,
  'light 0.85': { ...noDrift, light: 0.85 }, 'light 0.7': { ...noDrift, light: 0.7 }, 'light 0.5': { ...noDrift, light: 0.5 },
  'turn 5°': { ...noDrift, turn: 5 }, 'turn 10°': { ...noDrift, turn: 10 }, 'turn 22°': { ...noDrift, turn: 22 },
  'blur 0.8': { ...noDrift, blur: 0.8 }, 'blur 2': { ...noDrift, blur: 2 }, 'blur 4': { ...noDrift, blur: 4 },
  'the demonstration\'s': { light: 0.7, turn: 22, blur: 0.8 },
}
const cleanErrors = await reconstructionErrorsOf(folder, noDrift)
for (const [name, change] of Object.entries(changes)) {
  const [changed, errors] = [await predictionsOf(model, change), await reconstructionErrorsOf(folder, change)]
  tellDelays(`pictures, ${name}`, seeds.map(seed => delayOf(changed, seed)))
  tellDelays(`the same, ADWIN on the error of reconstruction (${mean(errors).toFixed(4)}) instead`, seeds.map(seed => errorDelayOf(errors, seed)))
}
cost(clean)
await model.release()
if (values.model === undefined) await rm(folder, { recursive: true, force: true })
process.stdout.write(values.json ? `${JSON.stringify(rows)}\n` : `${rows.map(row => `| ${row.join(' | ')} |`).join('\n')}\n`)

function tellDelays(what: string, found: readonly Delay[]): void {
  const delays = found.flatMap(({ delay }) => (delay === null ? [] : [delay]))
  tell(what, `${String(delays.length)} of ${String(found.length)} told`, delays.length ? spread(delays) : '–', [...new Set(found.map(({ detector }) => detector))].join(', '))
}

/** Pictures from the change to the alarm, at most ten windows of them; at the default configuration, one picture each `everySeconds`. */
function delayOf(changed: readonly Prediction[], seed: number): Delay {
  const watch = watching({ reference, window, falseAlarmsPerMonth, everyMs: everySeconds * 1000 })
  const random = Random.of(seed, 3)
  const any = (from: readonly Prediction[]) => from[random.below(from.length)] as Prediction
  const before = reference + window + random.below(window)
  for (let count = 0; count < before; count++) watch.see(any(clean))
  for (let count = 1; count <= 10 * window; count++) {
    watch.see(any(changed))
    const [raised] = watch.events.flatMap(event => (event.state === 'alarm' ? [event.alarm] : []))
    if (raised) return { delay: count, detector: raised.detector }
  }
  return { delay: null, detector: 'none' }
}

/** The same of ADWIN alone, on errors of reconstruction, at what it may spend of the promise; ten times as large, so that they fill its range. */
function errorDelayOf(changed: readonly number[], seed: number): Delay {
  const random = Random.of(seed, 3)
  const adwin = new Adwin({ inertia: 1 })
  const add = (from: readonly number[]) => { adwin.add(Math.min(1, 10 * (from[random.below(from.length)] ?? NaN)), 0) }
  const alpha = (falseAlarmsPerMonth * (window / 4) * everySeconds) / (30 * 86_400) / 2
  const before = reference + window + random.below(window)
  for (let count = 1; count <= before + 10 * window; count++) {
    add(count <= before ? cleanErrors : changed)
    const raised = count > reference && (count - reference) % (window / 4) === 0 && adwin.check(alpha)
    if (raised) return { delay: count - before, detector: 'adwin' }
  }
  return { delay: null, detector: 'none' }
}

function cost(predictions: readonly Prediction[]): void {
  const watch = watching({ reference, window, falseAlarmsPerMonth, everyMs: 2000 })
  const took: number[] = []
  for (let count = 0; count < reference + 40 * window; count++) {
    const begin = performance.now()
    watch.see(predictions[count % predictions.length] as Prediction)
    took.push(performance.now() - begin)
  }
  const sorted = took.slice(reference).toSorted((a, b) => a - b)
  const at = (share: number) => (sorted[Math.floor(share * sorted.length)] ?? NaN).toFixed(3)
  const mean = sorted.reduce((sum, value) => sum + value, 0) / sorted.length
  tell('cost of a picture', `${at(0.5)} ms (p50)`, `${at(0.99)} ms (a test of the window)`, `${mean.toFixed(3)} ms mean; ${Math.max(...took).toFixed(0)} ms once, when the reference is complete`)
  const adwin = new Adwin({ inertia: 1 })
  const random = Random.of(8)
  let most = 0
  for (let count = 0; count < 3_000_000; count++) {
    adwin.add(random.float(), count)
    most = Math.max(most, adwin.bucketCount)
  }
  const numbers = (reference + window) * ((predictions[0]?.embedding.length ?? 0) + Object.keys(predictions[0]?.probabilities ?? {}).length + 1)
  tell('memory', `${((4 * numbers) / 1e6).toFixed(2)} MB of numbers`, `${String(most)} buckets after 3,000,000 pictures`, '')
}

async function trainedModel(): Promise<string> {
  const out = await mkdtemp(join(tmpdir(), 'pawl-bench-drift-'))
  say('training a model, 400 steps')
  await train({
    ...ordinary, ...await readLabels(bundled('labeled'), bundled('validation')), unlabeled: [], out, seed: 1, steps: 400,
  }, { signal: new AbortController().signal, onEvent: () => undefined })
  return out
}
