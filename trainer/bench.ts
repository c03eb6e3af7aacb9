/** `pawl bench train`: the full training step, all branches on, beside this machine's SGEMM. */
import { availableParallelism } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import * as tf from './backend/tf.js'
import { embedded, useEngine, type Engine } from './backend/choose.js'
import { jit, type Jitted } from './backend/jit.js'
import type { Device } from './backend/session.js'
import type { PresetName } from './contract.js'
import { Random } from './data/random.js'
import type { LaneStudy } from './lanes/lane.js'
import { Lanes, lanesOn } from './lanes/lanes.js'
import { allocate } from './lanes/shared.js'
import { chooseEngine } from './engines.js'
import { exportClassifier } from './export/onnx.js'
import { initialise, modelTable, parameterTable, partOf } from './model/parameters.js'
import { channels, flopsOfStep, presets, type Preset } from './model/presets.js'
import { Ssmae } from './model/ssmae.js'
import { plain, recipes, type Recipe } from './recipe.js'

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
  /** The transformer alone, as peers have it. */
  plain: boolean
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
const rooflineSize = 1024

export async function benchTrain(options: BenchOptions): Promise<BenchReport> {
  const preset = presets[options.preset]
  const switches = options.plain ? plain : {}
  const { engine } = await chooseEngine({ backend: options.backend, device: options.device, preset: options.preset, memory: options.memory })
  const lanes = lanesOn(engine, preset, options.lanes)
  const roofline = await Roofline.start()
  const { parameters, seconds, firstSeconds, outside, updates } =
    await timeSteps({ preset, engine, lanes, switches, repeats: options.repeats, afterStep: () => roofline.sample() })
  const rooflineGflops = await roofline.stop()
  const secondsPerStep = median(seconds)
  const flopsPerStep = flopsOfStep(preset, classCount, { ...recipes.pawl, ...switches })
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
  /** What is otherwise than in the recipe `pawl`. */
  switches: Partial<Recipe>
  /** Counted steps. */
  repeats: number
  /** Awaited after every counted step, outside of its time. */
  afterStep?: () => Promise<void>
}

/** Times of full training steps on random images, all branches on; the first steps, which compile, are not counted but told. */
export async function timeSteps({ preset, engine, lanes: count, switches, repeats, afterStep, ...study }: TimingOptions) {
  const recipe = { ...recipes.pawl, ...switches }
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
      await afterStep?.()
    }
  } finally {
    await lanes.stop()
  }
  return times
}

export async function untrainedModel(name: PresetName): Promise<Uint8Array> {
  await useEngine(embedded)
  const recipe = recipes.pawl
  const table = modelTable(presets[name], classCount, recipe)
  const flat = new Float32Array(table.size)
  initialise(table, flat, Random.of(0))
  // Neither head nor shortcut says anything.
  partOf(table, flat, 'shortcut.weight').fill(0)
  const weights = Object.fromEntries(table.specs.map(spec => [spec.name, tf.tensor(flat.subarray(spec.offset, spec.offset + spec.size), spec.shape)]))
  const classes = Array.from({ length: classCount }, (_, index) => `class-${String(index)}`)
  return exportClassifier(new Ssmae(presets[name], recipe), weights, classes, 1)
}

/**
 * This machine's SGEMM: products [1024, 1024] · [1024, 1024] by the embedded engine with a thread a core. Sampled between the steps that it
 * is compared with, because a shared machine is not equally fast at all times.
 */
class Roofline {
  private readonly product: Jitted<[tf.Tensor2D, tf.Tensor2D], tf.Tensor2D>
  private readonly sides: [tf.Tensor2D, tf.Tensor2D]
  private readonly seconds: number[] = []

  private constructor(product: Jitted<[tf.Tensor2D, tf.Tensor2D], tf.Tensor2D>, sides: [tf.Tensor2D, tf.Tensor2D]) {
    this.product = product
    this.sides = sides
  }

  static async start(): Promise<Roofline> {
    await useEngine(embedded)
    const side = () => tf.tensor2d(new Float32Array(rooflineSize ** 2).fill(0.5), [rooflineSize, rooflineSize])
    const product = jit<[tf.Tensor2D, tf.Tensor2D], tf.Tensor2D>((a, b) => tf.matMul(a, b), { name: 'roofline', threads: availableParallelism() })
    const roofline = new Roofline(product, [side(), side()])
    for (let run = 0; run < 5; run++) await roofline.run()
    return roofline
  }

  async sample(): Promise<void> {
    // The first finds the caches full of the step.
    await this.run()
    for (let run = 0; run < 4; run++) this.seconds.push(await this.run())
    // onnxruntime's threads look for more work for some ten milliseconds, which must not fall into the next step.
    await setTimeout(150)
  }

  /** GFLOP/s, median of the samples. */
  async stop(): Promise<number> {
    await this.product.release()
    tf.dispose(this.sides)
    return 2 * rooflineSize ** 3 / median(this.seconds) / 1e9
  }

  private async run(): Promise<number> {
    const before = this.product.sessionMs()
    tf.dispose(await this.product(...this.sides))
    return (this.product.sessionMs() - before) / 1000
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
