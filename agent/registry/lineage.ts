/**
 * The history of the models: what was made from what, what served when, and why. Each entry carries the hash of the one before it and the
 * box's signature (Ed25519, RFC 8032), so that nothing in it can be changed, left out or put in between without being seen.
 *
 * INVARIANTS
 * - `lineage.jsonl` only grows: an entry is on disk before the registry points to it. Only the torn end of an interrupted write is cut off.
 * - What the registry does not point to did not take effect, and the next entry says so.
 * - A damaged file is moved aside, never overwritten; the history goes on from where the registry says that it stood.
 *
 * What it is worth: it shows files that rotted or were edited without the key. Who holds the box holds the key; against that, keep what the
 * box says over MQTT (`model/active` carries the newest entry), which a history rewritten later does not fit.
 */
import { createHash, sign, verify, type KeyObject } from 'node:crypto'
import { appendFile, open, readFile, rename, truncate } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { z } from 'zod'
import { syncFolder } from '../lib/durable.js'
import { SignedEntrySchema, type HeadSchema, type LineageEntrySchema, type SignedHeadSchema } from '../schemas.js'
import { readPublicKey, type Identity } from './identity.js'

export type SignedHead = z.infer<typeof SignedHeadSchema>
export type LineageEntry = z.infer<typeof LineageEntrySchema>
export type SignedEntry = z.infer<typeof SignedEntrySchema>
/** What is told of a change; the rest of its entry follows from where it stands. */
export type LineageChange = Pick<LineageEntry, 'change' | 'version' | 'why'> & Partial<Pick<LineageEntry, 'model' | 'card' | 'decision' | 'holds'>>

/** Where the history stands. */
export type Head = z.infer<typeof HeadSchema>

const nothing = '0'.repeat(64)

export interface LineageOptions {
  path: string
  identity: Identity
  nowMs: () => number
}

export class Lineage {
  private readonly options: LineageOptions
  private newest: SignedEntry | null = null

  constructor(options: LineageOptions) {
    this.options = options
  }

  /** The newest entry; null: there is none. */
  get last(): SignedEntry | null {
    return this.newest
  }

  /** Finds the history that leads to `head`, which the registry points to. Gives what was wrong with it and what was done; null: nothing. */
  async start(head: Head | null): Promise<string | null> {
    const { path, nowMs } = this.options
    const { entries, goodBytes, problem, torn } = await readLineage(path, this.options.identity.folder)
    if (problem === null && torn) await truncate(path, goodBytes)
    const leadsToHead = head === null || entries.some(signed => headOf(signed).hash === head.hash)
    if (problem === null && leadsToHead) {
      this.newest = entries.at(-1) ?? null
      return null
    }
    const aside = `${path}.${String(nowMs())}`
    await rename(path, aside).catch(ignoreMissing)
    return `${path}: ${problem ?? `it does not lead to entry ${String(head?.sequence)}, where the registry stands`}; what is left of it is ${aside}, and the history goes on in a new file`
  }

  /** Adds what changed after `head`. Gives where the history stands then. */
  async append(head: Head | null, change: LineageChange): Promise<Head | null> {
    const { path, identity, nowMs } = this.options
    const added: SignedEntry[] = []
    let at: Head | null = this.newest && headOf(this.newest)
    const add = (told: LineageChange) => {
      const entry: LineageEntry = {
        sequence: (at?.sequence ?? 0) + 1, atMs: nowMs(), change: told.change, version: told.version,
        model: told.model ?? null, card: told.card ?? null, decision: told.decision ?? null, why: told.why, holds: told.holds ?? null,
        previous: at?.hash ?? nothing, key: identity.fingerprint,
      }
      const signed = { entry, signature: sign(null, bytesOf(entry), identity.privateKey).toString('hex') }
      added.push(signed)
      at = headOf(signed)
    }
    if (head !== null && at === null) {
      at = head
      add({ change: 'continued', version: null, why: `entries up to ${String(head.sequence)} are not in this file` })
    } else if (at?.hash !== head?.hash) {
      const holds = head?.sequence ?? 0
      add({ change: 'undone', version: null, holds, why: `entries after ${String(holds)} did not take effect` })
    }
    add(change)
    await appendDurably(path, added.map(signed => `${JSON.stringify(signed)}\n`).join(''))
    this.newest = added.at(-1) ?? null
    return at
  }
}

export interface ReadLineage {
  /** Those that are good, oldest first. */
  entries: SignedEntry[]
  goodBytes: number
  /** What is wrong with the first line that is not good; null: nothing. */
  problem: string | null
  /** The last line was not written to its end. */
  torn: boolean
}

/** Reads a history and checks hashes, order and signatures. `keys`: the folder of public keys. A missing file is an empty history. */
export async function readLineage(path: string, keys: string): Promise<ReadLineage> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    ignoreMissing(cause)
    return ''
  })
  const lines = text.split('\n')
  const torn = lines.pop() !== ''
  const read: ReadLineage = { entries: [], goodBytes: 0, problem: null, torn }
  const known = new Map<string, KeyObject | null>()
  for (const line of lines) {
    const parsed = SignedEntrySchema.safeParse(jsonOf(line))
    const key = parsed.data?.entry.key ?? ''
    if (!known.has(key)) known.set(key, await readPublicKey(keys, key))
    read.problem = parsed.success ? objectionTo(parsed.data, read.entries.at(-1) ?? null, known.get(key) ?? null) : 'is not an entry'
    if (!parsed.success || read.problem !== null) {
      read.problem = `line ${String(read.entries.length + 1)} ${read.problem ?? ''}`
      break
    }
    read.entries.push(parsed.data)
    read.goodBytes += Buffer.byteLength(line) + 1
  }
  return read
}

function objectionTo(signed: SignedEntry, former: SignedEntry | null, key: KeyObject | null): string | null {
  const { entry, signature } = signed
  const begins = entry.change === 'continued' || (entry.sequence === 1 && entry.previous === nothing)
  if (former ? entry.previous !== headOf(former).hash || entry.sequence !== former.entry.sequence + 1 : !begins) return 'does not follow the one before it'
  if (!key) return `is signed by key ${entry.key}, which is not known`
  return verify(null, bytesOf(entry), key, Buffer.from(signature, 'hex')) ? null : 'has a signature that is not of its key'
}

/** Entries that took effect, oldest first. */
export function inEffect(entries: readonly SignedEntry[]): LineageEntry[] {
  const held: LineageEntry[] = []
  for (const { entry } of entries) {
    if (entry.holds !== null) while ((held.at(-1)?.sequence ?? 0) > entry.holds) held.pop()
    held.push(entry)
  }
  return held
}

export function headOf({ entry }: SignedEntry): Head {
  return { sequence: entry.sequence, hash: createHash('sha256').update(bytesOf(entry)).digest('hex') }
}

/** Hash of any JSON value, whatever the order of its keys. */
export function hashOfJson(value: unknown): string {
  const ordered = (_: string, part: unknown): unknown => (part !== null && typeof part === 'object' && !Array.isArray(part)
    ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1))) : part)
  return createHash('sha256').update(JSON.stringify(value, ordered)).digest('hex')
}

function bytesOf(entry: LineageEntry): Buffer {
  return Buffer.from(JSON.stringify(entry))
}

async function appendDurably(path: string, text: string): Promise<void> {
  const file = await open(path, 'a')
  const { size } = await file.stat()
  try {
    await appendFile(file, text)
    await file.sync()
  } catch (cause) {
    // A part of a line, as on a full disk, would stand in the way of the next.
    await file.truncate(size).catch(() => undefined)
    throw cause
  } finally {
    await file.close()
  }
  if (size === 0) await syncFolder(dirname(path))
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return null
  }
}

function ignoreMissing(cause: unknown): void {
  if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')) throw cause
}
