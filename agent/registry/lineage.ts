/**
 * The history of the models: what was made from what, what served when, and why. Each entry carries the hash of the one before it and the
 * box's signature (Ed25519, RFC 8032), so that nothing in it can be changed, left out or put in between without being seen.
 *
 * INVARIANTS
 * - `lineage.jsonl` only grows: an entry is on disk before the registry points to it. Only the torn end of an interrupted write is cut off.
 * - What the registry does not point to did not take effect, and the next entry says so.
 * - A damaged file is moved aside, never overwritten; the history goes on from where the registry says that it stood.
 * - A start looks at the end alone, so that it takes as long after ten years as after a day; damage before that shows when the whole is read.
 *
 * What it is worth: it shows files that rotted or were edited without the key. Who holds the box holds the key; against that, keep what the
 * box says over MQTT (`model/active` carries the newest entry), which a history rewritten later does not fit.
 */
import { createHash, sign, verify, type KeyObject } from 'node:crypto'
import { appendFile, open, readFile, stat, truncate } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { z } from 'zod'
import { isMissing, moveAside, syncFolder } from '../lib/durable.js'
import { SignedEntrySchema, type HeadSchema, type LineageEntrySchema, type SignedHeadSchema } from '../schemas.js'
import { readPublicKey, type Identity } from './identity.js'

export type SignedHead = z.infer<typeof SignedHeadSchema>
export type LineageEntry = z.infer<typeof LineageEntrySchema>
export type SignedEntry = z.infer<typeof SignedEntrySchema>
/** What is told of a change; the rest of its entry follows from where it stands. */
export type LineageChange = Pick<LineageEntry, 'change' | 'version' | 'why'> & Partial<Pick<LineageEntry, 'model' | 'card' | 'decision' | 'holds' | 'manifest'>>

/** Where the history stands. */
export type Head = z.infer<typeof HeadSchema>

const nothing = '0'.repeat(64)
const lineEnd = '\n'
/** Of the end that a start looks at: a hundred entries. */
const endBytes = 65_536

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
    const { path, identity: { folder }, nowMs } = this.options
    const end = await readEnd(path, folder, head)
    if (end) {
      if (end.torn) await truncate(path, end.goodBytes)
      this.newest = end.entries.at(-1) ?? null
      return null
    }
    const { problem } = await readLineage(path, folder)
    const aside = await moveAside(path, nowMs())
    const lost = aside === null ? 'it is gone' : `what is left of it is ${aside}`
    return `${path}: ${problem ?? `it does not lead to entry ${String(head?.sequence)}, where the registry stands`}; ${lost}, and the history goes on in a new file`
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
        previous: at?.hash ?? nothing, key: identity.fingerprint, ...told.manifest !== undefined && { manifest: told.manifest },
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

/** Reads a whole history and checks hashes, order and signatures. `keys`: the folder of public keys. A missing file is an empty history. */
export async function readLineage(path: string, keys: string): Promise<ReadLineage> {
  try {
    return await checked(await readFile(path), keys)
  } catch (cause) {
    const problem = isMissing(cause) ? null : `it cannot be read (${cause instanceof Error ? cause.message : String(cause)})`
    return { entries: [], goodBytes: 0, problem, torn: false }
  }
}

/** The newest entries that took effect, oldest first: a hundred or so, however long the history is. Null: they are damaged, or lead elsewhere. */
export async function readRecent(path: string, keys: string, head: Head | null): Promise<LineageEntry[] | null> {
  if (head === null) return []
  const entries = (await readEnd(path, keys, head))?.entries
  return entries ? inEffect(entries.slice(0, entries.findIndex(signed => headOf(signed).hash === head.hash) + 1)) : null
}

/** As much of the end of a history as leads from `head` on, checked; null: it does not lead there, is not good, or cannot be read. */
async function readEnd(path: string, keys: string, head: Head | null): Promise<ReadLineage | null> {
  try {
    const { size } = await stat(path)
    for (let length = endBytes; ; length *= 4) {
      const from = Math.max(0, size - length)
      const end = await checked(await readFrom(path, from, size), keys, from)
      if (end.problem !== null) return null
      if (from === 0 && head === null) return end
      if (end.entries.some(signed => head === null || headOf(signed).hash === head.hash)) return end
      if (from === 0) return null
    }
  } catch (cause) {
    return isMissing(cause) && head === null ? { entries: [], goodBytes: 0, problem: null, torn: false } : null
  }
}

async function readFrom(path: string, from: number, until: number): Promise<Buffer> {
  const file = await open(path, 'r')
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(until - from), 0, until - from, from)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

/** Checks the bytes of a history from somewhere on: from the first line that begins there. Signatures of the entries too. */
async function checked(bytes: Buffer, keys: string, from = 0): Promise<ReadLineage> {
  const begin = from === 0 ? 0 : bytes.indexOf(lineEnd) + 1
  const end = bytes.lastIndexOf(lineEnd) + 1
  const read: ReadLineage = { entries: [], goodBytes: from + begin, problem: null, torn: end < bytes.length }
  const known = new Map<string, KeyObject | null>()
  for (const line of bytes.toString('utf8', begin, end).split('\n').slice(0, -1)) {
    const parsed = SignedEntrySchema.safeParse(jsonOf(line))
    const key = parsed.data?.entry.key ?? ''
    if (!known.has(key)) known.set(key, await readPublicKey(keys, key))
    const former = read.entries.at(-1) ?? (from === 0 ? null : 'unread')
    read.problem = parsed.success ? objectionTo(parsed.data, former, known.get(key) ?? null) : 'is not an entry'
    if (!parsed.success || read.problem !== null) {
      read.problem = `line ${String(read.entries.length + 1)} ${read.problem ?? ''}`
      break
    }
    read.entries.push(parsed.data)
    read.goodBytes += Buffer.byteLength(line) + 1
  }
  return read
}

/** `former`: the entry before; null: there is none. */
function objectionTo({ entry, signature }: SignedEntry, former: SignedEntry | 'unread' | null, key: KeyObject | null): string | null {
  if (former !== 'unread' && !follows(entry, former)) return 'does not follow the one before it'
  if (!key) return `is signed by key ${entry.key}, which is not known`
  return isSignedBy({ entry, signature }, key) ? null : 'has a signature that is not of its key'
}

export function isSignedBy({ entry, signature }: SignedEntry, key: KeyObject): boolean {
  return verify(null, bytesOf(entry), key, Buffer.from(signature, 'hex'))
}

function follows({ change, sequence, previous }: LineageEntry, former: SignedEntry | null): boolean {
  if (former) return previous === headOf(former).hash && sequence === former.entry.sequence + 1
  return change === 'continued' || (sequence === 1 && previous === nothing)
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
