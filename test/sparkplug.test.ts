import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { connectAsync, type MqttClient } from 'mqtt'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { AgentEvent } from '../agent/events.js'
import { ended } from '../agent/lib/child.js'
import { createLogger } from '../agent/lib/logger.js'
import type { Report } from '../agent/report/report.js'
import { BirthDeathNumber } from '../agent/report/sparkplug/birth-death-number.js'
import { EdgeNode, nodeDeath } from '../agent/report/sparkplug/edge-node.js'
import { decodeCommand, type DataType, type Value } from '../agent/report/sparkplug/payload.js'
import { compiled } from './compiled.js'
import { freePort } from './free-port.js'
import { mosquitto, startMosquitto, type Broker } from './site/mosquitto.js'
import { cameraStatus, makeReport, nothingBefore, prediction, problem } from './reporting.js'
import { SparkplugHost, type Received } from './sparkplug-host.js'

const waiting = { timeout: 60_000, interval: 20 }
const cleanups: (() => Promise<unknown>)[] = []
let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-sparkplug-'))
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(folder, { recursive: true, force: true })
})

const metrics = { count: 'Int64', share: 'Double', on: 'Boolean', name: 'String', since: 'DateTime' } as const satisfies Record<string, DataType>
const devices = ['door', 'gate']

/** An edge node and a host that hears it, without a broker between them. */
function pair() {
  let nowMs = 1_700_000_000_000
  const host = new SparkplugHost({ group: 'plant', edgeNode: 'box-7' })
  const node = new EdgeNode({ metrics, devices, deviceMetrics: metrics, clock: { nowMs: () => nowMs++ } })
  let bdSeq = 255
  const hear = (type: string, payload: Uint8Array, more: Partial<Received> = {}) => {
    host.take({ topic: `spBv1.0/plant/${type}`, payload, qos: 0, retain: false, ...more })
  }
  /** The next messages reach the host; `lose`: they are said and do not. */
  const say = (most = Infinity, lose = false) => {
    for (let n = 0; n < most; n++) {
      const said = node.next()
      if (!said) return
      if (!lose) hear(said.device === '' ? `${said.type}/box-7` : `${said.type}/box-7/${said.device}`, said.payload)
    }
  }
  const begin = () => {
    bdSeq = (bdSeq + 1) % 256
    node.begin(bdSeq)
  }
  /** The connection is lost, and the broker says the will. */
  const lost = () => {
    node.end()
    hear('NDEATH/box-7', nodeDeath(bdSeq, nowMs), { qos: 1 })
  }
  return { host, node, say, begin, lost, skipMs: (ms: number) => { nowMs += ms } }
}

const value = (name: keyof typeof metrics): fc.Arbitrary<Value> => fc.oneof({ arbitrary: fc.constant(null), weight: 1 }, {
  weight: 4,
  arbitrary: {
    Int64: fc.integer({ min: 0, max: 5 }), Double: fc.double({ noNaN: true }), Boolean: fc.boolean(), String: fc.string({ unit: 'grapheme', maxLength: 9 }),
    DateTime: fc.integer({ min: 0, max: 2e12 }),
  }[metrics[name]] as fc.Arbitrary<Value>,
})
const names = Object.keys(metrics) as (keyof typeof metrics)[]
const step = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...names).chain(name => fc.record({ set: fc.constantFrom('', ...devices), values: value(name).map(one => ({ [name]: one })) })) },
  { weight: 3, arbitrary: fc.record({ present: fc.constantFrom(...devices), is: fc.boolean() }) },
  { weight: 1, arbitrary: fc.constant('rebirth' as const) },
  { weight: 1, arbitrary: fc.constant('reconnect' as const) },
  { weight: 5, arbitrary: fc.record({ say: fc.integer({ min: 1, max: 4 }) }) },
)

describe('an edge node', () => {
  it('breaks no rule of the specification, and its hosts know in the end what it knows, whatever happens', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), steps => {
      const { host, node, say, begin, lost } = pair()
      const truth = new Map(['', ...devices].map(unit => [unit, Object.fromEntries(names.map(name => [name, null as Value]))]))
      const present = new Set<string>()
      begin()
      for (const one of steps) {
        if (one === 'rebirth') node.rebirth()
        else if (one === 'reconnect') {
          if (host.node.online) lost()
          begin()
        } else if ('say' in one) say(one.say)
        else if ('set' in one) {
          node.set(one.set, one.values)
          Object.assign(truth.get(one.set)!, one.values)
        } else {
          node.setPresent(one.present, one.is)
          if (one.is) present.add(one.present)
          else present.delete(one.present)
        }
      }
      say()
      expect(host.violations).toEqual([])
      expect(host.node.online).toBe(true)
      expect(Object.fromEntries(host.node.values)).toMatchObject(truth.get('')!)
      for (const device of devices) {
        expect(host.device(device).online).toBe(present.has(device))
        if (present.has(device)) expect(Object.fromEntries(host.device(device).values)).toEqual(truth.get(device))
      }
    }), { numRuns: 500 })
  })

  it('says the births of its devices before any data', () => {
    const { host, node, say, begin } = pair()
    for (const device of devices) node.setPresent(device, true)
    node.set('', { count: 1 })
    begin()
    say()
    node.set('', { count: 2 })
    node.set('gate', { count: 3 })
    node.rebirth()
    say()
    node.set('gate', { count: 4 })
    say()
    const births = ['NBIRTH', 'DBIRTH door', 'DBIRTH gate']
    expect(host.heard).toEqual([...births, ...births, 'DDATA gate'])
    expect(host.violations).toEqual([])
  })

  it('counts its messages to 255 and begins again, and a host notices one that is lost', () => {
    const { host, node, say, begin } = pair()
    begin()
    say()
    for (let n = 0; n < 600; n++) {
      node.set('', { count: n })
      say()
    }
    expect([host.violations, host.heard.length, host.node.seq]).toEqual([[], 601, 600 % 256])
    node.set('', { count: -1 })
    say(1, true)
    node.set('', { count: -2 })
    say()
    expect(host.violations.join()).toContain('payloads-sequence-num-incrementing')
  })

  it('says nothing without a session, and nothing twice', () => {
    const { host, node, say, begin } = pair()
    node.set('', { count: 1 })
    say()
    begin()
    say()
    node.set('', { count: 1, name: 'x' })
    node.set('', { name: null })
    say()
    expect(host.heard).toEqual(['NBIRTH'])
  })
})

describe('the number of a session', () => {
  it('goes on over restarts, and follows 255 with 0', async () => {
    const fresh = () => new BirthDeathNumber({ path: join(folder, 'number.json'), logger: createLogger({ level: 'silent' }) })
    let number = fresh()
    expect([await number.next(), await number.next()]).toEqual([0, 1])
    number = fresh()
    for (let n = 2; n < 256; n++) expect(await number.next()).toBe(n)
    expect(await fresh().next()).toBe(0)
  })
})

describe('a command to the node', () => {
  it('is read from any bytes, or is an error, and never hangs', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), bytes => {
      try {
        decodeCommand(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(Error)
      }
    }), { numRuns: 500 })
  })
})

describe.skipIf(!mosquitto)('over mosquitto', () => {
  let port = 0
  let broker: Broker
  let host: SparkplugHost
  let client: MqttClient

  beforeEach(async () => {
    port = await freePort()
    host = new SparkplugHost({ group: 'plant', edgeNode: 'box-7' })
    await startBroker()
  })

  async function startBroker(): Promise<void> {
    broker = await startMosquitto({ folder, port })
    cleanups.push(() => broker.stop())
    client = await connectAsync(broker.url, { reconnectPeriod: 0 })
    cleanups.push(() => client.endAsync(true))
    client.on('message', (topic, payload, { qos, retain }) => {
      if (!topic.includes('/STATE/') && !topic.includes('/NCMD/')) host.take({ topic, payload, qos, retain })
    })
    await client.subscribeAsync('spBv1.0/#', { qos: 1 })
  }

  const config = (more = '') => `{device: box-7, cameras: [{id: door, source: simulation}], mqtt: {broker: 'mqtt://127.0.0.1:${String(port)}', predictionEveryMs: 0, sparkplug: {group: plant${more}}}}`

  async function start(more = ''): Promise<Report> {
    const report = makeReport(config(more), folder)
    await report.start(nothingBefore)
    cleanups.push(() => report.stop())
    return report
  }

  const heard = (...types: string[]) => vi.waitFor(() => { expect(host.heard).toEqual(types) }, waiting)
  const known = (unit: { values: Map<string, unknown> }, values: object) =>
    vi.waitFor(() => { expect(Object.fromEntries(unit.values)).toMatchObject(values) }, waiting)

  it('the box is an edge node, its cameras are devices, and their state are metrics', async () => {
    const report = await start()
    await heard('NBIRTH')
    report.accept({ type: 'camera', status: cameraStatus })
    report.accept(prediction('shirt'))
    await known(host.device('door'), { 'Prediction/Class': 'shirt', 'Prediction/Confidence': 0.9, 'Prediction/Captured': 7, 'Camera/Pictures per second': 9.5, 'Camera/Newest picture': 5 })
    report.accept({ type: 'camera', status: { ...cameraStatus, picturesPerSecond: 4.5, lastPictureAtMs: 60_005 } })
    await known(host.device('door'), { 'Camera/Pictures per second': 4.5, 'Camera/Newest picture': 60_005 })
    report.accept(problem('one thing'))
    await known(host.node, { 'Health/State': 'degraded', 'Health/Newest problem': 'one thing', 'Health/Cameras online': 1, 'Properties/Version': '1.2.3', 'Round/Running': false })
    const began: AgentEvent = { type: 'round-started', round: 4, trigger: 'schedule', labeled: 1, unlabeled: 1, pseudoLabels: true }
    report.accept(began)
    await known(host.node, { 'Round/Running': true, 'Round/Number': 4, 'Model/Version': null })
    report.accept({ type: 'camera', status: { ...cameraStatus, state: 'offline', reason: 'no picture for 10 s' } })
    await vi.waitFor(() => { expect(host.heard.at(-1)).toMatch(/^DDEATH door|^NDATA/) }, waiting)
    await vi.waitFor(() => { expect(host.device('door').online).toBe(false) }, waiting)
    report.accept({ type: 'camera', status: cameraStatus })
    await vi.waitFor(() => { expect(host.device('door').online).toBe(true) }, waiting)
    expect(host.violations).toEqual([])
  })

  it('says everything anew when a host asks, and not for anything else', async () => {
    const { topic, payload } = host.rebirth()
    // Kept by the broker from long ago: not from a host that asks now.
    await client.publishAsync(topic, payload, { qos: 1, retain: true })
    const report = await start()
    report.accept({ type: 'camera', status: cameraStatus })
    await vi.waitFor(() => { expect(host.device('door').online).toBe(true) }, waiting)
    const before = host.heard.length
    expect(host.bdSeqs).toHaveLength(1)
    await client.publishAsync(topic, Buffer.from('nonsense'))
    await client.publishAsync(topic, payload)
    await vi.waitFor(() => { expect(host.heard.slice(before)).toEqual(['NBIRTH', 'DBIRTH door']) }, waiting)
    expect(host.bdSeqs[0]).toBe(host.bdSeqs[1])
    expect(host.violations).toEqual([])
  })

  it('dies in an orderly way once, and by the broker\'s word when it is killed, each time under the number of its birth', async () => {
    const first = await start()
    await heard('NBIRTH')
    await first.stop()
    await heard('NBIRTH', 'NDEATH')
    expect(host.node.online).toBe(false)
    for (const number of [1, 2]) {
      const child = spawn(process.execPath, [await compiled('sparkplug-child'), config(), folder], { stdio: 'inherit' })
      await vi.waitFor(() => { expect(host.device('door').values.get('Prediction/Class')).toBe('shirt') }, waiting)
      await vi.waitFor(() => { expect([host.device('door').online, host.node.bdSeq]).toEqual([true, number]) }, waiting)
      child.kill('SIGKILL')
      await ended(child)
      await vi.waitFor(() => { expect(host.node.online).toBe(false) }, waiting)
    }
    expect(host.bdSeqs).toEqual([0, 1, 2])
    expect(host.violations).toEqual([])
  })

  it('is born again, with the next number, at a broker that was away', async () => {
    const report = await start()
    report.accept({ type: 'camera', status: cameraStatus })
    await vi.waitFor(() => { expect(host.device('door').online).toBe(true) }, waiting)
    await broker.stop()
    // A host that lost the broker counts every node as gone.
    for (const unit of [host.node, ...host.devices.values()]) unit.online = false
    report.accept(prediction('boot'))
    await new Promise(resolve => setTimeout(resolve, 1500))
    await startBroker()
    await known(host.device('door'), { 'Prediction/Class': 'boot' })
    expect(host.bdSeqs).toEqual([0, 1])
    expect(host.violations).toEqual([])
  })

  it('waits for its primary host, falls silent when that is gone, and is born again when it is back', async () => {
    const state = (online: boolean, timestamp: number) => client.publishAsync('spBv1.0/STATE/scada', JSON.stringify({ online, timestamp }), { qos: 1, retain: true })
    const report = await start(', primaryHost: scada')
    await state(false, 5)
    report.accept({ type: 'camera', status: cameraStatus })
    await new Promise(resolve => setTimeout(resolve, 1000))
    expect(host.heard).toEqual([])
    await state(true, 10)
    await heard('NBIRTH', 'DBIRTH door')
    // From a time before it came: of no account.
    await state(false, 9)
    report.accept(prediction('shirt'))
    await vi.waitFor(() => { expect(host.heard.at(-1)).toBe('DDATA door') }, waiting)
    await state(false, 20)
    await vi.waitFor(() => { expect(host.heard.at(-1)).toBe('NDEATH') }, waiting)
    report.accept(prediction('boot'))
    await new Promise(resolve => setTimeout(resolve, 1500))
    expect(host.heard.at(-1)).toBe('NDEATH')
    await state(true, 30)
    await known(host.device('door'), { 'Prediction/Class': 'boot' })
    expect(host.node.online).toBe(true)
    expect(host.bdSeqs).toHaveLength(2)
    expect(host.violations).toEqual([])
  })

  it('is off unless it is configured', async () => {
    const report = makeReport(`{device: box-7, mqtt: {broker: 'mqtt://127.0.0.1:${String(port)}'}}`, folder)
    await report.start(nothingBefore)
    cleanups.push(() => report.stop())
    const online = new Promise(resolve => { client.on('message', topic => { if (topic === 'pawl/box-7/health') resolve(null) }) })
    await client.subscribeAsync('pawl/#')
    await online
    expect(host.heard).toEqual([])
  })
})
