/** `pawl bench train`: the full training step, all branches on, beside this machine's SGEMM. */
import { availableParallelism } from 'node:os'
import * as tf from './backend/tf.js'
import { embedded, useEngine, type Engine } from './backend/choose.js'
import { jit } from './backend/jit.js'
import type { Device } from './backend/session.js'
import type { PresetName } from './contract.js'
import { Random } from './data/random.js'
import type { LaneStudy } from './lanes/lane.js'
import { Lanes, lanesOn } from './lanes/lanes.js'
import { allocate } from './lanes/shared.js'
import { chooseEngine } from './engines.js'
import { exportClassifier } from './export/onnx.js'
import { initialise, parameterTable } from './model/parameters.js'
import { channels, flopsOfStep, presets, type Preset } from './model/presets.js'
import { recipes } from './recipe.js'

export interface BenchOptions {
  preset: PresetName
  backend: 'auto' | 'onnxruntime' | 'tensorflow'
  device: 'auto' | Device
  /** File that remembers which engines were verified; null: nothing is remembered. */
  memory: string | null
  /** Counted steps; the median counts. */
  repeats: number
  /** Null: one a core. */
  lanes: number | null
}

export interface BenchReport {
  preset: PresetName
  backend: string
  device: string
  lanes: number
  parameters: number
  secondsPerStep: number
  minSeconds: number
  maxSeconds: number
  /** The first step, which traces and compiles. */
  firstSeconds: number
  /** Labeled and unlabeled images, each counted once. */
  imagesPerSecond: number
  /** Of the matrix products. */
  flopsPerStep: number
  gflops: number
  rooflineGflops: number
  rooflineFraction: number
  /** Share of the step's time before and after the session of the slowest lane: views, copies, messages. */
  overheadFraction: number
  /** Share of the step's time that the optimiser takes. */
  updateFraction: number
  peakRssBytes: number
}

const classCount = 10
const warmUp = 3
const recipe = recipes.ssmae

export async function benchTrain(options: BenchOptions): Promise<BenchReport> {
  const preset = presets[options.preset]
  const { engine } = await chooseEngine({ backend: options.backend, device: options.device, preset: options.preset, memory: options.memory })
  const lanes = lanesOn(engine, preset, options.lanes)
  const rooflineGflops = await roofline()
  const { parameters, seconds, firstSeconds, outside, updates } =
    await timeSteps({ preset, engine, lanes, repeats: options.repeats })
  const secondsPerStep = median(seconds)
  const flopsPerStep = flopsOfStep(preset, classCount, recipe.maskRatio)
  const gflops = flopsPerStep / secondsPerStep / 1e9
  return {
    preset: options.preset,
    ...engine,
    lanes,
    parameters,
    secondsPerStep,
    minSeconds: Math.min(...seconds),
    maxSeconds: Math.max(...seconds),
    firstSeconds,
    imagesPerSecond: (preset.labeled + preset.unlabeled) / secondsPerStep,
    flopsPerStep,
    gflops,
    rooflineGflops,
    rooflineFraction: gflops / rooflineGflops,
    overheadFraction: median(outside),
    updateFraction: median(updates),
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  }
}

export interface TimingOptions extends LaneStudy {
  preset: Preset
  engine: Engine
  lanes: number
  /** Counted steps. */
  repeats: number
}

/** Times of full training steps on random images, all branches on; the first steps, which compile, are not counted but told. */
export async function timeSteps({ preset, engine, lanes: count, repeats, ...study }: TimingOptions) {
  const table = parameterTable(preset, classCount, recipe)
  const images = 4 * (preset.labeled + preset.unlabeled)
  const buffers = allocate(table, count, images * preset.size ** 2 * channels)
  const random = Random.of(0)
  const pixels = new Uint8Array(buffers.images)
  for (let index = 0; index < pixels.length; index++) pixels[index] = random.below(256)
  initialise(table, new Float32Array(buffers.state.student), random)
  new Float32Array(buffers.state.teacher).set(new Float32Array(buffers.state.student))
  const lanes = new Lanes({ preset, classCount, recipe, seed: 0, engine, buffers, ...study })
  await lanes.start()
  const times = { seconds: [] as number[], outside: [] as number[], updates: [] as number[], firstSeconds: 0, parameters: table.size }
  try {
    for (let step = 0; step < warmUp + repeats; step++) {
      const start = performance.now()
      const draw = (number: number) => Array.from({ length: number }, () => random.below(images))
      const gradients = await lanes.gradients({
        step,
        labeled: draw(preset.labeled),
        classes: Array.from({ length: preset.labeled }, () => random.below(classCount)),
        unlabeled: draw(preset.unlabeled),
        branches: { reconstruct: true, labeled: true, unlabeled: true },
        threshold: 0,
        classWeights: new Array<number>(classCount).fill(1),
        alignment: new Array<number>(classCount).fill(1),
        unlabeledWeight: 1,
      })
      const updating = performance.now()
      const update = await lanes.update({
        count: step + 1, learningRate: 1e-3, weightDecay: recipe.weightDecay, teacherDecay: recipe.teacherDecay, layerDecay: recipe.layerDecay,
      })
      const end = performance.now()
      if (step === 0) times.firstSeconds = (end - start) / 1000
      if (step < warmUp) continue
      times.seconds.push((end - start) / 1000)
      times.updates.push((end - updating) / (end - start))
      times.outside.push((updating - start - gradients.sessionMs) / (end - start))
      if (!Number.isFinite(gradients.labeled + update.sessionMs)) throw new Error('the losses of the timed step are not numbers')
    }
  } finally {
    await lanes.stop()
  }
  return times
}

export async function untrainedModel(name: PresetName): Promise<Uint8Array> {
  await useEngine(embedded)
  const table = parameterTable(presets[name], classCount, recipe)
  const flat = new Float32Array(table.size)
  initialise(table, flat, Random.of(0))
  const weights = Object.fromEntries(table.specs.map(spec => [spec.name, tf.tensor(flat.subarray(spec.offset, spec.offset + spec.size), spec.shape)]))
  const classes = Array.from({ length: classCount }, (_, index) => `class-${String(index)}`)
  return exportClassifier(presets[name], weights, classes, 1)
}

/** Product of two square matrices by the same engine with a thread a core, GFLOP/s, median of 20. */
async function roofline(): Promise<number> {
  await useEngine(embedded)
  const size = 1024
  const [a, b] = [0, 1].map(() => tf.tensor2d(new Float32Array(size * size).fill(0.5), [size, size]))
  const product = jit<[tf.Tensor2D, tf.Tensor2D], tf.Tensor2D>((x, y) => tf.matMul(x, y), { name: 'roofline', threads: availableParallelism() })
  const seconds: number[] = []
  for (let run = 0; run < 25; run++) {
    const before = product.sessionMs()
    tf.dispose(await product(a as tf.Tensor2D, b as tf.Tensor2D))
    if (run >= 5) seconds.push((product.sessionMs() - before) / 1000)
  }
  await product.release()
  tf.dispose([a, b] as tf.Tensor[])
  return 2 * size ** 3 / median(seconds) / 1e9
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
