/**
 * A lane: one single-threaded share of every step. It makes its share of the batch, runs forward and backward into its own
 * gradient vector, and once all lanes are done updates its own slice of the weights from all their gradients. Two lanes
 * beat two threads inside each operation, because nothing small has to be split and waited for.
 */
import * as tf from '../backend/tf.js'
import { useBackend, type BackendName } from '../backend/choose.js'
import { jit, leaves, type Jitted } from '../backend/jit.js'
import type { PresetName } from '../contract.js'
import { writeView, plainView, weakView } from '../data/augment.js'
import { ImagePool, makeBatch, type BatchArrays, type Share } from '../data/batches.js'
import { Random } from '../data/random.js'
import { parameterTable, type ParameterTable } from '../model/parameters.js'
import { keptOf, patchPixelsOf, presets, tokensOf, type Preset } from '../model/presets.js'
import { Ssmae } from '../model/ssmae.js'
import type { Weights } from '../model/layers.js'
import { betas, update, type OptimiserState, type UpdateInputs } from '../optim/adamw.js'
import type { Recipe } from '../recipe.js'
import { stepFunction, type Batch, type Branches, type Control } from '../step.js'
import { stateParts, type SharedBuffers, type StatePart } from './shared.js'

export interface LaneSetup {
  preset: PresetName
  classCount: number
  recipe: Recipe
  seed: number
  backend: BackendName
  index: number
  count: number
  buffers: SharedBuffers
}

export interface GradientTask {
  share: Share
  branches: Branches
  threshold: number
  classWeights: readonly number[]
  alignment: readonly number[]
  unlabeledWeight: number
}

export interface GradientReport {
  reconstruction: number
  labeled: number
  unlabeled: number
  used: number
  classMix: number[]
  /** Time of the whole task, and of the session within it. */
  totalMs: number
  sessionMs: number
}

export interface UpdateTask {
  /** Updates so far, this one included. */
  count: number
  learningRate: number
  weightDecay: number
  teacherDecay: number
  /** Factor a layer, from the top down; 1: the same rate everywhere. */
  layerDecay: number
}

export interface PredictTask {
  part: 'student' | 'teacher'
  ids: readonly number[]
  /** The view that the prediction is made on; `weak` draws as the labelling of the stream does. */
  view: 'plain' | 'weak'
  key: number
}

/** Images in one forward of `predict`; the last chunk is filled up, so that one graph serves all. */
const predictChunk = 50

type StepFunction = ReturnType<typeof stepFunction>
type UpdateFunction = (state: OptimiserState, inputs: UpdateInputs) => OptimiserState
type PredictFunction = (weights: Weights, patches: tf.Tensor3D) => tf.Tensor2D

export class Lane {
  private readonly setup: LaneSetup
  private readonly preset: Preset
  private readonly table: ParameterTable
  private readonly model: Ssmae
  private readonly pool: ImagePool
  private readonly state: Record<StatePart, Float32Array>
  private readonly gradientVectors: Float32Array[]
  private readonly slice: { start: number; end: number }
  private readonly decays: Float32Array
  private readonly steps = new Map<string, Jitted<Parameters<StepFunction>, ReturnType<StepFunction>>>()
  private readonly updateStep: Jitted<Parameters<UpdateFunction>, ReturnType<UpdateFunction>>
  private readonly predictStep: Jitted<Parameters<PredictFunction>, ReturnType<PredictFunction>>

  constructor(setup: LaneSetup) {
    this.setup = setup
    this.preset = presets[setup.preset]
    this.table = parameterTable(this.preset, setup.classCount, setup.recipe)
    this.model = new Ssmae(this.preset)
    this.pool = new ImagePool(new Uint8Array(setup.buffers.images), this.preset.size ** 2 * 3)
    this.state = mapParts(part => new Float32Array(setup.buffers.state[part]))
    this.gradientVectors = setup.buffers.gradients.map(buffer => new Float32Array(buffer))
    const share = Math.ceil(this.table.size / setup.count)
    this.slice = { start: setup.index * share, end: Math.min(this.table.size, (setup.index + 1) * share) }
    this.decays = this.perWeight(spec => (spec.decays ? 1 : 0))
    this.updateStep = jit<Parameters<UpdateFunction>, OptimiserState>(update, { threads: 1 })
    this.predictStep = jit<Parameters<PredictFunction>, tf.Tensor2D>(
      (weights, patches) => this.model.classify(weights, patches).logits, { threads: 1 })
  }

  async start(): Promise<void> {
    await useBackend(this.setup.backend)
  }

  /** Fills this lane's gradient vector from its share of the batch. */
  async gradients(task: GradientTask): Promise<GradientReport> {
    const start = performance.now()
    const { recipe, seed, classCount, index } = this.setup
    const arrays = makeBatch({ preset: this.preset, recipe, seed, classCount, pool: this.pool }, task.share, task.branches)
    const step = this.stepFor(task.branches)
    const sessionBefore = step.sessionMs()
    const inputs = [
      this.weights('student'), task.branches.unlabeled ? this.weights('teacher') : {},
      this.batch(arrays), controlOf(task),
    ] as const
    const { gradients, losses, used, classMix } = await step(...inputs)
    const vector = this.gradientVectors[index]
    if (!vector) throw new Error(`lane ${String(index)} has no gradient vector`)
    for (const spec of this.table.specs) {
      const gradient = gradients[spec.name]
      if (gradient) vector.set(await gradient.data<'float32'>(), spec.offset)
      else vector.fill(0, spec.offset, spec.offset + spec.size)
    }
    const [reconstruction = 0, labeled = 0, unlabeled = 0] = await losses.data()
    const report = { reconstruction, labeled, unlabeled, used: (await used.data())[0] ?? 0, classMix: [...await classMix.data()] }
    tf.dispose([inputs, gradients, losses, used, classMix] as tf.TensorContainer)
    return { ...report, totalMs: performance.now() - start, sessionMs: step.sessionMs() - sessionBefore }
  }

  /** Moves this lane's slice of student, teacher and optimiser state by the mean gradient of all lanes. */
  async update(task: UpdateTask): Promise<{ totalMs: number; sessionMs: number }> {
    const begin = performance.now()
    const before = this.updateStep.sessionMs()
    const { start, end } = this.slice
    const vector = (array: Float32Array) => tf.tensor1d(array.slice(start, end))
    const one = (value: number) => tf.tensor1d([value])
    const top = this.preset.depth + 1
    const rateScale = task.layerDecay === 1 ? this.ones : this.rates(task.layerDecay, top)
    const state: OptimiserState = mapParts(part => vector(this.state[part]))
    const inputs: UpdateInputs = {
      gradients: this.gradientVectors.map(vector),
      rateScale: tf.tensor1d(rateScale),
      decays: tf.tensor1d(this.decays),
      learningRate: one(task.learningRate),
      weightDecay: one(task.weightDecay),
      momentumCorrection: one(1 / (1 - betas.momentum ** task.count)),
      varianceCorrection: one(1 / (1 - betas.variance ** task.count)),
      teacherDecay: one(task.teacherDecay),
    }
    const next = await this.updateStep(state, inputs)
    for (const part of stateParts) this.state[part].set(await next[part].data<'float32'>(), start)
    tf.dispose(leaves([state, inputs, next]))
    return { totalMs: performance.now() - begin, sessionMs: this.updateStep.sessionMs() - before }
  }

  /** Class logits [ids, C] of pool images. */
  async predict(task: PredictTask): Promise<Float32Array> {
    const [image, classes] = [tokensOf(this.preset) * patchPixelsOf(this.preset), this.setup.classCount]
    const all = new Float32Array(task.ids.length * classes)
    const weights = this.weights(task.part)
    for (let start = 0; start < task.ids.length; start += predictChunk) {
      const ids = task.ids.slice(start, start + predictChunk)
      const patches = new Float32Array(predictChunk * image)
      ids.forEach((id, index) => {
        const out = patches.subarray(index * image, (index + 1) * image)
        writeView(this.pool.at(id), this.preset, task.view === 'weak' ? weakView : plainView, Random.of(this.setup.seed, task.key, id), out)
      })
      const batch = tf.tensor3d(patches, [predictChunk, tokensOf(this.preset), patchPixelsOf(this.preset)])
      const logits = await this.predictStep(weights, batch)
      all.set((await logits.data<'float32'>()).subarray(0, ids.length * classes), start * classes)
      tf.dispose([batch, logits])
    }
    tf.dispose(weights as tf.TensorContainer)
    return all
  }

  async release(): Promise<void> {
    for (const compiled of [...this.steps.values(), this.updateStep, this.predictStep]) await compiled.release()
  }

  private stepFor(branches: Branches): Jitted<Parameters<StepFunction>, ReturnType<StepFunction>> {
    const key = JSON.stringify(branches)
    let step = this.steps.get(key)
    if (!step) {
      step = jit<Parameters<StepFunction>, ReturnType<StepFunction>>(stepFunction(this.model, this.setup.recipe, branches), { threads: 1 })
      this.steps.set(key, step)
    }
    return step
  }

  private weights(part: 'student' | 'teacher'): Record<string, tf.Tensor> {
    const flat = this.state[part].slice() // onnxruntime-node takes no shared memory
    return Object.fromEntries(this.table.specs.map(({ name, offset, size, shape }) =>
      [name, tf.tensor(flat.subarray(offset, offset + size), shape)]))
  }

  private batch(arrays: BatchArrays): Batch {
    const [tokens, pixels] = [tokensOf(this.preset), patchPixelsOf(this.preset)]
    const kept = keptOf(this.preset, this.setup.recipe.maskRatio)
    const images = (array: Float32Array, patches: number): tf.Tensor3D =>
      tf.tensor3d(array, [array.length / (patches * pixels), patches, pixels])
    const ids = (array: Int32Array, patches: number): tf.Tensor2D => tf.tensor2d(array, [array.length / patches, patches], 'int32')
    return {
      masked: {
        visible: images(arrays.visible, kept),
        keepIds: ids(arrays.keepIds, kept),
        hidden: images(arrays.hidden, tokens - kept),
        dropIds: ids(arrays.dropIds, tokens - kept),
      },
      labeled: images(arrays.labeled, tokens),
      targets: tf.tensor2d(arrays.targets, [arrays.targets.length / this.setup.classCount, this.setup.classCount]),
      weak: images(arrays.weak, tokens),
      strong: images(arrays.strong, tokens),
    }
  }

  private perWeight(of: (spec: ParameterTable['specs'][number]) => number): Float32Array {
    const whole = new Float32Array(this.table.size)
    for (const spec of this.table.specs) whole.fill(of(spec), spec.offset, spec.offset + spec.size)
    return whole.slice(this.slice.start, this.slice.end)
  }

  private get ones(): Float32Array {
    return new Float32Array(this.slice.end - this.slice.start).fill(1)
  }

  private rates(decay: number, top: number): Float32Array {
    return this.perWeight(spec => decay ** (top - spec.layer))
  }
}

function controlOf(task: GradientTask): Control {
  return {
    threshold: tf.tensor1d([task.threshold]),
    classWeights: tf.tensor1d([...task.classWeights]),
    alignment: tf.tensor1d([...task.alignment]),
    unlabeledWeight: tf.tensor1d([task.unlabeledWeight]),
  }
}

function mapParts<T>(of: (part: StatePart) => T): Record<StatePart, T> {
  return { student: of('student'), teacher: of('teacher'), momentum: of('momentum'), variance: of('variance') }
}
