/**
 * Rows as they change, for who follows them: first all, then what has changed since, at most twice a second. Who reads slowly is told less often,
 * never of anything old.
 */
import { rowOf, type Boxes } from './boxes.js'
import { byDevice, type Row } from './row.js'
import type { BrokerState } from './watch.js'

export interface ChangesMessage {
  /** Whether `rows` are all there are; else those that have changed. */
  all: boolean
  rows: Row[]
  /** Boxes that are no more. */
  gone: string[]
  broker: BrokerState | null
  passedOver: Boxes['passedOver']
}

export interface ChangesOptions {
  boxes: Boxes
  /** Told apart from that of another run: a page may be older than this process. */
  run: string
  nowMs: () => number
}

/** A state, and how far it is; `at` is `<run>-<sequence>`. */
export interface Told {
  at: string
  /** ChangesMessage as JSON. */
  json: string
}

const everyMs = 500
/** Of more boxes that are gone it is forgotten when; who has not heard is told everything. */
const mostGone = 5000

interface Entry {
  row: Row
  json: string
  sequence: number
}

export class Changes {
  private readonly options: ChangesOptions
  private readonly entries = new Map<string, Entry>()
  private readonly gone = new Map<string, number>()
  private readonly marked = new Set<string>()
  private readonly listeners = new Set<() => void>()
  private sequence = 0
  /** Before it, what went is not known. */
  private knownSince = 0
  private broker: BrokerState | null = null
  private timer: NodeJS.Timeout | null = null
  private flushedAtMs = -Infinity
  private sorted: readonly Row[] | null = null

  constructor(options: ChangesOptions) {
    this.options = options
  }

  mark(device: string): void {
    this.marked.add(device)
    this.schedule()
  }

  setBroker(state: BrokerState): void {
    this.broker = state
    this.sequence++
    this.schedule()
  }

  stop(): void {
    if (this.timer) clearTimeout(this.timer)
  }

  get brokerState(): BrokerState | null {
    return this.broker
  }

  /** In the order of their names. */
  rows(): readonly Row[] {
    this.flush()
    return this.sorted ??= [...this.entries.values()].map(({ row }) => row).sort(byDevice)
  }

  /** What is other than it was at `at`; everything where that is not known, or "". */
  since(at: string): Told {
    const { run, boxes: { passedOver } } = this.options
    const [of, number] = [at.slice(0, at.lastIndexOf('-')), Number(at.slice(at.lastIndexOf('-') + 1))]
    const all = of !== run || !Number.isInteger(number) || number < this.knownSince
    const newer = (sequence: number) => all || sequence > number
    const rows = [...this.entries.values()].filter(({ sequence }) => newer(sequence)).map(({ json }) => json)
    const gone = all ? [] : [...this.gone].filter(([, sequence]) => newer(sequence)).map(([device]) => device)
    const rest = JSON.stringify({ all, gone, broker: this.broker, passedOver }).slice(1)
    return { at: `${run}-${String(this.sequence)}`, json: `{"rows":[${rows.join(',')}],${rest}` }
  }

  /** From `at` on, until the signal. */
  async* follow(at: string, signal: AbortSignal): AsyncGenerator<Told> {
    const here = () => `${this.options.run}-${String(this.sequence)}`
    let wake = () => { /* nobody waits yet */ }
    const listener = () => { wake() }
    this.listeners.add(listener)
    signal.addEventListener('abort', listener)
    try {
      for (let last = at; !signal.aborted;) {
        if (last === here()) await new Promise<void>(resolve => { wake = resolve })
        else {
          const told = this.since(last)
          last = told.at
          yield told
        }
      }
    } finally {
      this.listeners.delete(listener)
      signal.removeEventListener('abort', listener)
    }
  }

  private schedule(): void {
    const { nowMs } = this.options
    this.timer ??= setTimeout(() => {
      this.timer = null
      this.flush()
      for (const listener of this.listeners) listener()
    }, Math.max(20, this.flushedAtMs + everyMs - nowMs()))
  }

  private flush(): void {
    const { boxes, nowMs } = this.options
    this.flushedAtMs = nowMs()
    if (this.marked.size === 0) return
    const sequence = ++this.sequence
    for (const device of this.marked) {
      const box = boxes.box(device)
      if (box) this.set(device, rowOf(box), sequence)
      else if (this.entries.delete(device)) {
        this.gone.set(device, sequence)
        this.sorted = null
      }
    }
    this.marked.clear()
    for (const [device, last] of this.gone) {
      if (this.gone.size <= mostGone) break
      this.gone.delete(device)
      this.knownSince = last
    }
  }

  private set(device: string, row: Row, sequence: number): void {
    const json = JSON.stringify(row)
    if (this.entries.get(device)?.json === json) return
    this.entries.set(device, { row, json, sequence })
    this.gone.delete(device)
    this.sorted = null
  }
}
