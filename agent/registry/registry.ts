/**
 * The models of this box and why each is in service or not.
 *
 * INVARIANTS
 * - Bytes, then pointer: a model's folder is in place and synced before state.json names it, and is deleted only after.
 * - A version number is never used twice.
 */
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { PawlError } from '../errors.js'
import type { ModelVersion } from '../events.js'
import type { Clock } from '../lib/clock.js'
import { syncFolder } from '../lib/durable.js'
import type { ModelCard } from '../../trainer/contract.js'
import type { PromotionRecord } from '../rounds/promotion.js'
import { problemOf, type FileProblem, syncFiles, unknownFolders, versionOf } from './model-files.js'
import { Ledger } from './ledger.js'
import { hashOfJson, type LineageEntry, type SignedEntry, type SignedHead } from './lineage.js'
import { beyond, findModel, modelsOf, onProbation } from './models.js'
import type { Mode, RegistryState } from './state.js'
import { verifyLineage, type LineageVerification, type Verification } from './verification.js'

const keptDecisions = 200
const keptPromotionSets = 20

export interface RegistryOptions {
  /** The data folder; whoever calls anything but `read` holds its lock. */
  data: string
  clock: Clock
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

export class Registry {
  private readonly options: RegistryOptions
  private readonly modelsFolder: string
  private readonly ledger: Ledger

  constructor(options: RegistryOptions) {
    this.options = options
    this.modelsFolder = join(options.data, 'models')
    this.ledger = new Ledger(options)
  }

  /** Reads the state and changes nothing: safe beside a running daemon. Errors: REGISTRY_CORRUPT when it is unusable. */
  async read(): Promise<void> {
    await this.ledger.read()
  }

  /** Reads the state and puts in order what a power cut left behind. Errors: those of `read`; REGISTRY_CORRUPT when it is gone while models exist. */
  async start(): Promise<void> {
    await mkdir(this.modelsFolder, { recursive: true })
    const absent = !this.ledger.exists
    await this.read()
    const { restored } = this.ledger
    const unknown = await unknownFolders(this.modelsFolder, this.ledger.state.versions)
    // The first round writes the state before it can make a model.
    if (absent && !restored && unknown.length) {
      throw new PawlError('REGISTRY_CORRUPT', `${this.options.data}: state.json knows no model, but models/ holds ${unknown.join(', ')}; put state.json or one of its backups back, or move models/ away to begin anew`)
    }
    await this.ledger.openHistory()
    if (restored) await this.ledger.write(() => undefined)
    const { nextVersion } = this.ledger.state
    for (const folder of unknown) {
      // A lower number was registered once and then dropped: a power cut came between. A higher one was never registered.
      if (versionOf(folder) < nextVersion && !restored) await rm(join(this.modelsFolder, folder), { recursive: true })
      else this.options.onProblem(new PawlError('REGISTRY_CORRUPT', `models/${folder} is not in the registry; it is left alone and not used`))
    }
    const highest = Math.max(0, ...unknown.map(versionOf))
    if (highest >= nextVersion) await this.ledger.write(state => { state.nextVersion = highest + 1 })
  }

  /** Oldest first. */
  list(): ModelVersion[] {
    return modelsOf(this.ledger.state)
  }

  active(): ModelVersion | null {
    return this.list().find(({ status }) => status === 'champion') ?? null
  }

  /** Errors: MODEL_INVALID, naming those there are. */
  find(version: number): ModelVersion {
    return findModel(this.ledger.state, version)
  }

  /** Absolute path of a version's folder. */
  folderOf({ folder }: Pick<ModelVersion, 'folder'>): string {
    return join(this.modelsFolder, folder)
  }

  /** Newest last. */
  decisions(): PromotionRecord[] {
    return [...this.ledger.state.decisions]
  }

  /** Challengers judged so far on a promotion set. */
  attempts(promotionSet: string): number {
    return this.ledger.state.attempts[promotionSet] ?? 0
  }

  lastRunAtMs(job: string): number | null {
    return this.ledger.state.lastRunAtMs[job] ?? null
  }

  async setLastRun(job: string): Promise<void> {
    await this.ledger.write(state => { state.lastRunAtMs[job] = this.options.clock.nowMs() })
  }

  /** Number of a new round, counted on disk before the round begins. */
  async beginRound(): Promise<number> {
    return await this.ledger.write(state => state.nextRound++)
  }

  /** Counts before the set is opened, so that a crash cannot give a free look. Returns which attempt this is, from 1. */
  async countAttempt(promotionSet: string): Promise<number> {
    return await this.ledger.write(state => {
      const attempt = (state.attempts[promotionSet] ?? 0) + 1
      const others = Object.entries(state.attempts).filter(([set]) => set !== promotionSet)
      state.attempts = Object.fromEntries([...others, [promotionSet, attempt] as const].slice(-keptPromotionSets))
      return attempt
    })
  }

  /** Keeps the record of a round that ended without a model. */
  async recordDecision(decision: PromotionRecord): Promise<void> {
    await this.ledger.write(state => { remember(state, decision) })
  }

  /** Takes a finished challenger in, not yet in service. Errors: MODEL_INVALID when its files differ from its card. */
  async register({ folder, card, decision }: Challenger): Promise<ModelVersion> {
    const problem = await problemOf(folder, card)
    if (problem) throw new PawlError('MODEL_INVALID', `${folder}: ${problem.what}; it is not registered`)
    const version = this.ledger.state.nextVersion
    const name = `${String(version)}-${card.files['model.onnx'].slice(0, 8)}`
    await syncFiles(folder)
    await rename(folder, join(this.modelsFolder, name))
    await syncFolder(this.modelsFolder)
    try {
      await this.ledger.write(state => {
        const record = decision(version)
        state.nextVersion = version + 1
        state.pending = record.promoted ? version : null
        state.versions.push({ version, folder: name, createdAtMs: this.options.clock.nowMs(), card, decision: record })
        remember(state, record)
        return record
      }, record => ({
        change: 'registered', version, why: record.explanation, model: card.files['model.onnx'], card: hashOfJson(card), decision: hashOfJson(record),
      }))
    } catch (cause) {
      await rm(join(this.modelsFolder, name), { recursive: true, force: true })
      throw cause
    }
    await this.prune()
    return this.find(version)
  }

  /**
   * Puts a version in service; `onProbation`: so that it may fall back to the one before it. Where one was pinned, this one is from now on.
   * Errors: MODEL_INVALID when it is unknown or its files differ from its card.
   */
  async promote(version: number, { why, onProbation: mayFall = false }: { why: string; onProbation?: boolean }): Promise<ModelVersion> {
    await this.sound(version)
    await this.ledger.write(state => {
      const former = state.active
      state.probation = mayFall && former !== null && former !== version ? { version, former } : null
      state.served = [...state.served.filter(other => other !== version), version]
      serve(state, version)
    }, () => ({ change: 'promoted', version, why }))
    return this.find(version)
  }

  /** A challenger that passed the gate but was never put in service: a power cut came between. */
  unserved(): ModelVersion | null {
    return this.list().find(({ version }) => version === this.ledger.state.pending) ?? null
  }

  /** Replaces the decision on a version by what came of it. */
  async revise(decision: PromotionRecord): Promise<void> {
    await this.ledger.write(state => {
      state.pending = null
      state.decisions = state.decisions.map(former => (former.round === decision.round ? { ...decision } : former))
      state.versions = state.versions.map(model => (model.version === decision.challenger ? { ...model, decision: { ...decision } } : model))
    }, () => ({ change: 'decided', version: decision.challenger, why: decision.explanation, decision: hashOfJson(decision) }))
  }

  /** Takes the model in service out of it, when there is none to go back to: the next round makes a first one. */
  async retire(): Promise<void> {
    await this.ledger.write(state => {
      state.served = []
      state.active = null
      state.pending = null
      state.probation = null
      if (state.mode.kind === 'pin') state.mode = { kind: 'follow' }
    }, () => ({ change: 'retired', version: null, why: 'the model in service is damaged, and there is none to go back to' }))
  }

  /** Fingerprint of the key that signs for this box; null before the start. */
  get key(): string | null {
    return this.ledger.key
  }

  /** Writes down that a registry holds a model, under this manifest. `card`: its card as it is there. Gives the signed entry that says so. */
  async published(version: number, { manifest, card }: { manifest: string; card: unknown }): Promise<SignedEntry> {
    const { card: { files } } = this.find(version)
    let signed: SignedEntry | null = null
    await this.ledger.write(() => undefined, () => ({
      change: 'published', version, why: 'it serves here, and is given to other boxes', model: files['model.onnx'], card: hashOfJson(card), manifest,
    }), entry => { signed = entry })
    if (!signed) throw new PawlError('REGISTRY_CORRUPT', `there is no history in which model ${String(version)} could be published`)
    return signed
  }

  /** What becomes of a challenger that passes the gate. */
  get mode(): Mode {
    return this.ledger.state.mode
  }

  /** Errors: MODEL_INVALID for pinning what does not serve. */
  async setMode(mode: Mode, { why }: { why: string }): Promise<void> {
    if (mode.kind === 'pin' && mode.version !== this.ledger.state.active) throw new PawlError('MODEL_INVALID', `model ${String(mode.version)} is not in service; it cannot be pinned`)
    await this.ledger.write(state => { state.mode = mode }, () => ({ change: 'mode', version: mode.kind === 'pin' ? mode.version : null, why: `${mode.kind}: ${why}` }))
  }

  /** The model in service that may still fall back, and what it would fall back to; null: it may not. */
  probation(): { model: ModelVersion; former: ModelVersion } | null {
    return onProbation(this.ledger.state)
  }

  /** Of this model, or of whichever is on it. */
  async endProbation(version?: number): Promise<void> {
    const { probation } = this.ledger.state
    if (probation && (version === undefined || probation.version === version)) await this.ledger.write(state => { state.probation = null })
  }

  /** The newest entry of the history; null: there is none yet. */
  lineage(): SignedHead | null {
    return this.ledger.head()
  }

  /** What became of the models lately, oldest first; null: the history is damaged. */
  history(): Promise<LineageEntry[] | null> {
    return this.ledger.recentHistory()
  }

  /** Whether a model's files are gone, or others than its card says. */
  async damaged(version: number): Promise<boolean> {
    return (await this.problemOf(this.find(version)))?.damaged ?? false
  }

  /** The newest sound model that was in service before this one. Errors: MODEL_INVALID when there is none. */
  async former(): Promise<ModelVersion> {
    const former = this.ledger.state.served.slice(0, -1).reverse()
    const [newest] = former
    if (newest === undefined) throw new PawlError('MODEL_INVALID', 'no model was in service before this one; it stays')
    for (const version of former) if (await this.problemOf(this.find(version)) === null) return this.find(version)
    return await this.sound(newest)
  }

  /** Puts the model before this one back in service. Errors: those of `former`. */
  async rollback({ why }: { why: string }): Promise<ModelVersion> {
    const { version } = await this.former()
    await this.ledger.write(state => {
      const before = state.served.slice(0, -1)
      state.served = before.slice(0, before.lastIndexOf(version) + 1)
      state.probation = null
      serve(state, version)
    }, () => ({ change: 'rolled-back', version, why }))
    return this.find(version)
  }

  /** Compares the files of every model with the hashes on its card. */
  async verify(): Promise<Verification[]> {
    return await Promise.all(this.list().map(async model => {
      const problem = (await this.problemOf(model))?.what ?? null
      return { version: model.version, ok: problem === null, problem }
    }))
  }

  /** Checks the history, and that it says of the models what the registry says. */
  async verifyLineage(): Promise<LineageVerification> {
    return verifyLineage(await this.ledger.readHistory(), this.ledger.state)
  }

  async stop(): Promise<void> {
    await this.ledger.stop()
  }

  /** Errors: MODEL_INVALID for a model that is unknown or whose files differ from its card. */
  private async sound(version: number): Promise<ModelVersion> {
    const model = this.find(version)
    const problem = await this.problemOf(model)
    if (problem) throw new PawlError('MODEL_INVALID', `model ${String(version)}: ${problem.what}; the model in service stays`)
    return model
  }

  private problemOf(model: ModelVersion): Promise<FileProblem | null> {
    return problemOf(this.folderOf(model), model.card)
  }

  /** Never raises: what could not go now goes with the next one, or at the next start. */
  private async prune(): Promise<void> {
    try {
      const dropped = await this.ledger.write(state => {
        const old = new Set(beyond(state, this.options.keepModels ?? 8))
        state.versions = state.versions.filter(record => !old.has(record))
        state.served = state.served.filter(version => state.versions.some(record => record.version === version))
        return [...old].map(({ folder }) => folder)
      })
      for (const folder of dropped) await rm(join(this.modelsFolder, folder), { recursive: true, force: true })
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      this.options.onProblem(new PawlError('DISK_FULL', `old models take room still: they could not be removed (${why})`, { cause }))
    }
  }
}

function serve(state: RegistryState, version: number): void {
  state.active = version
  state.pending = null
  if (state.mode.kind === 'pin') state.mode = { kind: 'pin', version }
}

function remember(state: RegistryState, decision: PromotionRecord): void {
  state.decisions = [...state.decisions, { ...decision }].slice(-keptDecisions)
}
