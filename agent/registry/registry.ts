/**
 * The models of this box and why each is in service or not.
 *
 * INVARIANTS
 * - Bytes, then pointer: a model's folder is in place and synced before state.json names it, and is deleted only after.
 * - Only `write` changes the state: one change at a time, on disk before it is seen in memory.
 * - A version number is never used twice.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Low } from 'lowdb'
import { PawlError } from '../errors.js'
import type { ModelVersion } from '../events.js'
import type { Clock } from '../lib/clock.js'
import { syncFolder } from '../lib/durable.js'
import type { Logger } from '../lib/logger.js'
import type { ModelCard } from '../../trainer/contract.js'
import type { PromotionRecord } from '../rounds/promotion.js'
import { problemOf, syncFiles } from './model-files.js'
import { DurableAdapter } from './durable-adapter.js'
import { emptyState, RegistryState, stateSchemaVersion } from './state.js'

const keptDecisions = 200
const keptPromotionSets = 20

export interface RegistryOptions {
  /** The data folder; whoever calls anything but `read` holds its lock. */
  data: string
  clock: Clock
  logger: Logger
  /** Models kept on disk besides the one in service and the one before it. */
  keepModels?: number
  /** Told what was repaired or found odd at the start. */
  onProblem: (error: PawlError) => void
}

export interface Challenger {
  /** Folder with model.onnx, weights.safetensors and card.json, on the disk of the data folder; it is moved. */
  folder: string
  card: ModelCard
  /** Made from the decision, once the version of the challenger is known. */
  decision: (version: number) => PromotionRecord
}

export interface Verification {
  version: number
  ok: boolean
  /** What differs; null when nothing does. */
  problem: string | null
}

export class Registry {
  private readonly options: RegistryOptions
  private readonly modelsFolder: string
  private readonly db: Low<RegistryState>
  private last: Promise<unknown> = Promise.resolve()
  private restored: PawlError | null = null

  constructor(options: RegistryOptions) {
    this.options = options
    this.modelsFolder = join(options.data, 'models')
    const path = join(options.data, 'state.json')
    this.db = new Low(new DurableAdapter<RegistryState>({
      path,
      schema: RegistryState,
      schemaVersion: stateSchemaVersion,
      onRestored: (problem, backup) => {
        this.restored = new PawlError('REGISTRY_CORRUPT', `${path}: ${problem}; restored from ${backup}`)
      },
    }), emptyState)
  }

  /** Reads the state and changes nothing: safe beside a running daemon. Errors: REGISTRY_CORRUPT when it is unusable. */
  async read(): Promise<void> {
    await this.db.read()
    if (this.restored) this.options.onProblem(this.restored)
  }

  /** Reads the state and puts in order what a power cut left behind. Errors: those of `read`; REGISTRY_CORRUPT when it is gone while models exist. */
  async start(): Promise<void> {
    await mkdir(this.modelsFolder, { recursive: true })
    const absent = !existsSync(join(this.options.data, 'state.json'))
    await this.read()
    const unknown = await this.unknownFolders()
    // The first round writes the state before it can make a model.
    if (absent && !this.restored && unknown.length) {
      throw new PawlError('REGISTRY_CORRUPT', `${this.options.data}: state.json knows no model, but models/ holds ${unknown.join(', ')}; put state.json or one of its backups back, or move models/ away to begin anew`)
    }
    if (this.restored) await this.write(() => undefined)
    const { nextVersion } = this.db.data
    for (const folder of unknown) {
      // A lower number was registered once and then dropped: a power cut came between. A higher one was never registered.
      if (versionOf(folder) < nextVersion && !this.restored) await rm(join(this.modelsFolder, folder), { recursive: true })
      else this.options.onProblem(new PawlError('REGISTRY_CORRUPT', `models/${folder} is not in the registry; it is left alone and not used`))
    }
    const highest = Math.max(0, ...unknown.map(versionOf))
    if (highest >= nextVersion) await this.write(state => { state.nextVersion = highest + 1 })
  }

  /** Oldest first. */
  list(): ModelVersion[] {
    const { versions, active, served } = this.db.data
    return versions.map(record => ({
      ...record,
      status: record.version === active ? 'champion' : served.includes(record.version) ? 'former' : 'refused',
    }))
  }

  active(): ModelVersion | null {
    return this.list().find(({ status }) => status === 'champion') ?? null
  }

  /** Absolute path of a version's folder. */
  folderOf({ folder }: Pick<ModelVersion, 'folder'>): string {
    return join(this.modelsFolder, folder)
  }

  /** Newest last. */
  decisions(): PromotionRecord[] {
    return [...this.db.data.decisions]
  }

  /** Challengers judged so far on a promotion set. */
  attempts(promotionSet: string): number {
    return this.db.data.attempts[promotionSet] ?? 0
  }

  lastRunAtMs(job: string): number | null {
    return this.db.data.lastRunAtMs[job] ?? null
  }

  async setLastRun(job: string): Promise<void> {
    await this.write(state => { state.lastRunAtMs[job] = this.options.clock.nowMs() })
  }

  /** Number of a new round, counted on disk before the round begins. */
  async beginRound(): Promise<number> {
    return await this.write(state => state.nextRound++)
  }

  /** Counts before the set is opened, so that a crash cannot give a free look. Returns which attempt this is, from 1. */
  async countAttempt(promotionSet: string): Promise<number> {
    return await this.write(state => {
      const attempt = (state.attempts[promotionSet] ?? 0) + 1
      const others = Object.entries(state.attempts).filter(([set]) => set !== promotionSet)
      state.attempts = Object.fromEntries([...others, [promotionSet, attempt] as const].slice(-keptPromotionSets))
      return attempt
    })
  }

  /** Keeps the record of a round that ended without a model. */
  async recordDecision(decision: PromotionRecord): Promise<void> {
    await this.write(state => { remember(state, decision) })
  }

  /** Takes a finished challenger in, not yet in service. Errors: MODEL_INVALID when its files differ from its card. */
  async register({ folder, card, decision }: Challenger): Promise<ModelVersion> {
    const problem = await problemOf(folder, card)
    if (problem) throw new PawlError('MODEL_INVALID', `${folder}: ${problem}; it is not registered`)
    const version = this.db.data.nextVersion
    const name = `${String(version)}-${card.files['model.onnx'].slice(0, 8)}`
    await syncFiles(folder)
    await rename(folder, join(this.modelsFolder, name))
    await syncFolder(this.modelsFolder)
    try {
      await this.write(state => {
        const record = decision(version)
        state.nextVersion = version + 1
        state.pending = record.promoted ? version : null
        state.versions.push({ version, folder: name, createdAtMs: this.options.clock.nowMs(), card, decision: record })
        remember(state, record)
      })
    } catch (cause) {
      await rm(join(this.modelsFolder, name), { recursive: true, force: true })
      throw cause
    }
    await this.prune()
    return this.require(version)
  }

  /** Puts a version in service. Errors: MODEL_INVALID when it is unknown or its files differ from its card. */
  async promote(version: number): Promise<ModelVersion> {
    const { ok, problem } = await this.verifyOne(this.require(version))
    if (!ok) throw new PawlError('MODEL_INVALID', `model ${String(version)}: ${problem ?? ''}; the model in service stays`)
    await this.write(state => {
      state.active = version
      state.pending = null
      state.served = [...state.served.filter(other => other !== version), version]
    })
    return this.require(version)
  }

  /** A challenger that passed the gate but was never put in service: a power cut came between. */
  unserved(): ModelVersion | null {
    return this.list().find(({ version }) => version === this.db.data.pending) ?? null
  }

  /** Replaces the decision on a version by what came of it. */
  async revise(decision: PromotionRecord): Promise<void> {
    await this.write(state => {
      state.pending = null
      state.decisions = state.decisions.map(former => (former.round === decision.round ? { ...decision } : former))
      state.versions = state.versions.map(model => (model.version === decision.challenger ? { ...model, decision: { ...decision } } : model))
    })
  }

  /** Takes the model in service out of it, when there is none to go back to: the next round makes a first one. */
  async retire(): Promise<void> {
    await this.write(state => {
      state.served = []
      state.active = null
      state.pending = null
    })
  }

  /** Whether a model's files are as its card says. */
  async intact(version: number): Promise<boolean> {
    return (await this.verifyOne(this.require(version))).ok
  }

  /** Puts the model before this one back in service. Errors: MODEL_INVALID when there is none. */
  async rollback(): Promise<ModelVersion> {
    const former = this.db.data.served.at(-2)
    if (former === undefined) throw new PawlError('MODEL_INVALID', 'no model was in service before this one; it stays')
    const { ok, problem } = await this.verifyOne(this.require(former))
    if (!ok) throw new PawlError('MODEL_INVALID', `model ${String(former)}: ${problem ?? ''}; the model in service stays`)
    await this.write(state => {
      state.served.pop()
      state.pending = null
      state.active = former
    })
    return this.require(former)
  }

  /** Compares the files of every model with the hashes on its card. */
  async verify(): Promise<Verification[]> {
    return await Promise.all(this.list().map(model => this.verifyOne(model)))
  }

  async stop(): Promise<void> {
    await this.last
  }

  private async verifyOne(model: ModelVersion): Promise<Verification> {
    const problem = await problemOf(this.folderOf(model), model.card)
    return { version: model.version, ok: problem === null, problem }
  }

  private require(version: number): ModelVersion {
    const found = this.list().find(model => model.version === version)
    if (found) return found
    const known = this.list().map(model => String(model.version)).join(', ') || 'none'
    throw new PawlError('MODEL_INVALID', `model ${String(version)} is not in the registry; known: ${known}`)
  }

  /** One change after the other; a change that cannot be written is not made. */
  private write<R>(change: (state: RegistryState) => R): Promise<R> {
    const turn = this.last.then(async () => {
      const former = this.db.data
      const next = structuredClone(former)
      const result = change(next)
      this.db.data = next
      try {
        await this.db.write()
      } catch (cause) {
        this.db.data = former
        if (cause instanceof Error && 'code' in cause && cause.code === 'ENOSPC') {
          throw new PawlError('DISK_FULL', `${this.options.data}: the registry cannot be written; nothing was changed; free some space`, { cause })
        }
        throw cause
      }
      return result
    })
    this.last = turn.catch(() => undefined)
    return turn
  }

  /** The oldest models beyond the limit go; never the one in service, nor the one before it. */
  private async prune(): Promise<void> {
    const dropped = await this.write(state => {
      const needed = new Set([...state.served.slice(-2), state.versions.at(-1)?.version])
      const others = state.versions.filter(({ version }) => !needed.has(version))
      const old = new Set(others.slice(0, Math.max(0, others.length - (this.options.keepModels ?? 8))))
      if (!old.size) return []
      state.versions = state.versions.filter(record => !old.has(record))
      state.served = state.served.filter(version => state.versions.some(record => record.version === version))
      return [...old].map(({ folder }) => folder)
    })
    for (const folder of dropped) await rm(join(this.modelsFolder, folder), { recursive: true, force: true })
  }

  private async unknownFolders(): Promise<string[]> {
    const known = new Set(this.db.data.versions.map(({ folder }) => folder))
    return (await readdir(this.modelsFolder)).filter(name => /^\d+-[0-9a-f]{8}$/.test(name) && !known.has(name))
  }
}

function remember(state: RegistryState, decision: PromotionRecord): void {
  state.decisions = [...state.decisions, { ...decision }].slice(-keptDecisions)
}

function versionOf(folder: string): number {
  return Number.parseInt(folder, 10)
}
