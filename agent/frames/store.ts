/** Frames that nobody labeled: on disk, bounded by bytes and age, the oldest go first. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rm, stat, statfs } from 'node:fs/promises'
import { basename, join, sep } from 'node:path'
import type { Config } from '../config.js'
import type { Frame } from '../events.js'
import type { Clock } from '../lib/clock.js'
import { writeDurably } from '../lib/durable.js'

export interface StoredFrame {
  path: string
  camera: string
  capturedAtMs: number
  bytes: number
}

export interface FrameStoreOptions {
  folder: string
  config: Config['frames']
  clock: Clock
  /** Free bytes on the disk of a folder. */
  freeBytes?: (folder: string) => Promise<number>
}

/** `<time>-<hash>.jpg`, the time in milliseconds since 1970. */
const frameName = /^(\d+)-[0-9a-f]{12}\.jpg$/

/** When a frame was captured, from its file's name; null for the name of no frame. */
export function capturedAtMsOf(name: string): number | null {
  const time = frameName.exec(name)?.[1]
  return time === undefined ? null : Number(time)
}

export class FrameStore {
  private readonly options: FrameStoreOptions
  /** Oldest first. */
  private frames: StoredFrame[] = []
  private bytes = 0

  constructor(options: FrameStoreOptions) {
    this.options = options
  }

  /** Finds what is there and changes nothing: safe beside a running daemon. */
  async read(): Promise<void> {
    for (const path of await this.filesBelow()) {
      const capturedAtMs = capturedAtMsOf(basename(path))
      if (capturedAtMs === null) continue
      const { size } = await stat(path)
      this.frames.push({ path, camera: basename(join(path, '..', '..')), capturedAtMs, bytes: size })
      this.bytes += size
    }
    this.frames.sort((a, b) => a.capturedAtMs - b.capturedAtMs)
  }

  /** Finds what is there; half-written files of a former run and frames beyond the bounds are removed. */
  async start(): Promise<void> {
    await mkdir(this.options.folder, { recursive: true })
    for (const path of await this.filesBelow()) if (path.endsWith('.tmp')) await rm(path, { force: true })
    await this.read()
    await this.evict()
  }

  get count(): number {
    return this.frames.length
  }

  get totalBytes(): number {
    return this.bytes
  }

  list(): readonly StoredFrame[] {
    return this.frames
  }

  /** Why nothing can be stored now; null when it can. */
  async full(): Promise<string | null> {
    const { folder, config, freeBytes = freeBytesOf } = this.options
    await this.evict()
    const free = await freeBytes(folder)
    return free >= config.minFreeBytes ? null
      : `${String(Math.floor(free / 1e6))} MB are free on the disk, less than frames.minFreeBytes (${String(Math.floor(config.minFreeBytes / 1e6))} MB)`
  }

  async add(frame: Frame): Promise<StoredFrame> {
    const { folder } = this.options
    const day = new Date(frame.capturedAtMs).toISOString().slice(0, 10)
    const hash = createHash('sha256').update(frame.jpeg).digest('hex').slice(0, 12)
    const path = join(folder, frame.camera, day, `${String(frame.capturedAtMs)}-${hash}.jpg`)
    await writeDurably(path, frame.jpeg)
    const stored = { path, camera: frame.camera, capturedAtMs: frame.capturedAtMs, bytes: frame.jpeg.length }
    // Frames overtake each other: the best picture of an object is older than the one in which it was last seen.
    const place = this.frames.findLastIndex(({ capturedAtMs }) => capturedAtMs <= stored.capturedAtMs) + 1
    this.frames.splice(place, 0, stored)
    this.bytes += stored.bytes
    await this.evict()
    return stored
  }

  /** Whether a path is one of a frame, there or gone. */
  holds(path: string): boolean {
    return path.startsWith(join(this.options.folder, sep))
  }

  /** Takes a frame out, because it cannot be read. */
  async remove(path: string): Promise<void> {
    const index = this.frames.findIndex(frame => frame.path === path)
    const [frame] = index < 0 ? [] : this.frames.splice(index, 1)
    if (frame) this.bytes -= frame.bytes
    await rm(path, { force: true })
  }

  private async filesBelow(): Promise<string[]> {
    const { folder } = this.options
    const entries = existsSync(folder) ? await readdir(folder, { recursive: true, withFileTypes: true }) : []
    return entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name))
  }

  private async evict(): Promise<void> {
    const { config, clock } = this.options
    const oldestMs = clock.nowMs() - config.maxAgeDays * 86_400_000
    for (let [first] = this.frames; first && (this.bytes > config.maxBytes || first.capturedAtMs < oldestMs); [first] = this.frames) {
      this.frames.shift()
      this.bytes -= first.bytes
      await rm(first.path, { force: true })
    }
  }
}

async function freeBytesOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
