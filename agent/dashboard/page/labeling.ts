/**
 * The labeling of this page: frames that wait, what was done with them, the classes and their keys. It outlasts a look at another view, and what
 * can be undone a page that is loaded anew.
 *
 * INVARIANTS
 * - What a person does shows at once; the box is told one thing after the other, in the order in which they were done.
 * - A frame gets a label only while it is seen: as the first one, or among those beside it.
 */
import { useEffect, useState } from 'preact/hooks'
import type { QueuedFrame } from '../../frames/labeling.js'
import { counted } from '../format.js'
import { answered, client, messageOf } from './api.js'

/** Frames of one answer; as many left, and the next ones are asked for. */
const [page, low] = [48, 12]
/** After so long the model may say something else of the frames that wait, and there may be others. */
const staleMs = 30_000
/** What is done that can be undone after the page was loaded anew. */
const keptDone = 50
/** Of the classes, in their order; the letters that do something else are not among them. */
export const keys = '1 2 3 4 5 6 7 8 9 0 q w e r t y i o p d f g h j k l z x c v b m'.split(' ')

interface Done {
  frames: QueuedFrame[]
  /** Null: passed over. */
  label: string | null
}

type Refusals = { id: string; error: { code: string; message: string } | null }[]

export interface Wanted { camera: string; reason: string }

class LabelingState {
  frames: QueuedFrame[] = []
  /** Ids of those that get the label of the first one. */
  marked: ReadonlySet<string> = new Set()
  done: Done[]
  /** By key: null where a class had it that is gone. */
  classes: ({ label: string; images: number } | null)[] | null = null
  /** Frames on the box without a label. */
  waiting = 0
  /** Frames labeled since the page was opened. */
  labeled = 0
  readonly beganAtMs = Date.now()
  said = ''
  problem = ''
  wanted: Wanted = { camera: '', reason: '' }

  /** Boxes of one address, by a tunnel say, have each their own. */
  private readonly device: string
  private readonly listeners = new Set<() => void>()
  private asked: Wanted | null = null
  private askedAtMs = -Infinity
  private last: Promise<unknown> = Promise.resolve()

  constructor(device: string) {
    this.device = device
    this.done = read(sessionStorage, `pawl-done-${device}`, [])
  }

  listen(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => { this.listeners.delete(listener) }
  }

  get current(): QueuedFrame | undefined {
    return this.frames[0]
  }

  /** Those that are shown beside the first one. */
  get alike(): QueuedFrame[] {
    return this.frames.slice(1).filter(({ id }) => this.current?.alike.includes(id) === true || this.marked.has(id))
  }

  get isLow(): boolean {
    return this.frames.length < low
  }

  choose(change: Partial<Wanted>): void {
    this.tell({ wanted: { ...this.wanted, ...change }, frames: [], marked: new Set() })
  }

  /** Somebody looks at them again. */
  look(): void {
    if (performance.now() - this.askedAtMs > staleMs) this.choose({})
  }

  mark(ids: readonly string[], on: boolean): void {
    this.tell({ marked: new Set(on ? [...this.marked, ...ids] : [...this.marked].filter(id => !ids.includes(id))) })
  }

  /** All that are alike, or none. */
  markAlike(): void {
    const ids = this.alike.map(({ id }) => id)
    this.mark(ids, !ids.every(id => this.marked.has(id)))
  }

  first(id: string): void {
    const first = this.frames.find(frame => frame.id === id)
    if (first) this.tell({ frames: [first, ...this.frames.filter(frame => frame !== first)], marked: new Set() })
  }

  /** More frames, where few are left. */
  async ask(): Promise<void> {
    const { wanted } = this
    if (this.asked === wanted) return
    this.asked = wanted
    this.askedAtMs = performance.now()
    try {
      const query = { count: String(page), ...wanted.camera !== '' && { camera: wanted.camera }, ...wanted.reason !== '' && { reason: wanted.reason } }
      const queue = await answered(client.queue.$get({ query }))
      if (this.asked !== wanted) return
      const known = new Set([...this.frames, ...this.done.flatMap(({ frames }) => frames)].map(({ id }) => id))
      this.tell({ waiting: queue.waiting, frames: [...this.frames, ...queue.frames.filter(({ id }) => !known.has(id))] })
    } catch (cause) {
      this.tell({ problem: messageOf(cause) })
    } finally {
      if (this.asked === wanted) this.asked = null
    }
  }

  async count(): Promise<void> {
    try {
      const now = await answered(client.classes.$get())
      const order = orderOf(now.map(({ label }) => label), `pawl-classes-${this.device}`)
      this.tell({ classes: order.map(name => now.find(({ label }) => label === name) ?? null) })
    } catch (cause) {
      this.tell({ problem: messageOf(cause) })
    }
  }

  /** Whether any frame has it then. */
  label(name: string): Promise<boolean> {
    return this.finish(name, frames => answered(client.labels.$post({ json: { frames: frames.map(({ id }) => ({ id, label: name })) } })))
  }

  skip(): Promise<boolean> {
    return this.finish(null, async frames => {
      await answered(client.skipped.$post({ json: { ids: frames.map(({ id }) => id) } }))
      return []
    })
  }

  /** What was done last. */
  async undo(): Promise<void> {
    const done = this.done.at(-1)
    if (!done) return
    // Whoever undoes again means the one before.
    this.tell({ done: this.done.slice(0, -1) })
    await this.inTurn(async () => {
      const { frames, label } = done
      // It came back by itself.
      if (frames.length === 0) return
      try {
        const outcomes = await undone(frames, label)
        const lost = outcomes.filter(({ error }) => error !== null)
        this.back(frames.filter(({ id }) => !lost.some(one => one.id === id)), label)
        this.tell({ said: lost.length < frames.length ? `undone: ${counted(frames.length - lost.length, 'frame')} ${label === null ? 'passed over' : `labeled ${label}`}` : '', problem: lost[0]?.error ? `${counted(lost.length, 'frame')}: ${lost[0].error.message}` : '' })
      } catch (cause) {
        this.tell({ done: [...this.done, done], problem: messageOf(cause) })
      }
    })
    await this.count()
  }

  private async finish(label: string | null, work: (frames: readonly QueuedFrame[]) => Promise<Refusals>): Promise<boolean> {
    const { current } = this
    if (!current) return false
    const done: Done = { frames: [current, ...this.alike.filter(({ id }) => this.marked.has(id))], label }
    const asked = [...done.frames]
    this.tell({
      frames: this.frames.filter(frame => !asked.includes(frame)), marked: new Set(), done: [...this.done, done],
      labeled: this.labeled + (label === null ? 0 : asked.length), waiting: this.waiting - asked.length, said: '', problem: '',
    })
    const taken = await this.inTurn(async () => {
      try {
        const refused = (await work(asked)).filter(({ error }) => error !== null)
        const ids = new Set(refused.map(({ id }) => id))
        // What could be done with another name comes back; what is gone does not.
        const back = refused.length === asked.length && refused.every(({ error }) => error?.code !== 'FRAME_GONE')
        this.notDone(done, asked.filter(({ id }) => ids.has(id)), back)
        const count = asked.length - refused.length
        this.tell({
          problem: refused[0]?.error ? `${counted(refused.length, 'frame')}: ${refused[0].error.message}` : '',
          said: count > 0 ? `${counted(count, 'frame')} ${label === null ? 'passed over' : `labeled ${label}`}` : '',
        })
        return count > 0
      } catch (cause) {
        this.notDone(done, asked, true)
        this.tell({ problem: `${messageOf(cause)}; what you labeled last is back in the queue` })
        return false
      }
    })
    await this.count()
    return taken
  }

  /** Frames of what was done that were not: they come back, or are gone. */
  private notDone(done: Done, frames: readonly QueuedFrame[], back: boolean): void {
    if (frames.length === 0) return
    done.frames = done.frames.filter(frame => !frames.includes(frame))
    this.tell({ done: this.done.filter(one => one.frames.length > 0) })
    if (back) this.back(frames, done.label)
    else if (done.label !== null) this.tell({ labeled: this.labeled - frames.length })
  }

  private back(frames: readonly QueuedFrame[], label: string | null): void {
    const ids = new Set(frames.map(({ id }) => id))
    this.tell({
      frames: [...frames, ...this.frames.filter(({ id }) => !ids.has(id))],
      marked: new Set(frames.slice(1).map(({ id }) => id)),
      labeled: Math.max(0, this.labeled - (label === null ? 0 : frames.length)), waiting: this.waiting + frames.length,
    })
  }

  private inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.last.then(work)
    this.last = turn.catch(() => undefined)
    return turn
  }

  private tell(change: Partial<Pick<LabelingState, 'frames' | 'marked' | 'done' | 'classes' | 'waiting' | 'labeled' | 'said' | 'problem' | 'wanted'>>): void {
    Object.assign(this, change)
    if (change.done) write(sessionStorage, `pawl-done-${this.device}`, this.done.slice(-keptDone))
    for (const listener of [...this.listeners]) listener()
  }
}

let only: LabelingState | null = null

/** The one of the page, which is of one box; who uses it is drawn anew as it changes. */
export function useLabeling(device: string): LabelingState {
  const labeling = only ??= new LabelingState(device)
  const [, setChanges] = useState(0)
  useEffect(() => labeling.listen(() => { setChanges(changes => changes + 1) }), [])
  return labeling
}

function undone(frames: readonly QueuedFrame[], label: string | null): Promise<Refusals> {
  if (label !== null) return answered(client.labels.undo.$post({ json: { frames: frames.map(({ id }) => ({ id, label })) } }))
  return answered(client.skipped.undo.$post({ json: { ids: frames.map(({ id }) => id) } })).then(() => [])
}

/** A class keeps its key in this browser: new ones come after, and one that is gone leaves its place until all keys are taken. */
function orderOf(names: readonly string[], place: string): string[] {
  const former = read<string[]>(localStorage, place, [])
  const order = [...former, ...names.filter(name => !former.includes(name))]
  const kept = order.length <= keys.length ? order : order.filter(name => names.includes(name))
  write(localStorage, place, kept)
  return kept
}

function read<T>(storage: Storage, key: string, otherwise: T): T {
  try {
    return JSON.parse(storage.getItem(key) ?? '') as T
  } catch {
    return otherwise
  }
}

/** Where there is no room it is forgotten with the page. */
function write(storage: Storage, key: string, value: unknown): void {
  try {
    storage.setItem(key, JSON.stringify(value))
  } catch { /* As said. */ }
}
