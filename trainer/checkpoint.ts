/** A round's state on disk: an interrupted round goes on from it to the result that it would have had. */
import { createHash } from 'node:crypto'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Engine } from './backend/choose.js'
import type { GateLook, Start } from './contract.js'
import { readSafetensors, safetensorsMetadata, writeSafetensors } from './export/safetensors.js'
import type { GateDecision } from './gate/pseudo-label-gate.js'
import { mapParts, stateParts, type StatePart } from './lanes/shared.js'
import type { LossCurve } from './losses.js'
import type { Prepared } from './prepare.js'

/** How far the training of a round is. Plain data. */
export interface Progress {
  /** Steps taken, and pseudo-labels that counted in them. */
  steps: number
  used: number
  /** Milliseconds of all that came before the training, of the training so far, and of all of it; null: the round counts steps. */
  beforeMs: number
  spentMs: number
  wholeMs: number | null
  /** Share of the semi-supervised phase (0 to 1) at which the gate looks next, and what it has seen. */
  nextLook: number
  looks: GateLook[]
  decision: GateDecision | null
  /** The losses so far. */
  curve: LossCurve
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
  /** What was known before, and what the transformer began with. */
  prepared: Prepared
  start: Start
}

/** Counts up whenever a checkpoint of before means something else than one of now. */
export const checkpointFormat = 12
export const checkpointFile = 'checkpoint.safetensors'
const preparedParts = ['dictionary', 'shortcut', 'beliefs'] as const

export class Checkpoints {
  private readonly path: string
  private readonly round: string

  /** `round` tells one round from all others: a checkpoint of another one is passed over. */
  constructor({ folder, round }: { folder: string; round: string }) {
    this.path = join(folder, checkpointFile)
    this.round = round
  }

  /** The last one of this round; null: there is none, or none that can be read. */
  async read(): Promise<Checkpoint | null> {
    try {
      const file = await readFile(this.path)
      const { round, sha256, state } = safetensorsMetadata(file)
      const tensors = readSafetensors(file)
      const vector = (name: string) => tensors.get(name)?.data ?? new Float32Array()
      if (round !== this.round || !state || hashOf([...tensors.keys()].map(vector), state) !== sha256) return null
      const { engine, progress, learner, prepared, start } = JSON.parse(state) as StoredState
      return {
        engine, progress, start, learner: { ...learner, vectors: mapParts(vector) },
        prepared: { ...prepared, dictionary: vector('dictionary'), shortcut: vector('shortcut'), beliefs: vector('beliefs') },
      }
    } catch {
      return null
    }
  }

  /** Replaces the former one once the new one is on the disk. Errors: what the disk says. */
  async write({ engine, progress, learner: { vectors, ...learner }, prepared, start }: Checkpoint): Promise<void> {
    const named = [
      ...stateParts.map(name => [name, vectors[name]] as const),
      ...preparedParts.map(name => [name, prepared[name]] as const),
    ]
    const flat = new Float32Array(named.reduce((sum, [, { length }]) => sum + length, 0))
    let end = 0
    const specs = named.map(([name, vector]) => {
      flat.set(vector, end)
      end += vector.length
      return { name, shape: [vector.length], offset: end - vector.length, size: vector.length }
    })
    const { frames, decision, taught, learned } = prepared
    const state = JSON.stringify({ engine, progress, start, learner, prepared: { frames, decision, taught, learned } } satisfies StoredState)
    const sha256 = hashOf(named.map(([, vector]) => vector), state)
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
type StoredState = Omit<Checkpoint, 'learner' | 'prepared'> & {
  learner: Omit<LearnerState, 'vectors'>
  prepared: Omit<Prepared, (typeof preparedParts)[number]>
}

function hashOf(vectors: readonly Float32Array[], state: string): string {
  const hash = createHash('sha256').update(state)
  for (const vector of vectors) hash.update(new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength))
  return hash.digest('hex')
}
