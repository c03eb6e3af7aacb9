/** A training state and what moves it: steps, looks at the gate split, and nothing else. */
import type { Engine } from './backend/choose.js'
import type { LearnerState } from './checkpoint.js'
import { priorOf, softmax } from './evidence.js'
import { Lanes } from './lanes/lanes.js'
import { allocate, mapParts, type SharedBuffers } from './lanes/shared.js'
import { Random } from './data/random.js'
import { initialise, parameterTable, partOf, type ParameterTable } from './model/parameters.js'
import { channels, type Preset } from './model/presets.js'
import type { Recipe } from './recipe.js'
import { teacherShare, type Branches } from './step.js'

export interface LearnerOptions {
  preset: Preset
  recipe: Recipe
  seed: number
  engine: Engine
  lanes: number
  /** Names of the classes are not needed here: labels are indices below this count. */
  classCount: number
  /** Decoded images, uint8 [S, S, 3]: the labeled ones first, then the gate split, then the unlabeled ones. */
  labeled: readonly Uint8Array[]
  labels: readonly number[]
  gate: readonly Uint8Array[]
  unlabeled: readonly Uint8Array[]
  /** What is known of each of these images before: log-probabilities [images, C], flat; empty: nothing. */
  beliefs: Float32Array
  /** `dictionary.*`, flat, where the recipe has a stem; else empty. */
  dictionary: Float32Array
}

export interface StepReport {
  reconstruction: number
  labeled: number
  unlabeled: number
  /** Pseudo-labels that counted in this step: place of the image among the unlabeled ones, and class. */
  pseudoLabels: { image: number; label: number }[]
}

/** Which of the teacher's labels count. */
export interface Permission {
  threshold: number
  classWeights: readonly number[]
}

/** Memory of the teacher's class mix, in steps. */
const classMixMemory = 50

export class Learner {
  /** Of the transformer. */
  readonly table: ParameterTable
  private readonly options: LearnerOptions
  private readonly preset: Preset
  private readonly buffers: SharedBuffers
  private readonly lanes: Lanes
  private readonly order: { labeled: Shuffled; unlabeled: Shuffled }
  /** The share that each class has among the labels [C], smoothed. */
  private readonly prior: readonly number[]
  private classMix: number[]
  /** Steps taken. */
  private updates = 0

  constructor(options: LearnerOptions) {
    this.options = options
    this.preset = options.preset
    this.table = parameterTable(this.preset, options.classCount, options.recipe)
    const images = [...options.labeled, ...options.gate, ...options.unlabeled]
    const imageBytes = this.preset.size ** 2 * channels
    this.buffers = allocate(this.table, options.lanes, images.length * imageBytes, options.beliefs.byteLength)
    new Float32Array(this.buffers.beliefs).set(options.beliefs)
    const pixels = new Uint8Array(this.buffers.images)
    images.forEach((image, index) => { pixels.set(image, index * imageBytes) })
    initialise(this.table, this.student, Random.of(options.seed, 1))
    partOf(this.table, this.student, 'dictionary.').set(options.dictionary)
    this.teacher.set(this.student)
    const { preset, classCount, recipe, seed, engine, labeled, unlabeled } = options
    this.lanes = new Lanes({ preset, classCount, recipe, seed, engine, buffers: this.buffers })
    this.order = {
      labeled: new Shuffled({ first: 0, count: labeled.length, keys: [seed, 2] }),
      unlabeled: new Shuffled({ first: this.firstUnlabeled, count: unlabeled.length, keys: [seed, 3] }),
    }
    this.prior = priorOf(options.labels, classCount)
    this.classMix = [...this.prior]
  }

  async start(): Promise<void> {
    await this.lanes.start()
  }

  async stop(): Promise<void> {
    await this.lanes.stop()
  }

  /** The teacher's weights [n], in the order of the table. */
  async result(): Promise<Float32Array> {
    await this.lanes.publish()
    return this.teacher.slice()
  }

  /** Starts from given weights instead of random ones. */
  async adopt(weights: Float32Array): Promise<void> {
    this.student.set(weights)
    this.teacher.set(weights)
    await this.lanes.load()
  }

  /** All that decides what the steps to come will do; the vectors are valid until the next step. */
  async snapshot(): Promise<LearnerState> {
    await this.lanes.publish()
    const { updates, classMix, order: { labeled, unlabeled } } = this
    const vectors = mapParts(part => new Float32Array(this.buffers.state[part]))
    return { vectors, updates, taken: { labeled: labeled.taken, unlabeled: unlabeled.taken }, classMix }
  }

  /** Goes on from a snapshot of a learner of the same options; of the unlabeled images some may be gone. */
  async restore({ vectors, updates, taken, classMix }: LearnerState): Promise<void> {
    mapParts(part => { new Float32Array(this.buffers.state[part]).set(vectors[part]) })
    this.updates = updates
    this.classMix = classMix
    this.order.labeled.taken = taken.labeled
    this.order.unlabeled.taken = taken.unlabeled
    await this.lanes.load()
  }

  /** One step: gradients of all branches, AdamW, teacher. */
  async step(options: {
    branches: { reconstruct: boolean; labeled: boolean }
    /** Opens the pseudo-label branch. */
    permission: Permission | null
    unlabeledWeight: number
    learningRate: number
    layerDecay: number
  }): Promise<StepReport> {
    const { recipe, classCount } = this.options
    const { permission } = options
    const branches: Branches = { ...options.branches, unlabeled: permission !== null && this.options.unlabeled.length > 0 }
    const labeled = this.order.labeled.take(this.preset.labeled)
    const frames = branches.unlabeled || branches.reconstruct ? this.order.unlabeled.take(this.preset.unlabeled) : []
    const report = await this.lanes.gradients({
      step: this.updates,
      labeled,
      classes: labeled.map(id => this.options.labels[id] ?? 0),
      unlabeled: frames,
      branches,
      threshold: permission?.threshold ?? 1,
      classWeights: permission?.classWeights ?? new Array<number>(classCount).fill(1),
      alignment: this.alignment,
      unlabeledWeight: options.unlabeledWeight * recipe.unlabeledWeight,
    })
    const { reconstruction, labeled: labeledLoss, unlabeled, assigned, classMix } = report
    if (branches.unlabeled) {
      this.classMix = this.classMix.map((share, label) => share + ((classMix[label] ?? 0) - share) / classMixMemory)
    }
    this.updates++
    await this.lanes.update({
      count: this.updates,
      learningRate: options.learningRate,
      weightDecay: recipe.weightDecay,
      teacherDecay: Math.min(1 - 1 / (this.updates + 1), recipe.teacherDecay),
      layerDecay: options.layerDecay,
    })
    const first = this.firstUnlabeled
    const pseudoLabels = assigned.flatMap((label, index) => (label < 0 ? [] : [{ image: (frames[index] ?? 0) - first, label }]))
    return { reconstruction, labeled: labeledLoss, unlabeled, pseudoLabels }
  }

  /** Probabilities on the gate split [N][C], through exactly the pipeline that labels the stream. */
  async judge(): Promise<number[][]> {
    const { labeled, classCount, beliefs } = this.options
    const logits = await this.logitsOf('gate', { view: 'weak', key: this.updates })
    return logits.map((row, place) => {
      const begin = (labeled.length + place) * classCount
      return this.aligned(softmax(beliefs.length ? row.map((value, label) => (beliefs[begin + label] ?? 0) + teacherShare * value) : row))
    })
  }

  /** The teacher's own logits on labeled or gate images [N][C], as they are or on another view. */
  async logitsOf(part: 'labeled' | 'gate', { view, key }: { view: 'weak' | 'plain'; key: number } = { view: 'plain', key: 0 }): Promise<number[][]> {
    const { labeled, gate, classCount } = this.options
    const [first, count] = part === 'labeled' ? [0, labeled.length] : [labeled.length, gate.length]
    const flat = await this.lanes.predict({ ids: Array.from({ length: count }, (_, index) => first + index), view, key })
    return Array.from({ length: count }, (_, row) => [...flat.subarray(row * classCount, (row + 1) * classCount)])
  }

  /** Place of the first unlabeled image in the pool. */
  private get firstUnlabeled(): number {
    return this.options.labeled.length + this.options.gate.length
  }

  private get student(): Float32Array {
    return new Float32Array(this.buffers.state.student)
  }

  private get teacher(): Float32Array {
    return new Float32Array(this.buffers.state.teacher)
  }

  /** Label prior over class mix: what tilts the teacher's probabilities; all ones when alignment is off. */
  private get alignment(): number[] {
    return this.options.recipe.alignment
      ? this.prior.map((share, label) => share / Math.max(this.classMix[label] ?? 0, 1e-6))
      : this.prior.map(() => 1)
  }

  private aligned(row: readonly number[]): number[] {
    const { alignment } = this
    const tilted = row.map((value, label) => value * (alignment[label] ?? 1))
    const sum = tilted.reduce((total, value) => total + value, 0)
    return tilted.map(value => value / sum)
  }
}

/** Whole numbers without end, each pass over them in a new order; `taken` alone says where it stands. */
class Shuffled {
  taken = 0
  private readonly options: { first: number; count: number; keys: readonly number[] }
  private pass: { number: number; order: Int32Array } | null = null

  /** `count` numbers from `first` on; none give none. */
  constructor(options: { first: number; count: number; keys: readonly number[] }) {
    this.options = options
  }

  take(wanted: number): number[] {
    return this.options.count === 0 ? [] : Array.from({ length: wanted }, () => this.next())
  }

  private next(): number {
    const { first, count, keys } = this.options
    const number = Math.floor(this.taken / count)
    if (this.pass?.number !== number) this.pass = { number, order: Random.of(...keys, number).permutation(count) }
    return first + (this.pass.order[this.taken++ % count] ?? 0)
  }
}
