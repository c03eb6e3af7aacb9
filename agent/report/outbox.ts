/**
 * Events that wait for the broker: on disk, in order, with their own time.
 *
 * INVARIANTS
 * - At most `maxEvents` and `maxBytes` wait; the oldest are dropped first, and counted.
 * - An event leaves the disk only after the broker has acknowledged it: it may be sent twice, never lost while it waits.
 */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Backoff } from '../lib/backoff.js'
import { writeDurably } from '../lib/durable.js'
import type { Logger } from '../lib/logger.js'

/** From a disk that takes nothing to the next try, unless there is something new. */
const again = { firstMs: 1000, longestMs: 60_000, random: () => 1 }

export interface OutboxOptions {
  folder: string
  maxEvents: number
  maxBytes?: number
  logger: Logger
}

export interface OutboxEntry {
  /** Grows over restarts. */
  sequence: number
  payload: string
}

export class Outbox {
  private readonly options: OutboxOptions
  private entries: OutboxEntry[] = []
  private bytes = 0
  private nextSequence = 1
  private droppedCount = 0
  /** Not on disk yet; a subset of `entries`. */
  private readonly unwritten = new Set<OutboxEntry>()
  private readonly gone = new Set<number>()
  private saving: Promise<void> | null = null
  private readonly backoff = new Backoff(again)
  private retry: NodeJS.Timeout | null = null
  private stopped = false

  constructor(options: OutboxOptions) {
    this.options = options
  }

  async start(): Promise<void> {
    const { folder, logger } = this.options
    await mkdir(folder, { recursive: true })
    for (const name of (await readdir(folder)).sort()) {
      const sequence = /^\d{12}\.json$/.test(name) ? Number.parseInt(name, 10) : null
      const payload = sequence === null ? null : await readFile(join(folder, name), 'utf8').then(whole).catch(() => null)
      if (sequence === null || payload === null) {
        logger.warn({ file: join(folder, name) }, 'unreadable file in the outbox; removed')
        await rm(join(folder, name), { force: true, recursive: true })
        continue
      }
      this.nextSequence = sequence + 1
      this.keep({ sequence, payload })
    }
    await this.save()
  }

  get waiting(): number {
    return this.entries.length
  }

  /** Events dropped since the start, because too many were waiting. */
  get dropped(): number {
    return this.droppedCount
  }

  /** Adds at the end what `payloadOf` makes of the sequence number; null adds nothing. Never blocks: the disk follows. */
  add(payloadOf: (sequence: number) => string | null): void {
    const payload = payloadOf(this.nextSequence)
    if (payload === null) return
    const entry = { sequence: this.nextSequence++, payload }
    this.unwritten.add(entry)
    this.keep(entry)
    void this.save()
  }

  oldest(): OutboxEntry | null {
    return this.entries[0] ?? null
  }

  /** The broker has it. */
  remove({ sequence }: OutboxEntry): void {
    if (this.entries[0]?.sequence === sequence) {
      this.forgetOldest()
      void this.save()
    }
  }

  /** Waits for the disk; says whether it took everything. */
  async settled(): Promise<boolean> {
    await this.save()
    return this.unwritten.size === 0
  }

  async stop(): Promise<void> {
    this.stopped = true
    if (this.retry) clearTimeout(this.retry)
    await this.save()
  }

  private keep(entry: OutboxEntry): void {
    const { maxEvents, maxBytes = 32_000_000 } = this.options
    this.entries.push(entry)
    this.bytes += entry.payload.length
    while (this.entries.length > maxEvents || (this.bytes > maxBytes && this.entries.length > 1)) {
      this.forgetOldest()
      this.droppedCount++
    }
  }

  private forgetOldest(): void {
    const entry = this.entries.shift()
    if (!entry) return
    this.bytes -= entry.payload.length
    if (!this.unwritten.delete(entry)) this.gone.add(entry.sequence)
  }

  private save(): Promise<void> {
    if (this.saving === null && this.unwritten.size + this.gone.size > 0) this.saving = this.saveAll()
    return this.saving ?? Promise.resolve()
  }

  private async saveAll(): Promise<void> {
    const { folder, logger } = this.options
    const pathOf = (sequence: number) => join(folder, `${String(sequence).padStart(12, '0')}.json`)
    try {
      while (this.unwritten.size || this.gone.size) {
        for (const sequence of [...this.gone]) {
          await rm(pathOf(sequence), { force: true })
          this.gone.delete(sequence)
        }
        const [entry] = this.unwritten
        if (!entry) continue
        await writeDurably(pathOf(entry.sequence), entry.payload)
        // Sent or dropped in the meantime: the file goes again.
        if (!this.unwritten.delete(entry)) this.gone.add(entry.sequence)
      }
      this.backoff.reset()
    } catch (cause) {
      logger.warn({ err: cause }, 'the outbox cannot be written; its events stay in memory until the next try')
      this.tryAgain()
    } finally {
      // In one breath with the look at what is left: what is added from now on is written by the next one.
      this.saving = null
    }
  }

  private tryAgain(): void {
    if (this.stopped || this.retry) return
    this.retry = setTimeout(() => {
      this.retry = null
      void this.save()
    }, this.backoff.nextMs())
  }
}

/** Errors: what a damaged disk made of an event is none. */
function whole(payload: string): string {
  JSON.parse(payload)
  return payload
}
