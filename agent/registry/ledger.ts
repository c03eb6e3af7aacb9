/**
 * The registry's memory: its state in one file, and beside it the history of what became of the models.
 *
 * INVARIANTS
 * - Only `write` changes the state: one change at a time, on disk before it is seen in memory.
 * - The history is on disk before the state that points to it.
 * - Nothing is written after `stop`: the folder may be another agent's by then.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Low } from 'lowdb'
import { PawlError } from '../errors.js'
import type { Clock } from '../lib/clock.js'
import { isFull } from '../lib/durable.js'
import { DurableAdapter } from './durable-adapter.js'
import { identityIn, publicPemOf, type Identity } from './identity.js'
import { Lineage, readLineage, readRecent, type LineageChange, type LineageEntry, type ReadLineage, type SignedEntry, type SignedHead } from './lineage.js'
import { emptyState, RegistryState, stateSchemaVersion } from './state.js'

const names = { state: 'state.json', lineage: 'lineage.jsonl', identity: 'identity' } as const

export interface LedgerOptions {
  /** The data folder. */
  data: string
  clock: Clock
  /** Told what was repaired. */
  onProblem: (error: PawlError) => void
}

export class Ledger {
  private readonly options: LedgerOptions
  private readonly db: Low<RegistryState>
  private last: Promise<unknown> = Promise.resolve()
  private history: { lineage: Lineage; identity: Identity } | null = null
  private wasRestored = false
  private stopped = false

  constructor(options: LedgerOptions) {
    this.options = options
    const path = this.path('state')
    this.db = new Low(new DurableAdapter<RegistryState>({
      path,
      schema: RegistryState,
      schemaVersion: stateSchemaVersion,
      nowMs: () => options.clock.nowMs(),
      onRestored: (problem, backup) => {
        this.wasRestored = true
        this.corrupt(`${path}: ${problem}; restored from ${backup}`)
      },
    }), emptyState)
  }

  get state(): Readonly<RegistryState> {
    return this.db.data
  }

  /** Whether there is a state on disk. */
  get exists(): boolean {
    return existsSync(this.path('state'))
  }

  /** Whether the state is a backup. */
  get restored(): boolean {
    return this.wasRestored
  }

  /** Reads and changes nothing: safe beside a running daemon. Errors: REGISTRY_CORRUPT when the state is unusable. */
  async read(): Promise<void> {
    await this.db.read()
  }

  /** After `read`: the history goes on where the state says that it stands. */
  async openHistory(): Promise<void> {
    const { clock } = this.options
    const identity = await identityIn({ folder: this.path('identity'), nowMs: clock.nowMs, onLost: problem => { this.corrupt(problem) } })
    const lineage = new Lineage({ path: this.path('lineage'), identity, nowMs: clock.nowMs })
    const problem = await lineage.start(this.state.lineage)
    this.history = { lineage, identity }
    if (problem !== null) this.corrupt(problem)
  }

  /** Fingerprint of the key that signs the history from now on; null: it is not open. */
  get key(): string | null {
    return this.history?.identity.fingerprint ?? null
  }

  /** The newest entry of the history; null: there is none. */
  head(): SignedHead | null {
    const newest = this.history?.lineage.last
    return this.history && newest ? { ...newest, publicKey: publicPemOf(this.history.identity) } : null
  }

  /** The whole history, checked. */
  readHistory(): Promise<ReadLineage> {
    return readLineage(this.path('lineage'), this.path('identity'))
  }

  /** Its newest entries that took effect, oldest first; null: it is damaged. */
  recentHistory(): Promise<LineageEntry[] | null> {
    return readRecent(this.path('lineage'), this.path('identity'), this.state.lineage)
  }

  /**
   * One change after the other, with its entry in the history where it has one; what cannot be written is not changed.
   * `onEntry` hears of it as it was signed. Errors: DISK_FULL; DATA_LOCKED after `stop`.
   */
  write<R>(change: (state: RegistryState) => R, told?: (result: R) => LineageChange, onEntry?: (entry: SignedEntry) => void): Promise<R> {
    if (this.stopped) return Promise.reject(new PawlError('DATA_LOCKED', `${this.options.data}: this agent has given it back; nothing was changed`))
    const turn = this.last.then(async () => {
      const former = this.db.data
      const next = structuredClone(former)
      const result = change(next)
      try {
        if (told && this.history) next.lineage = await this.history.lineage.append(former.lineage, told(result))
        this.db.data = next
        await this.db.write()
        const entry = this.history?.lineage.last
        if (told && entry) onEntry?.(entry)
      } catch (cause) {
        this.db.data = former
        if (isFull(cause)) {
          throw new PawlError('DISK_FULL', `${this.options.data}: the registry cannot be written; nothing was changed; free some space`, { cause })
        }
        throw cause
      }
      return result
    })
    this.last = turn.catch(() => undefined)
    return turn
  }

  /** Waits for what is being written; from now on nothing is. */
  async stop(): Promise<void> {
    this.stopped = true
    await this.last
  }

  private path(name: keyof typeof names): string {
    return join(this.options.data, names[name])
  }

  private corrupt(problem: string): void {
    this.options.onProblem(new PawlError('REGISTRY_CORRUPT', problem))
  }
}
