/**
 * A lane: one single-threaded share of every step. It makes its share of the batch, runs forward and backward into its own
 * gradient vector, and once all lanes are done updates its own slice of the weights from all their gradients. Two lanes
 * beat two threads inside each operation, because nothing small has to be split and waited for.
 */
import * as tf from '../backend/tf.js'
import { keepsState, sharesMemory, useEngine, type Engine } from '../backend/choose.js'
import { jit, type Jitted } from '../backend/jit.js'
import type { SessionStudy } from '../backend/session.js'
import { writeView, plainView, weakView } from '../data/augment.js'
import { ImagePool, makeBatch, type BatchArrays, type Share } from '../data/batches.js'
import { Random } from '../data/random.js'
import { parameterTable, type ParameterTable } from '../model/parameters.js'
import { patchPixelsOf, tokensOf, type Preset } from '../model/presets.js'
import { Ssmae } from '../model/ssmae.js'
import type { Recipe } from '../recipe.js'
import { batchOf, controlOf, stepFunction, unpacked, type Branches, type ControlNumbers } from '../step.js'
import type { SharedBuffers } from './shared.js'
import { DeviceState, SharedState, type LaneState, type LaneUpdate } from './state.js'

/** For measurements: how a training step is compiled and divided; what is not said is as it always is. */
export interface LaneStudy extends SessionStudy {
  /** Threads inside one operation. */
  threads?: number
  /** Tokens that go through the encoder at once. */
  tokensPerPart?: number
}

export interface LaneSetup extends LaneStudy {
  preset: Preset
  classCount: number
  recipe: Recipe
  seed: number
  engine: Engine
  index: number
  count: number
  buffers: SharedBuffers
}

export interface GradientTask extends ControlNumbers {
  share: Share
  branches: Branches
}

export interface GradientReport {
  reconstruction: number
  labeled: number
  unlabeled: number
  /** Class of the pseudo-label of each unlabeled image of the task, −1: none that counts. */
  assigned: number[]
  classMix: number[]
  /** Time within the session. */
  sessionMs: number
}

/** A prediction by the teacher. */
export interface PredictTask {
  ids: readonly number[]
  /** The view that the prediction is made on; `weak` draws as the labelling of the stream does. */
  view: 'plain' | 'weak'
  key: number
}

/** Images in one forward of `predict`; the last chunk is filled up, so that one graph serves all. */
const predictChunk = 50

/**
 * Tokens that go through the encoder at once on a processor: a share is divided until its parts are no larger. What a part makes on
 * its way stays in the caches then, and memory does not grow with the batch.
 */
const tokensPerPart = 1200

type StepFunction = ReturnType<typeof stepFunction>
type PredictFunction = (weights: tf.Tensor1D, patches: tf.Tensor3D) => tf.Tensor2D

export class Lane {
  private readonly setup: LaneSetup
  private readonly preset: Preset
  private readonly table: ParameterTable
  private readonly model: Ssmae
  private readonly pool: ImagePool
  private readonly state: LaneState
  /** Written over from step to step: fresh memory would cost as much as what is written to it. */
  private readonly batches = new Map<string, BatchArrays>()
  private readonly steps = new Map<string, Jitted<Parameters<StepFunction>, ReturnType<StepFunction>>>()
  private readonly predictStep: Jitted<Parameters<PredictFunction>, ReturnType<PredictFunction>>

  constructor(setup: LaneSetup) {
    this.setup = setup
    this.preset = setup.preset
    this.table = parameterTable(this.preset, setup.classCount, setup.recipe)
    this.model = new Ssmae(this.preset, setup.recipe)
    this.pool = new ImagePool(new Uint8Array(setup.buffers.images), this.preset.size ** 2 * 3)
    this.state = keepsState(setup.engine)
      ? new DeviceState(this.table, setup.buffers)
      : new SharedState(this.table, setup.buffers, setup.index, setup.count)
    this.predictStep = jit<Parameters<PredictFunction>, tf.Tensor2D>(
      (weights, patches) => this.model.transform(unpacked(this.table, weights), patches).logits, { name: 'predict', threads: 1 })
  }

  async start(): Promise<void> {
    await useEngine(this.setup.engine)
  }

  /** Adds up this lane's gradient over the parts of its share of the batch. Errors: RangeError when a loss is no number. */
  async gradients(task: GradientTask): Promise<GradientReport> {
    const step = this.stepFor(task.branches)
    const before = step.sessionMs()
    const parts = this.onHost ? partsOf(task.share, tokensOf(this.preset), this.setup.tokensPerPart ?? tokensPerPart) : [task.share]
    const share = 1 / parts.length
    const key = JSON.stringify([task.branches, parts[0]?.labeled.length, parts[0]?.unlabeled.length])
    const { recipe, seed, classCount, buffers } = this.setup
    const beliefs = new Float32Array(buffers.beliefs)
    const total = { reconstruction: 0, labeled: 0, unlabeled: 0, assigned: new Array<number>(), classMix: new Array<number>(classCount).fill(0) }
    for (const part of parts) {
      const maker = { preset: this.preset, recipe, seed, classCount, pool: this.pool, beliefs }
      const arrays = makeBatch(maker, part, task.branches, this.batches.get(key))
      this.batches.set(key, arrays)
      const inputs = [batchOf(arrays, this.preset, recipe, classCount), controlOf(task)] as const
      const [student, teacher] = [this.state.weights('student'), task.branches.unlabeled ? this.state.weights('teacher') : null]
      const { gradient, losses, assigned, classMix } = await step(student, teacher ?? student, ...inputs)
      const [reconstruction = 0, labeled = 0, unlabeled = 0] = await losses.data()
      if (![reconstruction, labeled, unlabeled].every(Number.isFinite)) {
        throw new RangeError(`the losses of step ${String(part.step)} are ${[reconstruction, labeled, unlabeled].join(', ')}: ${await step.diagnose(student, teacher ?? student, ...inputs)}`)
      }
      total.reconstruction += reconstruction * share
      total.labeled += labeled * share
      total.unlabeled += unlabeled * share
      if (task.branches.unlabeled) total.assigned.push(...await assigned.data())
      const mix = await classMix.data()
      total.classMix = total.classMix.map((sum, label) => sum + (mix[label] ?? 0) * share)
      tf.dispose([inputs, losses, assigned, classMix] as tf.TensorContainer)
      await this.state.keep(gradient)
    }
    return { ...total, sessionMs: step.sessionMs() - before }
  }

  /** Moves what this lane holds of student, teacher and optimiser state by the mean gradient of all lanes. */
  async update(task: LaneUpdate): Promise<{ sessionMs: number }> {
    return { sessionMs: await this.state.update(task) }
  }

  /** The transformer's own class logits [ids, C] of pool images. */
  async predict(task: PredictTask): Promise<Float32Array> {
    const range = task.view === 'weak' ? { ...weakView, flip: this.setup.recipe.mirror } : plainView
    const [image, classes] = [tokensOf(this.preset) * patchPixelsOf(this.preset), this.setup.classCount]
    const all = new Float32Array(task.ids.length * classes)
    for (let start = 0; start < task.ids.length; start += predictChunk) {
      const ids = task.ids.slice(start, start + predictChunk)
      const patches = new Float32Array(predictChunk * image)
      ids.forEach((id, index) => {
        const out = patches.subarray(index * image, (index + 1) * image)
        writeView(this.pool.at(id), this.preset, range, Random.of(this.setup.seed, task.key, id), out)
      })
      const batch = tf.tensor3d(patches, [predictChunk, tokensOf(this.preset), patchPixelsOf(this.preset)])
      const logits = await this.predictStep(this.state.weights('teacher'), batch)
      all.set((await logits.data<'float32'>()).subarray(0, ids.length * classes), start * classes)
      tf.dispose([batch, logits])
    }
    return all
  }

  /** Brings the shared vectors up to date before others read them. */
  publish(): Promise<void> {
    return this.state.publish()
  }

  /** Takes the shared vectors as others left them. */
  load(): void {
    this.state.load()
  }

  async release(): Promise<void> {
    for (const compiled of [...this.steps.values(), this.predictStep]) await compiled.release()
    await this.state.release()
  }

  /** Whether sessions compute in the host's memory, where lanes can share a state. */
  private get onHost(): boolean {
    return sharesMemory(this.setup.engine)
  }

  private stepFor(branches: Branches): Jitted<Parameters<StepFunction>, ReturnType<StepFunction>> {
    const key = JSON.stringify(branches)
    let step = this.steps.get(key)
    if (!step) {
      const { recipe, threads = 1, without = [], graphOptimisation = true } = this.setup
      step = jit<Parameters<StepFunction>, ReturnType<StepFunction>>(
        stepFunction(this.model, this.table, recipe, branches), { name: 'step', threads, reuse: true, without, graphOptimisation })
      this.steps.set(key, step)
    }
    return step
  }
}

/** A share in equal parts. */
function partsOf(share: Share, tokens: number, atOnce: number): Share[] {
  const { labeled, unlabeled } = share
  const fits = (count: number) => (labeled.length + unlabeled.length) * tokens <= atOnce * count
  const counts = Array.from({ length: Math.max(labeled.length, 1) }, (_, index) => index + 1)
    .filter(count => labeled.length % count === 0 && unlabeled.length % count === 0)
  const count = counts.find(fits) ?? counts.at(-1) ?? 1
  const [labels, frames] = [labeled.length / count, unlabeled.length / count]
  return Array.from({ length: count }, (_, index) => ({
    step: share.step,
    firstLabeled: share.firstLabeled + index * labels,
    firstUnlabeled: share.firstUnlabeled + index * frames,
    labeled: labeled.slice(index * labels, (index + 1) * labels),
    classes: share.classes.slice(index * labels, (index + 1) * labels),
    unlabeled: unlabeled.slice(index * frames, (index + 1) * frames),
  }))
}
