/** A round's state on disk: an interrupted round goes on from it to the result that it would have had. */
import { createHash } from 'node:crypto'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Engine } from './backend/choose.js'
import type { GateLook } from './contract.js'
import { readSafetensors, safetensorsMetadata, writeSafetensors } from './export/safetensors.js'
import type { GateDecision } from './gate/pseudo-label-gate.js'
import { stateParts, type StatePart } from './lanes/shared.js'

/** How far the training of a round is. Plain data. */
export interface Progress {
  /** Steps taken, and pseudo-labels that counted in them. */
  steps: number
  used: number
  /** Milliseconds of training so far, and of all of it; null: the round counts steps. */
  spentMs: number
  wholeMs: number | null
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
  updates: number
  /** Images drawn so far, of each kind. */
  taken: { labeled: number; unlabeled: number }
  classMix: number[]
}

export interface Checkpoint {
  /** What trained so far. */
  engine: Engine
  progress: Progress
  learner: LearnerState
}

/** Counts up whenever a checkpoint of before means something else than one of now. */
export const checkpointFormat = 4
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
      const { round, sha256, state } = safetensorsMetadata(file)
      const tensors = readSafetensors(file)
      const parts = stateParts.map(part => tensors.get(part)?.data ?? new Float32Array())
      if (round !== this.round || !state || hashOf(parts, state) !== sha256) return null
      const { engine, progress, learner } = JSON.parse(state) as StoredState
      const vectors = Object.fromEntries(stateParts.map((part, index) => [part, parts[index]])) as LearnerState['vectors']
      return { engine, progress, learner: { ...learner, vectors } }
    } catch {
      return null
    }
  }

  /** Replaces the former one once the new one is on the disk. Errors: what the disk says. */
  async write({ engine, progress, learner: { vectors, ...learner } }: Checkpoint): Promise<void> {
    const size = vectors.student.length
    const flat = new Float32Array(stateParts.length * size)
    const specs = stateParts.map((name, index) => {
      flat.set(vectors[name], index * size)
      return { name, shape: [size], offset: index * size, size }
    })
    const state = JSON.stringify({ engine, progress, learner } satisfies StoredState)
    const sha256 = hashOf(stateParts.map(part => vectors[part]), state)
    const bytes = writeSafetensors({ specs }, flat, { round: this.round, sha256, state })
    const fresh = `${this.path}.new`
    try {
      await writeFile(fresh, bytes, { flush: true })
      await rename(fresh, this.path)
    } catch (cause) {
      // A full disk: what did fit must not fill it.
      await rm(fresh, { force: true }).catch(() => undefined)
      throw cause
    }
  }

  /** A finished round needs none. */
  async remove(): Promise<void> {
    await rm(this.path, { force: true })
    await rm(`${this.path}.new`, { force: true })
  }
}

/** All of a checkpoint but the vectors. */
type StoredState = Omit<Checkpoint, 'learner'> & { learner: Omit<LearnerState, 'vectors'> }

function hashOf(vectors: readonly Float32Array[], state: string): string {
  const hash = createHash('sha256').update(state)
  for (const vector of vectors) hash.update(new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength))
  return hash.digest('hex')
}
