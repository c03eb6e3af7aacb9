/**
 * lowdb's file, safe against power cuts.
 *
 * INVARIANTS
 * - `path` is always absent, or a whole document that was written: it is only ever replaced by a rename.
 * - The document carries its schema version and the SHA-256 of its data.
 * - `path.1` is the newest backup, `path.2` and `path.3` the older ones; a document that fails its check never becomes one.
 * - A file that is there and cannot be read is a damaged one. It is moved aside, never overwritten.
 * - One writer; lowdb's caller holds the data folder.
 */
import { createHash } from 'node:crypto'
import { readFile, rename, rm } from 'node:fs/promises'
import type { Adapter } from 'lowdb'
import { z } from 'zod'
import { PawlError } from '../errors.js'
import { isMissing, moveAside, writeDurably } from '../lib/durable.js'

const Envelope = z.strictObject({ schemaVersion: z.number().int(), sha256: z.string(), data: z.unknown() })

export interface DurableAdapterOptions<T> {
  path: string
  schema: z.ZodType<T>
  schemaVersion: number
  nowMs: () => number
  /** Told when the file was unusable and a backup stands in for it. */
  onRestored: (problem: string, backup: string) => void
}

type Found<T> = { state: 'good'; data: T } | { state: 'absent' } | { state: 'bad'; problem: string }

export class DurableAdapter<T> implements Adapter<T> {
  private readonly options: DurableAdapterOptions<T>
  /** Whether the file on disk passed its check, so that it may become a backup. */
  private good = false

  constructor(options: DurableAdapterOptions<T>) {
    this.options = options
  }

  /** Null when nothing was ever written. Errors: REGISTRY_CORRUPT when neither the file nor a backup is usable. */
  async read(): Promise<T | null> {
    const { path, onRestored } = this.options
    const found = await this.load(path)
    if (found.state === 'good') {
      this.good = true
      return found.data
    }
    const problem = found.state === 'bad' ? found.problem : 'it is missing'
    for (const backup of this.backupPaths()) {
      const former = await this.load(backup)
      if (former.state !== 'good') continue
      onRestored(problem, backup)
      return former.data
    }
    if (found.state === 'absent') return null
    throw new PawlError('REGISTRY_CORRUPT', `${path}: ${problem}, and no backup is usable; put a good copy there, or move the data folder away to begin anew`)
  }

  /** Throws, with nothing written, when the data would not be accepted on reading. */
  async write(data: T): Promise<void> {
    const { path, schema, schemaVersion, nowMs } = this.options
    schema.parse(data)
    if (this.good) await this.rotate()
    else await moveAside(path, nowMs())
    const body = JSON.stringify(data)
    await writeDurably(path, `{"schemaVersion":${String(schemaVersion)},"sha256":"${sha256(body)}","data":${body}}\n`)
    this.good = true
  }

  private async load(path: string): Promise<Found<T>> {
    let text
    try {
      text = await readFile(path, 'utf8')
    } catch (cause) {
      return isMissing(cause) ? { state: 'absent' } : { state: 'bad', problem: `it cannot be read (${cause instanceof Error ? cause.message : String(cause)})` }
    }
    const envelope = Envelope.safeParse(parseJson(text))
    if (!envelope.success) return { state: 'bad', problem: text.trim() ? 'it is truncated or not JSON' : 'it is empty' }
    const { schemaVersion, sha256: expected, data } = envelope.data
    if (schemaVersion > this.options.schemaVersion) {
      throw new PawlError('REGISTRY_CORRUPT', `${path}: written by a newer pawl (schema ${String(schemaVersion)}, this one knows ${String(this.options.schemaVersion)}); nothing was changed; run the newer version`)
    }
    if (sha256(JSON.stringify(data)) !== expected) return { state: 'bad', problem: 'its checksum differs' }
    const parsed = this.options.schema.safeParse(data)
    return parsed.success ? { state: 'good', data: parsed.data } : { state: 'bad', problem: z.prettifyError(parsed.error) }
  }

  /** Bytes of the current file become the newest backup; `path` itself stays until the next rename. */
  private async rotate(): Promise<void> {
    const [first = '', second = '', third = ''] = this.backupPaths()
    await rm(third, { recursive: true, force: true })
    await rename(second, third).catch(ignoreMissing)
    await rename(first, second).catch(ignoreMissing)
    await writeDurably(first, await readFile(this.options.path))
  }

  private backupPaths(): string[] {
    return [1, 2, 3].map(age => `${this.options.path}.${String(age)}`)
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function ignoreMissing(cause: unknown): void {
  if (!isMissing(cause)) throw cause
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
