/** One run of the benchmark: a round on its division of the data, and what the model is worth on the test images. */
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ModelFile, metricsOf, trainerEnvironment, type GateLook, type LabeledImage, type MethodName, type RoundEvent, type RoundResult, type RoundSpec } from '../../trainer/index.js'
import { loadImages } from '../../trainer/data/load.js'
import { probabilitiesOf } from '../../trainer/evidence.js'
import { presets } from '../../trainer/model/presets.js'
import { recipeOf, type Recipe } from '../../trainer/recipe.js'
import { ordinary, undisturbed } from '../ordinary.js'
import { isBaseline, runBaseline, type Baseline } from './baselines.js'
import { divided, type Division } from './data.js'

export type LearningEvent =
  | Extract<RoundEvent, { type: 'gate' | 'resumed' | 'progress' }>
  /** Frames whose pseudo-labels counted in a step, and these. */
  | { type: 'pseudo-labels'; step: number; labels: readonly (readonly [path: string, label: string])[] }
  | { type: 'result'; result: RoundResult }

/** What tells one run from all others. */
export interface RunKey {
  method: MethodName | Baseline
  perClass: number
  seed: number
  /** Of a round, in minutes or in steps; both null: a baseline, which ends by itself. */
  minutes: number | null
  steps: number | null
  validation: number
  /** The most that a round learns from; null: all photographs that are neither labeled nor validate. */
  frames: number | null
  /** What is otherwise than the method says. */
  switches: Partial<Recipe>
  /** A run to choose by: the test images are not opened. */
  choose: boolean
}

export interface RunResult extends RunKey {
  /** All switches as they were; null: a baseline has none. In lines without a commit filled in later, from the history of the recipe. */
  recipe: Recipe | null
  /** On the 10,000 test images, looked at once; null: the run was one to choose by, which does not open them. */
  accuracy: number | null
  /** On 5,000 of the frames, whose classes nobody was told: for choices. */
  framesAccuracy: number | null
  /** On the half of the validation images that no gate has looked at; of a baseline on all of them, by which it chose its settings. */
  validationAccuracy: number
  seconds: number
  stepsTaken: number | null
  /** Of the test images, or of the frames in a run to choose by and in lines without a commit; null: of a baseline it is not asked. */
  ece: number | null
  looks: GateLook[]
  pseudoLabels: PseudoLabels[]
}

/** Of one look at the gate to the next: pseudo-labels that counted, and how many of them were right. */
export interface PseudoLabels {
  step: number
  used: number
  right: number
}

export interface Photographs {
  train: readonly LabeledImage[]
  /** Empty: for choices. */
  test: readonly LabeledImage[]
  classes: readonly string[]
}

export interface RunOptions {
  folder: string
  say: (text: string) => void
}

/** `folder` keeps what an interrupted run goes on from. */
export async function run(key: RunKey, photographs: Photographs, { folder, say }: RunOptions): Promise<RunResult> {
  const { unlabeled, ...judged } = divided(photographs.train, key)
  const division = { ...judged, unlabeled: unlabeled.slice(0, key.frames ?? undefined) }
  return isBaseline(key.method)
    ? baseline(key.method, key, division, photographs)
    : round(key.method, key, division, photographs, { folder, say })
}

async function baseline(name: Baseline, key: RunKey, { labeled, gate, promotion }: Division, { test, classes }: Photographs): Promise<RunResult> {
  const startedAtMs = performance.now()
  const images = async (items: readonly LabeledImage[]) => {
    const { pixels } = await loadImages(items, ({ path }) => path, presets.nano.size, undisturbed)
    return { pixels, labels: items.map(({ label }) => classes.indexOf(label)) }
  }
  const data = { labeled: await images(labeled), validation: await images([...gate, ...promotion]), test: await images(test), seed: key.seed }
  const result = await runBaseline(name, data)
  return {
    ...key, ...result, accuracy: test.length ? result.accuracy : null, framesAccuracy: null,
    seconds: (performance.now() - startedAtMs) / 1000, recipe: null, stepsTaken: null, ece: null, looks: [], pseudoLabels: [],
  }
}

async function round(
  method: MethodName, key: RunKey, { labeled, gate, promotion, unlabeled }: Division, { test }: Photographs,
  { folder, say }: RunOptions,
): Promise<RunResult> {
  const spec: RoundSpec = {
    ...ordinary, switches: key.switches, labeled, gate, promotion, unlabeled: unlabeled.map(({ path }) => path), out: folder, method,
    seed: key.seed, steps: key.steps, minutes: key.minutes,
  }
  const { pseudoLabels, take } = checkedPseudoLabels(unlabeled)
  let told = 0
  const { card } = await trained(spec, event => {
    take(event)
    if (event.type === 'progress' && event.fraction >= told) {
      say(`  ${event.phase} ${(100 * event.fraction).toFixed(0)} %, step ${String(event.step)}, losses ${Object.values(event.losses).map(value => value.toFixed(3)).join(' ')}`)
      told += 0.1
    }
  })
  const accuracy = await metricsOn(folder, test)
  const frames = await metricsOn(folder, unlabeled.slice(0, 5000))
  const validation = await metricsOn(folder, promotion)
  return {
    ...key, accuracy: test.length ? accuracy.accuracy : null, framesAccuracy: frames.accuracy, validationAccuracy: validation.accuracy,
    recipe: recipeOf(method, key.switches), seconds: card.seconds, stepsTaken: card.steps, ece: (test.length ? accuracy : frames).ece,
    looks: card.gate, pseudoLabels,
  }
}

/** Compares the pseudo-labels that a round tells of with what its frames show. None of a round that was gone on with: what it told before is lost. */
export function checkedPseudoLabels(frames: readonly LabeledImage[]): { pseudoLabels: PseudoLabels[]; take: (event: LearningEvent) => void } {
  const truth = new Map(frames.map(({ path, label }) => [path, label]))
  const pseudoLabels: PseudoLabels[] = []
  let whole = true
  const take = (event: LearningEvent) => {
    if (event.type === 'resumed') whole = false
    if (!whole) return
    if (event.type === 'gate') pseudoLabels.push({ step: event.look.step, used: 0, right: 0 })
    const window = pseudoLabels.at(-1)
    if (event.type === 'pseudo-labels' && window) {
      window.used += event.labels.length
      window.right += event.labels.filter(([path, label]) => truth.get(path) === label).length
    }
  }
  return { pseudoLabels, take }
}

/** Errors: the round's own, with what it printed. */
export async function trained(spec: RoundSpec, onEvent: (event: LearningEvent) => void): Promise<RoundResult> {
  const child = spawn(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'child.ts')], {
    stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...trainerEnvironment },
  })
  child.stdin.end(JSON.stringify(spec))
  const end = new Promise<number | null>(resolve => { child.once('exit', resolve) })
  let result: RoundResult | null = null
  for await (const line of createInterface({ input: child.stdout })) {
    const event = JSON.parse(line) as LearningEvent
    if (event.type === 'result') result = event.result
    onEvent(event)
  }
  const code = await end
  if (!result) throw new Error(`the round ended with code ${String(code)} and without a model`)
  return result
}

export async function metricsOn(folder: string, images: readonly LabeledImage[]) {
  const model = await ModelFile.open(await readFile(join(folder, 'model.onnx')))
  const { classes, size } = model.metadata
  const { pixels } = await loadImages(images, ({ path }) => path, size, undisturbed)
  const metrics = metricsOf(await probabilitiesOf(model, pixels), images.map(({ label }) => classes.indexOf(label)))
  await model.release()
  return metrics
}
