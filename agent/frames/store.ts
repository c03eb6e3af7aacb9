/**
 * Frames that nobody labeled: on disk, bounded by bytes, age and what is free on the disk; order.ts says which go first.
 *
 * INVARIANT: No frame goes because the clock is wrong for less than two hours; of one that is wrong for less than a day, no more go than twice as
 * many as came meanwhile.
 */
import { existsSync, statSync, type Stats } from 'node:fs'
import { mkdir, readdir, rename, rm, rmdir, statfs } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'
import type { Config } from '../config.js'
import type { Frame } from '../events.js'
import type { Clock } from '../lib/clock.js'
import { isFull, isMissing, removeWhereEmpty, syncFolder, writeDurably } from '../lib/durable.js'
import { Belief, earliestMs } from './belief.js'
import { dayOf, nameAnew, nameFrame, readFrameName, type FrameName, type KeptFor } from './frame-name.js'
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
/** Between two looks for frames that have reached their age, where none come. */
const lookEveryMs = 600_000

export class FrameStore {
  private readonly options: FrameStoreOptions
  private readonly frames = new Map<string, StoredFrame>()
  private readonly order = new FrameOrder<StoredFrame>()
  private bytes = 0
  private hold: { untilMs: number; reason: string } | null = null
  private readonly belief: Belief
  /** Whether the times of frames are those that a clock which is believed gives them. */
  private dated = false
  private timer: NodeJS.Timeout | null = null

  constructor(options: FrameStoreOptions) {
    this.options = options
    this.belief = new Belief(options.clock)
  }

  /** Finds what is there and changes nothing: safe beside a running daemon. */
  read(): Promise<void> {
    return this.find(() => Promise.resolve())
  }

  /** Finds what is there; half-written files of a former run, empty folders of days and frames beyond the bytes are removed. */
  async start(): Promise<void> {
    await mkdir(this.options.folder, { recursive: true })
    await this.find(async (day, names) => {
      const torn = names.filter(name => name.endsWith('.tmp'))
      for (const name of torn) await rm(join(day, name), { force: true }).catch(() => undefined)
      if (names.length === torn.length) await rmdir(day).catch(() => undefined)
    })
    const evict = () => this.evict().catch((cause: unknown) => { this.standStill(cause) })
    await evict()
    this.timer = setInterval(() => { void evict() }, lookEveryMs).unref()
  }

  /** No frame goes by itself any more. */
  stop(): void {
    if (this.timer) clearInterval(this.timer)
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
      const { free, reserve } = await this.room()
      if (free >= minFreeBytes || (free >= reserve && this.count > 0)) return null
      if (free < reserve) await this.free(reserve - free)
      return `${megabytes(free)} are free on the disk, less than frames.minFreeBytes (${megabytes(minFreeBytes)})`
    } catch (cause) {
      return this.standStill(cause)
    }
  }

  /** Why the disk has no room for a round, which writes a model and what it needs to go on after a power cut; null: it has. */
  async fullForRounds(): Promise<string | null> {
    const { free, reserve } = await this.room()
    return free >= reserve ? null : `${megabytes(free)} are free on the disk, and a round begins with ${megabytes(reserve)} (a quarter of frames.minFreeBytes, 100 MB at most); free some space`
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
    return resolve(path).startsWith(join(this.options.folder, sep))
  }

  /** Takes a frame out, because it cannot be read. */
  async remove(path: string): Promise<void> {
    const frame = this.frames.get(path)
    if (frame) await this.drop(frame)
    else await rm(path, { force: true })
  }

  /** The frame of an id, which is its path below the folder; null: there is none, or none any more. */
  frame(id: string): StoredFrame | null {
    return this.frames.get(join(this.options.folder, id)) ?? null
  }

  idOf({ path }: Pick<StoredFrame, 'path'>): string {
    return relative(this.options.folder, path).split(sep).join('/')
  }

  /** Moves a frame out of the store. False: it is gone. Errors: what the file system says; then the frame stays. */
  async moveOut(id: string, to: string): Promise<boolean> {
    const frame = this.frame(id)
    if (!frame) return false
    this.forget(frame)
    try {
      await mkdir(dirname(to), { recursive: true })
      await rename(frame.path, to)
      await syncFolder(dirname(to))
      return true
    } catch (cause) {
      await removeWhereEmpty(dirname(to))
      if (existsSync(frame.path)) this.admit(frame)
      else if (isMissing(cause)) return false
      throw cause
    }
  }

  /**
   * Moves a frame in again that was moved out, for whatever it is worth beside others: none goes at once for it, nor does it. False: it is not
   * there, or the id is that of no frame. Errors: what the file system says.
   */
  async moveIn(id: string, from: string): Promise<boolean> {
    const [camera = '', day = '', name = '', ...more] = id.split('/')
    const known = readFrameName(name)
    if (!known || more.length > 0 || day !== dayOf(known) || !/^[\w-]+$/.test(camera)) return false
    const file = statSync(from, { throwIfNoEntry: false })
    if (!file) return false
    const path = join(this.options.folder, id)
    await mkdir(dirname(path), { recursive: true })
    await rename(from, path)
    await syncFolder(dirname(path))
    await removeWhereEmpty(dirname(from))
    if (!this.frames.has(path)) this.admit({ path, camera, ...known, bytes: file.size })
    return true
  }

  /** `see` has the names in each folder of a day before they are taken in. */
  private async find(see: (day: string, names: string[]) => Promise<void>): Promise<void> {
    const { folder } = this.options
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
          if (file) this.frames.set(path, { path, camera, ...known, bytes: file.size })
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
    const reason = `frames cannot be stored: ${isFull(cause) ? 'the disk is full' : what}`
    this.hold = { untilMs: this.options.clock.monotonicMs() + holdMs, reason }
    return reason
  }

  private async write(frame: Frame, kept?: KeptFor): Promise<StoredFrame> {
    const { name, known } = nameFrame(frame, kept)
    const path = join(this.options.folder, frame.camera, dayOf(known), name)
    await writeDurably(path, frame.jpeg)
    const there = this.frames.get(path)
    if (there) return there
    const stored = { path, camera: frame.camera, ...known, bytes: frame.jpeg.length }
    this.admit(stored)
    await this.evict(1)
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

  /** Bytes that are free, and those that models and state are left with. */
  private async room(): Promise<{ free: number; reserve: number }> {
    return { free: await this.freeBytes(), reserve: Math.min(lastReserve.share * this.options.config.minFreeBytes, lastReserve.bytes) }
  }

  private freeBytes(): Promise<number> {
    const { folder, freeBytes = freeBytesOf } = this.options
    return freeBytes(folder)
  }

  /** `came`: frames since the last time. */
  private async evict(came = 0): Promise<void> {
    const { order, options: { config, clock } } = this
    let most = this.belief.mayGo(came)
    if (most === null) this.dated = false
    else {
      await this.date()
      const oldestMs = clock.nowMs() - config.maxAgeDays * 86_400_000
      for (let { oldest } = order; oldest && oldest.capturedAtMs < oldestMs && most-- > 0; { oldest } = order) await this.drop(oldest)
    }
    for (let { next } = order; next && this.bytes > config.maxBytes; { next } = order) await this.drop(next)
  }

  /**
   * Frames that a clock gone wrong has dated are as old as can be told: of now. Those dated before there were any are named so; those of the
   * future keep their names: it may be the clock of now that is behind.
   */
  private async date(): Promise<void> {
    if (this.dated) return
    const nowMs = this.options.clock.nowMs()
    const named = [...this.frames.values()].map(frame => ({ ...frame, capturedAtMs: readFrameName(basename(frame.path))?.capturedAtMs ?? nowMs }))
    for (const frame of named) this.frames.set(frame.path, { ...frame, capturedAtMs: Math.min(frame.capturedAtMs, nowMs) })
    this.order.load([...this.frames.values()])
    const impossible = named.filter(({ capturedAtMs }) => capturedAtMs < earliestMs).sort((a, b) => a.capturedAtMs - b.capturedAtMs)
    // In their order, no two alike.
    for (const [index, frame] of impossible.entries()) await this.rename(frame, nowMs + index)
    this.dated = true
  }

  /** One that is gone meanwhile stays gone. */
  private async rename({ path: former, camera }: StoredFrame, capturedAtMs: number): Promise<void> {
    const path = join(this.options.folder, camera, dayOf({ capturedAtMs }), nameAnew(basename(former), capturedAtMs))
    await mkdir(dirname(path), { recursive: true })
    const frame = this.frames.get(former)
    if (!frame) return
    this.forget(frame)
    try {
      await rename(former, path)
      this.admit({ ...frame, path, capturedAtMs })
    } catch (cause) {
      if (!existsSync(former)) return
      this.admit(frame)
      throw cause
    }
  }

  /** One that a person has taken away already is gone as well. Errors: what the file system says; then the frame stays. */
  private async drop(frame: StoredFrame): Promise<void> {
    this.forget(frame)
    try {
      await rm(frame.path, { force: true })
    } catch (cause) {
      this.admit(frame)
      throw cause
    }
  }

  private admit(frame: StoredFrame): void {
    this.frames.set(frame.path, frame)
    this.order.add(frame)
    this.bytes += frame.bytes
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

function megabytes(bytes: number): string {
  return `${String(Math.floor(bytes / 1e6))} MB`
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
