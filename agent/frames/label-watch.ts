/** Counts labels as they come, in folders that a person edits. */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { imageName } from '../../trainer/index.js'

export interface LabelWatchOptions {
  /** Holds a folder for each class. */
  folder: string
  /** From one look to the next; a look costs as many calls as there are classes, and one for each image of a class folder that changed. */
  everyMs?: number
  nowMs: () => number
}

interface ClassFolder {
  /** When a name in it last came or went, and when that was looked at. */
  changedAtMs: number
  lookedAtMs: number
  /** When each image was put there, as the file system tells (its change of state: copied, moved in, or moved from another class). */
  addedAtMs: number[]
}

/** The clock of a file system may be coarse, or another machine's: a folder that changed so shortly before is looked at again. */
const coarsenessMs = 3000

export class LabelWatch {
  private readonly options: LabelWatchOptions
  private folders = new Map<string, ClassFolder>()
  /** Whether the last look found what the one before it had found. */
  private settled = false
  private timer: NodeJS.Timeout | null = null
  private looking: Promise<void> = Promise.resolve()

  constructor(options: LabelWatchOptions) {
    this.options = options
  }

  async start(): Promise<void> {
    await this.look()
    this.timer = setInterval(() => { void this.look() }, this.options.everyMs ?? 60_000)
  }

  async stop(): Promise<void> {
    if (this.timer) clearInterval(this.timer)
    await this.looking
  }

  /** Labels that were put there after a time, since 1970; none while somebody is still at it, so that a round waits for the last of them. */
  since(ms: number): number {
    if (!this.settled) return 0
    let count = 0
    for (const { addedAtMs } of this.folders.values()) for (const atMs of addedAtMs) if (atMs > ms) count++
    return count
  }

  /** When the newest was put there; 0: there are none. */
  get newestAtMs(): number {
    return Math.max(0, ...[...this.folders.values()].map(({ addedAtMs }) => addedAtMs.reduce((newest, atMs) => Math.max(newest, atMs), 0)))
  }

  /** One at a time. What cannot be read now is as it was. */
  look(): Promise<void> {
    this.looking = this.looking.then(async () => {
      const before = this.folders
      const names = await readdir(this.options.folder, { withFileTypes: true })
      const classes = names.filter(entry => entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name)
      this.folders = new Map(await Promise.all(classes.map(async name => [name, await this.lookInto(name, before.get(name))] as const)))
      this.settled = this.folders.size === before.size
        && [...this.folders].every(([name, { addedAtMs }]) => sameNumbers(addedAtMs, before.get(name)?.addedAtMs ?? []))
    }).catch(() => undefined)
    return this.looking
  }

  private async lookInto(name: string, former: ClassFolder | undefined): Promise<ClassFolder> {
    const path = join(this.options.folder, name)
    const lookedAtMs = this.options.nowMs()
    const { mtimeMs: changedAtMs } = await stat(path)
    if (former?.changedAtMs === changedAtMs && Math.abs(former.lookedAtMs - changedAtMs) > coarsenessMs) return former
    const addedAtMs: number[] = []
    for (const image of (await readdir(path)).filter(file => imageName.test(file)).sort()) {
      const file = await stat(join(path, image)).catch(() => null)
      if (file) addedAtMs.push(file.ctimeMs)
    }
    return { changedAtMs, lookedAtMs, addedAtMs }
  }
}

function sameNumbers(one: readonly number[], other: readonly number[]): boolean {
  return one === other || (one.length === other.length && one.every((value, index) => value === other[index]))
}
