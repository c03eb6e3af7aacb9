/** A round's state on disk: an interrupted round goes on from it to the result that it would have had. */
import { open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { GateLook } from './contract.js'
import { readSafetensors, safetensorsMetadata, writeSafetensors } from './export/safetensors.js'
import type { GateDecision } from './gate/pseudo-label-gate.js'
import { stateParts, type StatePart } from './lanes/shared.js'

/** How far the training of a round is. Plain data. */
export interface Progress {
  /** Steps taken, and pseudo-labels used in them. */
  steps: number
  used: number
  /** Milliseconds of training so far, and of all of it; null: the round counts steps. */
  spentMs: number
  wholeMs: number | null
  /** The shortcut has its weights. */
  fitted: boolean
  /** Share of the training (0 to 1) at which the gate looks next, and what it has seen. */
  nextLook: number
  looks: GateLook[]
  decision: GateDecision | null
}

/** What a learner goes on from. */
export interface LearnerState {
  /** The training state [n] each. */
  vectors: Record<StatePart, Float32Array>
  /** Updates so far. */
  steps: number
  /** Images drawn so far, of each kind. */
  taken: { labeled: number; unlabeled: number }
  classMix: number[]
}

export interface Checkpoint {
  progress: Progress
  learner: LearnerState
}

const fileName = 'checkpoint.safetensors'

export class Checkpoints {
  private readonly path: string
  private readonly round: string

  /** `round` tells one round from all others: a checkpoint of another one is passed over. */
  constructor({ folder, round }: { folder: string; round: string }) {
    this.path = join(folder, fileName)
    this.round = round
  }

  /** The last one of this round; null: there is none, or none that can be read. */
  async read(): Promise<Checkpoint | null> {
    try {
      const file = await readFile(this.path)
      const { round, progress, learner } = safetensorsMetadata(file)
      if (round !== this.round || !progress || !learner) return null
      const tensors = readSafetensors(file)
      const vectors = Object.fromEntries(stateParts.map(part => [part, tensors.get(part)?.data])) as LearnerState['vectors']
      return { progress: JSON.parse(progress) as Progress, learner: { ...JSON.parse(learner) as Omit<LearnerState, 'vectors'>, vectors } }
    } catch {
      return null
    }
  }

  /** Replaces the former one once the new one is on the disk. Errors: what the disk says. */
  async write({ progress, learner: { vectors, ...learner } }: Checkpoint): Promise<void> {
    const size = vectors.student.length
    const flat = new Float32Array(stateParts.length * size)
    const specs = stateParts.map((name, index) => {
      flat.set(vectors[name], index * size)
      return { name, shape: [size], offset: index * size, size }
    })
    const bytes = writeSafetensors({ specs }, flat, { round: this.round, progress: JSON.stringify(progress), learner: JSON.stringify(learner) })
    const fresh = `${this.path}.new`
    const file = await open(fresh, 'w')
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(fresh, this.path)
  }

  /** A finished round needs none. */
  async remove(): Promise<void> {
    await rm(this.path, { force: true })
    await rm(`${this.path}.new`, { force: true, recursive: true })
  }
}
