/** Where a lane's training state lives, and how it moves: in memory that all lanes share, or on the device of a lane that is alone. */
import * as tf from '../backend/tf.js'
import { jit, type Jitted } from '../backend/jit.js'
import type { ParameterTable } from '../model/parameters.js'
import { averageInPlace, betas, update, updateInPlace, type OptimiserState, type UpdateInputs, type UpdateTask, type WeightRange } from '../optim/adamw.js'
import { mapParts, stateParts, type SharedBuffers, type StatePart } from './shared.js'

export interface LaneUpdate extends UpdateTask {
  teacherDecay: number
  /** Learning rate of a layer against the one above it; 1: the same everywhere. */
  layerDecay: number
}

export interface LaneState {
  /** The weights [n] as they are now; valid until the next update. */
  weights: (part: 'student' | 'teacher') => tf.Tensor1D
  /** Takes over the gradient [n] of one part of the step; parts are of equal size, and their mean counts. */
  keep: (gradient: tf.Tensor1D) => Promise<void>
  /** Moves what is this lane's. Gives the milliseconds inside a session. */
  update: (task: LaneUpdate) => Promise<number>
  /** Before other threads read the shared vectors. */
  publish: () => Promise<void>
  /** After they wrote them. */
  load: () => void
  release: () => Promise<void>
}

/** State in shared memory: every lane reads all of it and moves a slice. */
export class SharedState implements LaneState {
  private readonly vectors: Record<StatePart, Float32Array>
  private readonly gradients: Float32Array[]
  private readonly own: Float32Array
  private readonly ranges: (layerDecay: number) => Omit<WeightRange, 'share'>[]
  private readonly copies = new Map<StatePart, { array: Float32Array; tensor: tf.Tensor1D | null }>()
  private kept = 0

  constructor(table: ParameterTable, buffers: SharedBuffers, index: number, count: number) {
    this.vectors = mapParts(part => new Float32Array(buffers.state[part]))
    this.gradients = buffers.gradients.map(buffer => new Float32Array(buffer))
    const own = this.gradients[index]
    if (!own) throw new Error(`lane ${String(index)} has no gradient vector`)
    this.own = own
    const slice = Math.ceil(table.size / count)
    this.ranges = layerDecay => rangesOf(table, layerDecay, index * slice, Math.min(table.size, (index + 1) * slice))
  }

  /** onnxruntime takes no shared memory: a session reads a copy, made once a step. */
  weights(part: 'student' | 'teacher'): tf.Tensor1D {
    const shared = this.vectors[part]
    const copy = this.copies.get(part) ?? { array: new Float32Array(shared.length), tensor: null }
    this.copies.set(part, copy)
    if (!copy.tensor) {
      copy.array.set(shared)
      copy.tensor = tf.tensor1d(copy.array)
    }
    return copy.tensor
  }

  async keep(gradient: tf.Tensor1D): Promise<void> {
    const values = await gradient.data<'float32'>()
    gradient.dispose()
    if (this.kept++ === 0) this.own.set(values)
    else for (let index = 0; index < values.length; index++) this.own[index] = (this.own[index] ?? 0) + (values[index] ?? 0)
  }

  update(task: LaneUpdate): Promise<number> {
    const share = 1 / (this.gradients.length * this.kept)
    for (const range of this.ranges(task.layerDecay)) {
      updateInPlace(this.vectors, this.gradients, { ...range, share }, task)
      averageInPlace(this.vectors.teacher, this.vectors.student, range, task.teacherDecay)
    }
    this.kept = 0
    this.load()
    return Promise.resolve(0)
  }

  publish(): Promise<void> {
    return Promise.resolve()
  }

  load(): void {
    for (const copy of this.copies.values()) {
      copy.tensor?.dispose()
      copy.tensor = null
    }
  }

  release(): Promise<void> {
    this.load()
    return Promise.resolve()
  }
}

type UpdateFunction = (state: OptimiserState, inputs: UpdateInputs) => OptimiserState

/** State as tensors of the current backend, which stay on its device from step to step. */
export class DeviceState implements LaneState {
  private readonly vectors: Record<StatePart, Float32Array>
  private readonly table: ParameterTable
  private readonly step: Jitted<Parameters<UpdateFunction>, OptimiserState> = jit<Parameters<UpdateFunction>, OptimiserState>(update, { name: 'update', threads: 1 })
  private state: OptimiserState | null = null
  private gradients: tf.Tensor1D[] = []
  /** Learning rates and decays of each weight, for the layer decay that they were made for. */
  private fixed: { layerDecay: number; rateScale: tf.Tensor1D; decays: tf.Tensor1D } | null = null

  constructor(table: ParameterTable, buffers: SharedBuffers) {
    this.table = table
    this.vectors = mapParts(part => new Float32Array(buffers.state[part]))
  }

  weights(part: 'student' | 'teacher'): tf.Tensor1D {
    return this.current()[part]
  }

  keep(gradient: tf.Tensor1D): Promise<void> {
    this.gradients.push(gradient)
    return Promise.resolve()
  }

  async update(task: LaneUpdate): Promise<number> {
    const before = this.step.sessionMs()
    const state = this.current()
    const { rateScale, decays } = this.fixedFor(task.layerDecay)
    const one = (value: number) => tf.tensor1d([value])
    const changing = {
      learningRate: one(task.learningRate),
      weightDecay: one(task.weightDecay),
      momentumCorrection: one(1 / (1 - betas.momentum ** task.count)),
      varianceCorrection: one(1 / (1 - betas.variance ** task.count)),
      teacherDecay: one(task.teacherDecay),
    }
    this.state = await this.step(state, { gradients: this.gradients, rateScale, decays, ...changing })
    tf.dispose([state, this.gradients, changing] as tf.TensorContainer)
    this.gradients = []
    return this.step.sessionMs() - before
  }

  async publish(): Promise<void> {
    if (!this.state) return
    for (const part of stateParts) this.vectors[part].set(await this.state[part].data<'float32'>())
  }

  load(): void {
    if (this.state) tf.dispose(this.state as tf.TensorContainer)
    this.state = null
  }

  async release(): Promise<void> {
    this.load()
    tf.dispose([this.gradients, this.fixed ? [this.fixed.rateScale, this.fixed.decays] : []] as tf.TensorContainer)
    this.fixed = null
    await this.step.release()
  }

  private current(): OptimiserState {
    this.state ??= mapParts(part => tf.tensor1d(this.vectors[part].slice()))
    return this.state
  }

  private fixedFor(layerDecay: number) {
    if (this.fixed?.layerDecay === layerDecay) return this.fixed
    if (this.fixed) tf.dispose([this.fixed.rateScale, this.fixed.decays])
    const [rates, decays] = [new Float32Array(this.table.size), new Float32Array(this.table.size)]
    for (const { start, end, rate, decays: decaying } of rangesOf(this.table, layerDecay, 0, this.table.size)) {
      rates.fill(rate, start, end)
      decays.fill(decaying ? 1 : 0, start, end)
    }
    this.fixed = { layerDecay, rateScale: tf.tensor1d(rates), decays: tf.tensor1d(decays) }
    return this.fixed
  }
}

/** The parameters between two places of the flat vector, with what the optimiser wants to know of each. */
function rangesOf({ specs }: ParameterTable, layerDecay: number, from: number, to: number): Omit<WeightRange, 'share'>[] {
  const top = Math.max(...specs.map(({ layer }) => layer))
  return specs.flatMap(({ offset, size, layer, decays }) => {
    const [start, end] = [Math.max(offset, from), Math.min(offset + size, to)]
    return start < end ? [{ start, end, rate: layerDecay ** (top - layer), decays }] : []
  })
}
