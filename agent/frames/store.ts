/** Frames that nobody labeled: on disk, bounded by bytes, age and what is free on the disk; order.ts says which go first. */
import { statSync, type Stats } from 'node:fs'
import { mkdir, readdir, rm, rmdir, statfs } from 'node:fs/promises'
import { join, sep } from 'node:path'
import type { Config } from '../config.js'
import type { Frame } from '../events.js'
import type { Clock } from '../lib/clock.js'
import { writeDurably } from '../lib/durable.js'
import { nameFrame, readFrameName, type FrameName, type KeptFor } from './frame-name.js'
import { FrameOrder } from './order.js'

export interface StoredFrame extends FrameName {
  path: string
  camera: string
  bytes: number
}

/** What became of a frame: it is stored, or could not be, for this reason. */
export type Added = { stored: StoredFrame; full: null } | { stored: null; full: string }

export interface FrameStoreOptions {
  folder: string
  config: Config['frames']
  clock: Clock
  /** Free bytes on the disk of a folder. */
  freeBytes?: (folder: string) => Promise<number>
  /** Hears of frames that are there and cannot be looked at: they are passed over. */
  onProblem?: (message: string) => void
}

/** After a frame that could not be written, milliseconds until the next is tried. */
const holdMs = 10_000
/** Free bytes below which frames go for the sake of models and state: a part of `minFreeBytes`, and no more than so many. */
const lastReserve = { share: 0.25, bytes: 100e6 } as const
/** Frames that go at most before the disk is looked at again. */
const mostAtOnce = 500

export class FrameStore {
  private readonly options: FrameStoreOptions
  private readonly frames = new Map<string, StoredFrame>()
  private readonly order = new FrameOrder<StoredFrame>()
  private bytes = 0
  private hold: { untilMs: number; reason: string } | null = null

  constructor(options: FrameStoreOptions) {
    this.options = options
  }

  /** Finds what is there and changes nothing: safe beside a running daemon. */
  read(): Promise<void> {
    return this.find(() => Promise.resolve())
  }

  /** Finds what is there; half-written files of a former run, empty folders of days and frames beyond the bounds are removed. */
  async start(): Promise<void> {
    await mkdir(this.options.folder, { recursive: true })
    await this.find(async (day, names) => {
      const torn = names.filter(name => name.endsWith('.tmp'))
      for (const name of torn) await rm(join(day, name), { force: true }).catch(() => undefined)
      if (names.length === torn.length) await rmdir(day).catch(() => undefined)
    })
    await this.evict().catch((cause: unknown) => { this.standStill(cause) })
  }

  get count(): number {
    return this.frames.size
  }

  get totalBytes(): number {
    return this.bytes
  }

  /** The oldest first. */
  list(): readonly StoredFrame[] {
    return this.order.all()
  }

  /** Why nothing can be stored now; null when it can. Where next to nothing is free on the disk, frames go for the sake of models and state. */
  async full(): Promise<string | null> {
    const { clock, config: { minFreeBytes } } = this.options
    if (this.hold && clock.monotonicMs() < this.hold.untilMs) return this.hold.reason
    this.hold = null
    try {
      await this.evict()
      const free = await this.freeBytes()
      const reserve = Math.min(lastReserve.share * minFreeBytes, lastReserve.bytes)
      if (free >= minFreeBytes || (free >= reserve && this.count > 0)) return null
      if (free < reserve) await this.free(reserve - free)
      return `${String(Math.floor(free / 1e6))} MB are free on the disk, less than frames.minFreeBytes (${String(Math.floor(minFreeBytes / 1e6))} MB)`
    } catch (cause) {
      return this.standStill(cause)
    }
  }

  /**
   * On a disk that is nearly full it takes the place of others, and the store does not grow. Never raises: what could not be written is no frame the
   * fewer, and nothing more is stored for a while.
   */
  async add(frame: Frame, kept?: KeptFor): Promise<Added> {
    try {
      if (await this.freeBytes() < this.options.config.minFreeBytes) await this.free(frame.jpeg.length)
      return { stored: await this.write(frame, kept), full: null }
    } catch (cause) {
      return { stored: null, full: this.standStill(cause) }
    }
  }

  /** Whether a path is one of a frame, there or gone. */
  holds(path: string): boolean {
    return path.startsWith(join(this.options.folder, sep))
  }

  /** Takes a frame out, because it cannot be read. */
  async remove(path: string): Promise<void> {
    const frame = this.frames.get(path)
    if (frame) await this.drop(frame)
    else await rm(path, { force: true })
  }

  /** `see` has the names in each folder of a day before they are taken in. */
  private async find(see: (day: string, names: string[]) => Promise<void>): Promise<void> {
    const { folder, clock } = this.options
    const nowMs = clock.nowMs()
    const strange: string[] = []
    for (const camera of await foldersIn(folder)) {
      for (const day of await foldersIn(join(folder, camera))) {
        const place = join(folder, camera, day)
        const names = await readdir(place).catch((cause: unknown) => {
          strange.push(messageOf(cause))
          return []
        })
        await see(place, names)
        for (const name of names) {
          const known = readFrameName(name)
          const path = join(place, name)
          // Thousands of files: a call to the system each, and no more.
          const file = known && lookAt(path, cause => { strange.push(messageOf(cause)) })
          // Captured by a clock that was wrong: it is as old as can be told.
          if (file) this.frames.set(path, { path, camera, ...known, capturedAtMs: Math.min(known.capturedAtMs, nowMs), bytes: file.size })
        }
      }
    }
    if (strange[0] !== undefined) this.options.onProblem?.(`${String(strange.length)} files or folders of frames cannot be looked at and are passed over; the first: ${strange[0]}`)
    this.order.load([...this.frames.values()])
    this.bytes = [...this.frames.values()].reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** For a while; gives the reason. */
  private standStill(cause: unknown): string {
    const what = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
    const reason = `frames cannot be stored: ${what === 'ENOSPC' ? 'the disk is full' : what}`
    this.hold = { untilMs: this.options.clock.monotonicMs() + holdMs, reason }
    return reason
  }

  private async write(frame: Frame, kept?: KeptFor): Promise<StoredFrame> {
    const day = new Date(frame.capturedAtMs).toISOString().slice(0, 10)
    const { name, known } = nameFrame(frame, kept)
    const path = join(this.options.folder, frame.camera, day, name)
    await writeDurably(path, frame.jpeg)
    const there = this.frames.get(path)
    if (there) return there
    const stored = { path, camera: frame.camera, ...known, bytes: frame.jpeg.length }
    this.frames.set(path, stored)
    this.order.add(stored)
    this.bytes += stored.bytes
    await this.evict()
    return stored
  }

  /** Takes out frames of so many bytes, or as many as there are. */
  private async free(bytes: number): Promise<void> {
    let freed = 0
    for (let count = 0; freed < bytes && count < mostAtOnce; count++) {
      const frame = this.order.next
      if (!frame) break
      freed += frame.bytes
      await this.drop(frame)
    }
  }

  private freeBytes(): Promise<number> {
    const { folder, freeBytes = freeBytesOf } = this.options
    return freeBytes(folder)
  }

  private async evict(): Promise<void> {
    const { config, clock } = this.options
    const oldestMs = clock.nowMs() - config.maxAgeDays * 86_400_000
    for (let { oldest } = this.order; oldest && oldest.capturedAtMs < oldestMs; { oldest } = this.order) await this.drop(oldest)
    for (let { next } = this.order; next && this.bytes > config.maxBytes; { next } = this.order) await this.drop(next)
  }

  /** One that a person has taken away already is gone as well. Errors: what the file system says; then the frame stays. */
  private async drop(frame: StoredFrame): Promise<void> {
    this.forget(frame)
    try {
      await rm(frame.path, { force: true })
    } catch (cause) {
      this.frames.set(frame.path, frame)
      this.order.add(frame)
      this.bytes += frame.bytes
      throw cause
    }
  }

  /** At once: others may be taking frames out meanwhile. */
  private forget(frame: StoredFrame): void {
    this.frames.delete(frame.path)
    this.order.delete(frame)
    this.bytes -= frame.bytes
  }
}

/** Undefined: there is none, or `onStrange` hears why it is not known. */
function lookAt(path: string, onStrange: (cause: unknown) => void): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (cause) {
    onStrange(cause)
    return undefined
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}

async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  return entries.filter(entry => entry.isDirectory()).map(({ name }) => name)
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
