/**
 * A host application of Sparkplug B as a test needs one. It reads with the decoder of Eclipse Tahu, keeps its own picture of an edge node and its
 * devices, and writes down everything that the specification (3.0) forbids. In brackets: the specification's names of its requirements.
 */
import payloads from 'sparkplug-payload'
import proto from 'sparkplug-payload/lib/sparkplugPayloadProto.js'

const { Payload } = proto.org.eclipse.tahu.protobuf
type Raw = ReturnType<typeof Payload.decode>
type RawMetric = NonNullable<Raw['metrics'][number]>

export interface Received {
  topic: string
  payload: Uint8Array
  qos: number
  retain: boolean
}

interface Unit {
  online: boolean
  /** By alias. */
  known: Map<number, { name: string; datatype: number }>
  values: Map<string, unknown>
}

const newUnit = (): Unit => ({ online: false, known: new Map(), values: new Map() })
const types = new Map([[4, 'longValue'], [10, 'doubleValue'], [11, 'booleanValue'], [12, 'stringValue'], [13, 'longValue']] as const)

export class SparkplugHost {
  readonly violations: string[] = []
  /** What came, in order: `NBIRTH`, `DDATA door`, … */
  readonly heard: string[] = []
  readonly node: Unit & { bdSeq: number; seq: number } = { ...newUnit(), bdSeq: -1, seq: -1 }
  readonly devices = new Map<string, Unit>()
  /** Of each birth of the node. */
  readonly bdSeqs: number[] = []
  private readonly group: string
  private readonly edgeNode: string

  constructor({ group, edgeNode }: { group: string; edgeNode: string }) {
    this.group = group
    this.edgeNode = edgeNode
  }

  device(name: string): Unit {
    const unit = this.devices.get(name) ?? newUnit()
    this.devices.set(name, unit)
    return unit
  }

  /** A request for everything anew. */
  rebirth(): { topic: string; payload: Buffer } {
    const spb = payloads.get('spBv1.0')
    if (!spb) throw new Error('no encoder')
    const metrics = [{ name: 'Node Control/Rebirth', type: 'Boolean' as const, value: true, timestamp: Date.now() }]
    return { topic: `spBv1.0/${this.group}/NCMD/${this.edgeNode}`, payload: Buffer.from(spb.encodePayload({ timestamp: Date.now(), metrics })) }
  }

  take({ topic, payload, qos, retain }: Received): void {
    const [namespace, group, type = '', edgeNode, device, ...more] = topic.split('/')
    if (namespace !== 'spBv1.0' || group !== this.group || edgeNode !== this.edgeNode || more.length) return this.violate(topic, 'topic-structure')
    this.heard.push(device === undefined ? type : `${type} ${device}`)
    if (retain) this.violate(topic, 'retained')
    if (type !== 'NDEATH' && qos !== 0) this.violate(topic, 'QoS is not 0')
    if ((device !== undefined) !== type.startsWith('D')) this.violate(topic, 'topic-structure-namespace-device-id-associated-message-types')
    const raw = Payload.decode(payload)
    if (!has(raw, 'timestamp')) this.violate(topic, 'payloads-timestamp')
    if (type === 'NDEATH') return this.nodeDeath(topic, raw)
    if (!has(raw, 'seq')) return this.violate(topic, 'payloads-sequence-num-always-included')
    if (type === 'NBIRTH') return this.nodeBirth(topic, raw)
    if (!this.node.online) this.violate(topic, `${type} before the birth of the node`)
    const expected = (this.node.seq + 1) % 256
    this.node.seq = Number(raw.seq)
    if (this.node.seq !== expected) this.violate(topic, `payloads-sequence-num-incrementing: ${String(this.node.seq)}, expected ${String(expected)}`)
    if (type === 'NDATA') this.data(topic, this.node, raw)
    else if (type === 'DBIRTH') this.birth(topic, this.device(device ?? ''), raw)
    else if (type === 'DDATA') this.data(topic, this.device(device ?? ''), raw)
    else if (type === 'DDEATH') this.deviceDeath(topic, this.device(device ?? ''))
    else this.violate(topic, 'a type of message that an edge node does not send')
  }

  private nodeBirth(topic: string, raw: Raw): void {
    if (Number(raw.seq) !== 0) this.violate(topic, 'topics-nbirth-seq-num')
    const named = new Map(raw.metrics.map(metric => [metric.name, metric]))
    const bdSeq = named.get('bdSeq')
    if (bdSeq?.datatype !== 4 || !has(bdSeq, 'longValue')) return this.violate(topic, 'topics-nbirth-bdseq-included')
    const rebirth = named.get('Node Control/Rebirth')
    if (rebirth?.datatype !== 11 || !has(rebirth, 'booleanValue') || rebirth.booleanValue) this.violate(topic, 'topics-nbirth-rebirth-metric')
    if (rebirth && has(rebirth, 'alias')) this.violate(topic, 'operational-behavior-data-commands-rebirth-name-aliases')
    const number = Number(bdSeq.longValue)
    if (number < 0 || number > 255) this.violate(topic, 'bdSeq is not of 0 to 255')
    // One birth more under the number of the session that lives is an answer to a request; another session has another number.
    if (this.node.online && number !== this.node.bdSeq) this.violate(topic, 'another session, and the former has not died')
    if (!this.node.online && number === this.node.bdSeq) this.violate(topic, 'topics-nbirth-bdseq-increment')
    this.bdSeqs.push(number)
    for (const device of this.devices.values()) Object.assign(device, { online: false, known: new Map() })
    Object.assign(this.node, { bdSeq: number, seq: 0, known: new Map() })
    this.birth(topic, this.node, raw)
  }

  private nodeDeath(topic: string, raw: Raw): void {
    if (has(raw, 'seq')) this.violate(topic, 'payloads-ndeath-seq')
    const [metric, ...more] = raw.metrics
    if (metric?.name !== 'bdSeq' || metric.datatype !== 4 || more.length) return this.violate(topic, 'topics-ndeath-payload')
    // That of a session before: too late to say anything.
    if (Number(metric.longValue) !== this.node.bdSeq) return
    for (const unit of [this.node, ...this.devices.values()]) unit.online = false
  }

  private deviceDeath(topic: string, device: Unit): void {
    if (!device.online) this.violate(topic, 'a death without a birth')
    device.online = false
  }

  private birth(topic: string, unit: Unit, raw: Raw): void {
    unit.online = true
    unit.known = new Map()
    this.chronological(topic, raw)
    const taken = new Set([this.node, ...this.devices.values()].flatMap(({ known }) => [...known.keys()]))
    for (const metric of raw.metrics) {
      if (!metric.name) { this.violate(topic, 'payloads-name-requirement'); continue }
      if (!has(metric, 'timestamp')) this.violate(topic, `payloads-name-birth-data-requirement: ${metric.name}`)
      const type = types.get(metric.datatype as 4)
      if (!type) { this.violate(topic, `payloads-metric-datatype-req: ${metric.name}`); continue }
      if (has(metric, type) === (metric.isNull === true)) this.violate(topic, `topics-nbirth-metrics: ${metric.name} has neither a value nor none`)
      unit.values.set(metric.name, valueOf(metric, metric.datatype as number))
      if (['bdSeq', 'Node Control/Rebirth'].includes(metric.name)) continue
      const alias = Number(metric.alias)
      if (!has(metric, 'alias') || taken.has(alias)) this.violate(topic, `payloads-alias-uniqueness: ${metric.name}`)
      taken.add(alias)
      unit.known.set(alias, { name: metric.name, datatype: metric.datatype as number })
    }
  }

  private data(topic: string, unit: Unit, raw: Raw): void {
    if (!unit.online) this.violate(topic, 'data before a birth, or after a death')
    if (!raw.metrics.length) this.violate(topic, 'data without any')
    this.chronological(topic, raw)
    for (const metric of raw.metrics) {
      if (has(metric, 'name')) this.violate(topic, 'payloads-alias-data-cmd-requirement')
      if (has(metric, 'datatype')) this.violate(topic, 'payloads-metric-datatype-not-req')
      if (!has(metric, 'timestamp')) this.violate(topic, 'payloads-name-birth-data-requirement')
      const known = unit.known.get(Number(metric.alias))
      if (!known) { this.violate(topic, `alias ${String(metric.alias)} was not in the birth`); continue }
      const value = valueOf(metric, known.datatype)
      if (unit.values.get(known.name) === value) this.violate(topic, `operational-behavior-data-publish-nbirth-change: ${known.name}`)
      unit.values.set(known.name, value)
    }
  }

  private chronological(topic: string, raw: Raw): void {
    const times = raw.metrics.map(({ timestamp }) => Number(timestamp))
    if (times.some((time, index) => time < (times[index - 1] ?? 0))) this.violate(topic, 'operational-behavior-data-publish-nbirth-order')
  }

  private violate(topic: string, rule: string): void {
    this.violations.push(`${topic}: ${rule}`)
  }
}

function has(message: object, field: string): boolean {
  return Object.hasOwn(message, field)
}

function valueOf(metric: RawMetric, datatype: number): unknown {
  if (metric.isNull === true) return null
  const value = metric[types.get(datatype as 4) ?? 'stringValue']
  return typeof value === 'object' ? Number(value) : value
}
