/**
 * What a Sparkplug edge node must say next, by the rules of the specification (Sparkplug 3.0, chapters 4 to 6). Pure but for the clock.
 *
 * INVARIANTS
 * - A session begins with the birth of the node (sequence 0), followed by those of its devices; each message counts on by one, after 255 from 0.
 * - Births carry every metric with name, alias, type and value; data carry what changed since, by alias alone; nothing is said of a device before
 *   its birth or after its death.
 */
import type { Clock } from '../../lib/clock.js'
import { encode, type DataType, type Metric, type Value } from './payload.js'

export const rebirthMetric = 'Node Control/Rebirth'
const sequences = 256

export interface EdgeNodeOptions {
  metrics: Readonly<Record<string, DataType>>
  devices: readonly string[]
  deviceMetrics: Readonly<Record<string, DataType>>
  clock: Pick<Clock, 'nowMs'>
}

export interface Said {
  type: 'NBIRTH' | 'NDATA' | 'DBIRTH' | 'DDATA' | 'DDEATH'
  /** "": the node. */
  device: string
  payload: Uint8Array
}

interface Unit {
  /** `told`: the value that the hosts know. */
  metrics: Map<string, Metric & { alias: number; told: Value }>
  /** Names of what they do not know yet. */
  changed: Set<string>
  /** Of a device: whether it can be heard, and whether the hosts believe that. */
  present: boolean
  born: boolean
}

export class EdgeNode {
  private readonly options: EdgeNodeOptions
  private readonly node: Unit
  private readonly devices: Map<string, Unit>
  /** Of the session; null: none. */
  private bdSeq: number | null = null
  private seq = 0
  private aliases = 0

  constructor(options: EdgeNodeOptions) {
    this.options = options
    this.node = this.unit(options.metrics)
    this.devices = new Map(options.devices.map(device => [device, this.unit(options.deviceMetrics)]))
  }

  /** A new session, under the number of the will that the broker holds. */
  begin(bdSeq: number): void {
    this.bdSeq = bdSeq
    this.node.born = false
  }

  /** A host asks to be told everything anew. */
  rebirth(): void {
    this.node.born = false
  }

  end(): void {
    this.bdSeq = null
  }

  get begun(): boolean {
    return this.bdSeq !== null
  }

  /** Takes new values; `device` is "" for the node. */
  set(device: string, values: Readonly<Record<string, Value>>): void {
    const unit = device === '' ? this.node : this.devices.get(device)
    for (const [name, value] of Object.entries(values)) {
      const metric = unit?.metrics.get(name)
      if (!unit || !metric || metric.value === value) continue
      Object.assign(metric, { value, timestampMs: this.options.clock.nowMs() })
      if (value === metric.told) unit.changed.delete(name)
      else unit.changed.add(name)
    }
  }

  setPresent(device: string, present: boolean): void {
    const unit = this.devices.get(device)
    if (unit) unit.present = present
  }

  /** What is to be published next, counted as published; null: the hosts know everything. */
  next(): Said | null {
    if (this.bdSeq === null) return null
    if (!this.node.born) return this.nodeBirth(this.bdSeq)
    for (const [device, unit] of this.devices) {
      if (unit.present !== unit.born) return unit.present ? this.deviceBirth(device, unit) : this.deviceDeath(device, unit)
    }
    if (this.node.changed.size) return { type: 'NDATA', device: '', payload: this.data(this.node) }
    for (const [device, unit] of this.devices) {
      if (unit.born && unit.changed.size) return { type: 'DDATA', device, payload: this.data(unit) }
    }
    return null
  }

  private nodeBirth(bdSeq: number): Said {
    const timestampMs = this.options.clock.nowMs()
    this.seq = 0
    this.node.born = true
    for (const unit of this.devices.values()) unit.born = false
    return {
      type: 'NBIRTH', device: '',
      payload: this.birth(this.node, [deathNumber(bdSeq, timestampMs), { name: rebirthMetric, type: 'Boolean', value: false, timestampMs }]),
    }
  }

  private deviceBirth(device: string, unit: Unit): Said {
    unit.born = true
    return { type: 'DBIRTH', device, payload: this.birth(unit, []) }
  }

  private deviceDeath(device: string, unit: Unit): Said {
    unit.born = false
    return { type: 'DDEATH', device, payload: this.encoded([], false) }
  }

  private birth(unit: Unit, first: readonly Metric[]): Uint8Array {
    return this.encoded([...first, ...told(unit, [...unit.metrics.keys()])], true)
  }

  private data(unit: Unit): Uint8Array {
    return this.encoded(told(unit, [...unit.changed]).map(({ name: _name, ...metric }) => metric), false)
  }

  private encoded(metrics: readonly Metric[], typed: boolean): Uint8Array {
    // Oldest values first, as the specification wants them.
    const ordered = metrics.toSorted((a, b) => a.timestampMs - b.timestampMs)
    const payload = encode({ timestampMs: this.options.clock.nowMs(), seq: this.seq, metrics: ordered, typed })
    this.seq = (this.seq + 1) % sequences
    return payload
  }

  private unit(types: Readonly<Record<string, DataType>>): Unit {
    const timestampMs = this.options.clock.nowMs()
    return {
      metrics: new Map(Object.entries(types).map(([name, type]) =>
        [name, { name, type, alias: ++this.aliases, value: null, told: null, timestampMs }])),
      changed: new Set(), present: false, born: false,
    }
  }
}

/** The metrics of these names, which the hosts know from now on. */
function told(unit: Unit, names: readonly string[]): Metric[] {
  return names.flatMap(name => {
    unit.changed.delete(name)
    const metric = unit.metrics.get(name)
    if (!metric) return []
    metric.told = metric.value
    return [metric]
  })
}

/** What the broker says in the node's place when the connection is lost. */
export function nodeDeath(bdSeq: number, timestampMs: number): Uint8Array {
  return encode({ timestampMs, metrics: [deathNumber(bdSeq, timestampMs)], typed: true })
}

function deathNumber(bdSeq: number, timestampMs: number): Metric {
  return { name: 'bdSeq', type: 'Int64', value: bdSeq, timestampMs }
}
