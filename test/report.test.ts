import { execFileSync, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { z } from 'zod'
import type { DriftAlarm, DriftEvent } from '../agent/drift/alarm.js'
import type { AgentEvent, CameraStatus } from '../agent/events.js'
import { systemClock } from '../agent/lib/clock.js'
import { createLogger } from '../agent/lib/logger.js'
import { Metrics } from '../agent/metrics/metrics.js'
import { EmbeddedBroker } from '../agent/report/broker.js'
import { commands } from '../agent/report/commands.js'
import { Outbox } from '../agent/report/outbox.js'
import type { Reporter } from '../agent/report/reporter.js'
import { boxMetrics, cameraMetrics } from '../agent/report/sparkplug/metrics.js'
import { RetainedState } from '../agent/report/state.js'
import { Terminal } from '../agent/report/terminal.js'
import type { ProbationRecord } from '../agent/rounds/probation.js'
import type { PromotionRecord } from '../agent/rounds/promotion.js'
import { topics, type Topic, type TopicName } from '../agent/report/topics.js'
import { challenger } from './challenger.js'
import { compiled } from './compiled.js'
import { freePort } from './free-port.js'
import { mosquitto, startMosquitto, type Broker } from './site/mosquitto.js'
import { cameraStatus, handlers, makeReporter, prediction, problem, status, Watcher, type Given } from './reporting.js'

const quiet = createLogger({ level: 'silent' })
const waiting = { timeout: 60_000, interval: 20 }
const cleanups: (() => Promise<unknown>)[] = []
let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-report-'))
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(folder, { recursive: true, force: true })
})

type Started = Pick<Broker, 'url' | 'stop'>

async function aedes(port: number): Promise<Started> {
  const broker = new EmbeddedBroker({ port })
  const url = await broker.start()
  return { url, stop: () => broker.stop() }
}

const realBroker = (port: number): Promise<Started> => startMosquitto({ folder, port })

async function watch(url: string): Promise<Watcher> {
  const watcher = await Watcher.open(url)
  cleanups.push(() => watcher.client.endAsync(true))
  return watcher
}

async function reporter(url: string, options: Given = {}): Promise<Reporter> {
  const made = makeReporter(url, folder, options)
  await made.start()
  cleanups.push(() => made.stop())
  return made
}

it('health is degraded as long as a model is in service that does not run, however long ago that was told', async () => {
  let away: string | null = 'model 5 is in service, but has not loaded since the start'
  const hourMs = 3_600_000
  let nowMs = 1_800_000_000_000
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs }
  const said = await reporter('mqtt://127.0.0.1:1', { clock, away: () => (away === null ? [] : [away]) })
  const look = () => { said.accept({ type: 'collection', state: 'running', reason: '' }) }
  said.accept({ type: 'camera', status: cameraStatus })
  said.accept(problem('model 5 cannot be served'))
  look()
  expect(said.health).toMatchObject({ state: 'degraded', wrong: [away], problems: [{ message: 'model 5 cannot be served' }] })
  nowMs += 2 * hourMs
  look()
  expect(said.health).toMatchObject({ state: 'degraded', wrong: [away], problems: [] })
  expect(topics.health.payload.parse(said.health)).toEqual(said.health)
  away = null
  const { card, decision } = await challenger(folder, 'one')
  const model = { version: 5, folder: '5-00000000', status: 'champion', createdAtMs: 1, card, decision: decision(5) } as const
  said.accept({ type: 'model-active', model, loadedInMs: 1, lineage: null })
  expect(said.health).toMatchObject({ state: 'ok', problems: [] })
})

const alarm: DriftAlarm = {
  detector: 'two-sample', model: 3, sinceMs: 5, raisedAtMs: 9, p: 1e-9, alpha: 1e-5, message: 'the pictures have changed',
  moved: [{ kind: 'class', name: 'shirt', distance: 0.4, from: 0.1, to: 0.3 }],
}

const brokers = [
  { name: 'the embedded broker', broker: aedes, missing: false },
  { name: 'mosquitto', broker: realBroker, missing: !mosquitto },
]

for (const { name, broker, missing } of brokers) {
  // Skipped only where mosquitto is not installed; CI throws above.
  describe.skipIf(missing)(`reporter with ${name}`, () => {
    it('publishes its state retained, in the shape of its schemas, and says offline when it stops', async () => {
      const { url, stop } = await broker(await freePort())
      cleanups.push(stop)
      const agent = await reporter(url)
      agent.accept({ type: 'camera', status: cameraStatus })
      agent.accept(prediction('shirt'))
      agent.accept({ type: 'round-started', round: 2, trigger: 'schedule', labeled: 10, unlabeled: 100, pseudoLabels: true })
      const live = await watch(url)
      await vi.waitFor(() => { expect(live.texts('camera/door/prediction')).toHaveLength(1) }, waiting)
      await vi.waitFor(() => { expect(live.json('train/state')).toMatchObject({ state: 'running', round: 2 }) }, waiting)
      const late = await watch(url)
      const wanted = ['availability', 'info', 'health', 'train/state', 'camera/door/status', 'camera/door/prediction']
      await vi.waitFor(() => { expect(wanted.filter(topic => late.texts(topic).length === 0)).toEqual([]) }, waiting)
      expect(late.texts('availability')).toEqual(['online'])
      expect(wanted.every(wish => late.messages.find(({ topic }) => topic === wish)?.retained)).toBe(true)
      const check = (name: TopicName, topic: string) => topics[name].payload.parse(late.json(topic))
      expect(check('health', 'health')).toMatchObject({ state: 'ok', camerasOnline: 1 })
      expect(check('info', 'info')).toMatchObject({ device: 'box-7', version: '1.2.3' })
      check('trainState', 'train/state')
      check('cameraStatus', 'camera/door/status')
      check('cameraPrediction', 'camera/door/prediction')
      await agent.stop()
      await vi.waitFor(() => { expect(late.texts('availability').at(-1)).toBe('offline') }, waiting)
    })

    it('tells of a change of the pictures as an event, and retained as long as it lasts', async () => {
      const { url, stop } = await broker(await freePort())
      cleanups.push(stop)
      const watcher = await watch(url)
      const agent = await reporter(url)
      const told = async (event: DriftEvent, state: object, events: number) => {
        agent.accept(event)
        await vi.waitFor(() => { expect(topics.drift.payload.parse(watcher.json('drift'))).toEqual(state) }, waiting)
        await vi.waitFor(() => { expect(watcher.texts('event')).toHaveLength(events) }, waiting)
      }
      await vi.waitFor(() => { expect(watcher.json('drift')).toEqual({ state: 'off', model: null, alarm: null }) }, waiting)
      await told({ type: 'drift', state: 'gathering', model: 3 }, { state: 'gathering', model: 3, alarm: null }, 0)
      await told({ type: 'drift', state: 'watching', model: 3 }, { state: 'watching', model: 3, alarm: null }, 0)
      await told({ type: 'drift', state: 'alarm', alarm }, { state: 'alarm', model: 3, alarm }, 1)
      const late = await watch(url)
      await vi.waitFor(() => { expect(late.json('drift')).toEqual({ state: 'alarm', model: 3, alarm }) }, waiting)
      await told({ type: 'drift', state: 'over', alarm, reason: 'fits-again' }, { state: 'watching', model: 3, alarm: null }, 2)
      await told({ type: 'drift', state: 'still', alarm }, { state: 'alarm', model: 3, alarm }, 2)
      const events = watcher.texts('event').map(text => topics.event.payload.parse(JSON.parse(text)))
      expect(events).toMatchObject([{ type: 'drift', state: 'alarm', alarm }, { type: 'drift', state: 'over', alarm, reason: 'fits-again' }])
    })

    it('answers commands with the transaction, and wrong ones with an error', async () => {
      const { url, stop } = await broker(await freePort())
      cleanups.push(stop)
      const watcher = await watch(url)
      await reporter(url)
      await vi.waitFor(() => { expect(watcher.texts('availability')).toEqual(['online']) }, waiting)
      const ask = (verb: string, payload: string) => watcher.ask(verb, payload)
      await ask('train', '{"transaction":"a1","reason":"test"}')
      await vi.waitFor(() => {
        expect(watcher.json('response/train')).toEqual({ status: 'ok', data: { started: true }, transaction: 'a1' })
      }, waiting)
      await ask('status', '')
      await vi.waitFor(() => { expect(watcher.json('response/status')).toEqual({ status: 'ok', data: status }) }, waiting)
      for (const bad of ['{"raeson":"x","transaction":"b"}', '{', '[]', '{"reason":5}', 'x'.repeat(70_000)]) {
        const before = watcher.texts('response/train').length
        await ask('train', bad)
        await vi.waitFor(() => { expect(watcher.texts('response/train')).toHaveLength(before + 1) }, waiting)
        expect(watcher.json('response/train')).toMatchObject({ status: 'error', error: { code: 'COMMAND_INVALID' } })
        topics.response.payload.parse(watcher.json('response/train'))
      }
      await ask('explode', '')
      await vi.waitFor(() => { expect(watcher.json('response/explode')).toMatchObject({ status: 'error' }) }, waiting)
    })

    it('ignores a retained request', async () => {
      const { url, stop } = await broker(await freePort())
      cleanups.push(stop)
      const watcher = await watch(url)
      await watcher.client.publishAsync('pawl/box-7/request/train', '{"transaction":"old"}', { qos: 1, retain: true })
      const train = vi.fn()
      await reporter(url, { handlers: { ...handlers, train } })
      await vi.waitFor(() => { expect(watcher.texts('availability')).toEqual(['online']) }, waiting)
      await watcher.client.publishAsync('pawl/box-7/request/status', '', { qos: 1 })
      await vi.waitFor(() => { expect(watcher.texts('response/status')).toHaveLength(1) }, waiting)
      expect(train).not.toHaveBeenCalled()
    })

    it('publishes all of its state again to a broker that came back empty, and the events of the meantime in order', async () => {
      const port = await freePort()
      const first = await broker(port)
      const seen: AgentEvent[] = []
      const agent = await reporter(first.url, { emit: event => { seen.push(event) } })
      agent.accept({ type: 'camera', status: cameraStatus })
      await vi.waitFor(() => { expect(seen.map(event => event.type === 'broker' && event.state)).toEqual(['connected']) }, waiting)
      await first.stop()
      await vi.waitFor(() => { expect(seen).toHaveLength(2) }, waiting)
      for (const message of ['one', 'two', 'three']) agent.accept(problem(message))
      const second = await broker(port)
      cleanups.push(second.stop)
      const watcher = await watch(second.url)
      await vi.waitFor(() => { expect(watcher.texts('event')).toHaveLength(3) }, waiting)
      const events = watcher.texts('event').map(text => topics.event.payload.parse(JSON.parse(text)))
      expect(events.map(event => (event.type === 'problem' ? event.message : ''))).toEqual(['one', 'two', 'three'])
      await vi.waitFor(() => { expect(watcher.json('camera/door/status')).toEqual(cameraStatus) }, waiting)
      expect(watcher.texts('availability')).toContain('online')
      expect(watcher.json('health')).toMatchObject({ state: 'degraded' })
      await vi.waitFor(async () => { expect(await readdir(join(folder, 'outbox'))).toEqual([]) }, waiting)
    })

    it('leaves offline behind when its process is killed', async () => {
      const { url, stop } = await broker(await freePort())
      cleanups.push(stop)
      const watcher = await watch(url)
      const child = spawn(process.execPath, [await compiled('report-child'), url, folder], { stdio: 'inherit' })
      await vi.waitFor(() => { expect(watcher.texts('availability')).toEqual(['online']) }, waiting)
      child.kill('SIGKILL')
      await vi.waitFor(() => { expect(watcher.texts('availability')).toEqual(['online', 'offline']) }, waiting)
    })
  })
}

/** What Home Assistant takes for a device, by its page on MQTT discovery: a key that it does not know is refused there too. */
const component = { name: z.string(), unique_id: z.string(), entity_category: z.literal('diagnostic').optional() }
const state = { ...component, state_topic: z.string(), value_template: z.string(), json_attributes_topic: z.string().optional() }
const Announcement = z.strictObject({
  device: z.strictObject({
    identifiers: z.array(z.string()).min(1), name: z.string(), manufacturer: z.string(), model: z.string(), sw_version: z.string(),
  }),
  origin: z.strictObject({ name: z.string(), sw_version: z.string() }),
  availability: z.array(z.strictObject({ topic: z.string() })).length(1),
  qos: z.literal(1),
  components: z.record(z.string().regex(/^[a-zA-Z0-9_-]+$/), z.discriminatedUnion('platform', [
    z.strictObject({
      ...state, platform: z.literal('sensor'), unit_of_measurement: z.literal('%').optional(), state_class: z.literal('measurement').optional(),
    }),
    z.strictObject({ ...state, platform: z.literal('binary_sensor'), device_class: z.enum(['problem', 'connectivity']) }),
    z.strictObject({ ...component, platform: z.literal('button'), command_topic: z.string(), payload_press: z.string() }),
  ])),
})

/** Templates as Home Assistant fills them in: with Jinja. */
function filled(templates: Record<string, { template: string; json: unknown }>): Record<string, string> {
  const program = 'import json, sys, jinja2\n'
    + 'print(json.dumps({k: jinja2.Template(v["template"]).render(value_json=v["json"]) for k, v in json.load(sys.stdin).items()}))'
  return JSON.parse(execFileSync('/usr/bin/python3', ['-c', program], { input: JSON.stringify(templates) }).toString()) as Record<string, string>
}

describe('Home Assistant', () => {
  it('is told once of everything there is to see, finds it where it was told, and is told again when it starts', async () => {
    const { url, stop } = await aedes(await freePort())
    cleanups.push(stop)
    const watcher = await watch(url)
    await watcher.client.subscribeAsync('homeassistant/#', { qos: 1 })
    const train = vi.fn(() => ({ started: true as const }))
    const agent = await reporter(url, { homeAssistant: 'homeassistant', handlers: { ...handlers, train } })
    const topic = 'homeassistant/device/pawl_box-7/config'
    await vi.waitFor(() => { expect([watcher.texts(topic).length, watcher.texts('availability').length]).toEqual([1, 1]) }, waiting)
    expect(watcher.messages.findIndex(message => message.topic === topic)).toBeLessThan(watcher.messages.findIndex(message => message.topic === 'availability'))
    const { device, availability, components } = Announcement.parse(watcher.json(topic))
    expect([device.name, availability[0]?.topic]).toEqual(['box-7', 'pawl/box-7/availability'])
    expect(new Set(Object.values(components).map(({ unique_id: id }) => id)).size).toBe(Object.keys(components).length)

    const seen = () => filled(Object.fromEntries(Object.entries(components).flatMap(([id, found]) => {
      const json = found.platform === 'button' ? null : watcher.json(found.state_topic.replace('pawl/box-7/', ''))
      return json === null || found.platform === 'button' ? [] : [[id, { template: found.value_template, json }]]
    })))
    await vi.waitFor(() => { expect(seen()).toEqual({ health: 'OFF', frames: '0', drift: 'OFF', mode: 'follow', round: 'idle', progress: '0' }) }, waiting)
    agent.accept({ type: 'camera', status: cameraStatus })
    agent.accept(prediction('shirt'))
    agent.accept({ type: 'drift', state: 'alarm', alarm })
    agent.accept(problem('anything'))
    agent.accept({ type: 'mode', mode: { kind: 'pause' } })
    agent.accept({ type: 'round-started', round: 2, trigger: 'schedule', labeled: 10, unlabeled: 100, pseudoLabels: true })
    agent.accept({ type: 'round-event', round: 2, event: { type: 'phase', phase: 'semi-supervised' } })
    await vi.waitFor(() => {
      expect(seen()).toEqual({
        health: 'ON', frames: '0', drift: 'ON', mode: 'pause', round: 'semi-supervised', progress: '0', door_class: 'shirt', door_confidence: '90.0', door_online: 'ON',
      })
    }, waiting)

    const { train: button } = components
    if (button?.platform !== 'button') throw new Error('no button')
    await watcher.client.publishAsync(button.command_topic, button.payload_press, { qos: 1 })
    await vi.waitFor(() => { expect(train).toHaveBeenCalledWith({ reason: 'Home Assistant' }) }, waiting)
    await watcher.client.publishAsync('homeassistant/status', 'online', { qos: 1 })
    await vi.waitFor(() => { expect(watcher.texts(topic)).toHaveLength(2) }, waiting)
    await vi.waitFor(() => { expect(watcher.texts('camera/door/prediction')).toHaveLength(2) }, waiting)
  })

  it('is told nothing unless that is wanted', async () => {
    const { url, stop } = await aedes(await freePort())
    cleanups.push(stop)
    const watcher = await watch(url)
    await watcher.client.subscribeAsync('#', { qos: 1 })
    await reporter(url)
    await vi.waitFor(() => { expect(watcher.texts('health').length).toBeGreaterThan(0) }, waiting)
    expect(watcher.messages.filter(({ topic }) => topic.startsWith('homeassistant'))).toEqual([])
  })
})

describe('reporter', () => {
  it('sends a prediction when class or model changes, not at every frame', async () => {
    const { url, stop } = await aedes(await freePort())
    cleanups.push(stop)
    const watcher = await watch(url)
    const agent = await reporter(url)
    const send = async (event: AgentEvent, count: number) => {
      agent.accept(event)
      await vi.waitFor(() => { expect(watcher.texts('camera/door/prediction')).toHaveLength(count) }, waiting)
    }
    await send(prediction('shirt'), 1)
    await send(prediction('shirt'), 1)
    await send(prediction('boot'), 2)
    await send(prediction('boot', 2), 3)
  })

  // Skipped only where mosquitto is not installed; CI throws above.
  it.skipIf(!mosquitto)('tells its events though the broker refuses a topic, and says once which', async () => {
    await writeFile(join(folder, 'acl'), 'topic readwrite pawl/#\n')
    const { url, stop } = await startMosquitto({ folder, port: await freePort(), lines: ['allow_anonymous true', `acl_file ${join(folder, 'acl')}`] })
    cleanups.push(stop)
    const watcher = await watch(url)
    const told: AgentEvent[] = []
    const agent = await reporter(url, {
      homeAssistant: 'homeassistant',
      connection: { protocol: '5', password: () => Promise.resolve('') },
      emit: event => { told.push(event) },
    })
    agent.accept(problem('one'))
    agent.accept(problem('two'))
    await vi.waitFor(() => { expect(watcher.texts('event')).toHaveLength(2) }, waiting)
    const refusals = told.filter(event => event.type === 'problem')
    expect(new Set(refusals.map(({ code }) => code))).toEqual(new Set(['BROKER_REFUSES']))
    expect(refusals.map(({ message }) => message).join()).toContain('homeassistant/')
  })

  it('starts and stops without a broker, and says the password nowhere', async () => {
    const lines: string[] = []
    const port = await freePort()
    const logger = createLogger({ level: 'trace', write: line => { lines.push(line) } })
    const told: AgentEvent[] = []
    const agent = await reporter(`mqtt://user:hush%20hush@127.0.0.1:${String(port)}`, {
      logger, connection: { password: () => Promise.resolve('hush hush') }, emit: event => { told.push(event) },
    })
    agent.accept(problem('kept'))
    await vi.waitFor(() => { expect(told).toMatchObject([{ type: 'broker', state: 'disconnected', reason: expect.stringContaining('ECONNREFUSED') as string }]) }, waiting)
    agent.accept(told[0] as AgentEvent)
    expect(agent.health).toMatchObject({ state: 'degraded', wrong: [expect.stringMatching(/^the broker is away: .*ECONNREFUSED/)] })
    await agent.stop()
    expect(lines.join('') + JSON.stringify(told)).not.toContain('hush')
    expect(await readdir(join(folder, 'outbox'))).toHaveLength(1)
  })

  it('tells of a decision that a power cut kept from being told, and of none twice but as the same event', async () => {
    const { url, stop } = await aedes(await freePort())
    cleanups.push(stop)
    const watcher = await watch(url)
    const decision = (round: number): PromotionRecord => ({
      round, decidedAtMs: 1000 + round, promoted: false, reason: 'inconclusive', explanation: 'not proved better', champion: 1, challenger: round + 1,
      accuracyChampion: 0.5, accuracyChallenger: 0.5, comparison: null,
    })
    const rounds = () => watcher.texts('event').map(text => topics.event.payload.parse(JSON.parse(text))).map(event => (event.type === 'round-ended' ? event.round : event.type))
    // An agent of before kept no record: what it decided was told.
    const first = await reporter(url)
    await first.catchUp([decision(1)])
    first.accept({ type: 'round-ended', round: 2, decision: decision(2) })
    first.accept({ type: 'round-ended', round: 3, decision: { ...decision(3), reason: 'stopped' } })
    await vi.waitFor(() => { expect(rounds()).toEqual([2, 3]) }, waiting)
    await first.stop()
    // Between the decision on round 3 and its event the power went.
    const second = await reporter(url)
    await second.catchUp([1, 2, 3].map(decision))
    await vi.waitFor(() => { expect(rounds()).toEqual([2, 3, 3]) }, waiting)
    await second.stop()
    // And between the event and the record of it.
    await writeFile(join(folder, 'report', 'told.json'), '{"round": 1}')
    const third = await reporter(url)
    await third.catchUp([1, 2, 3].map(decision))
    await vi.waitFor(() => { expect(rounds()).toEqual([2, 3, 3, 2, 3]) }, waiting)
    const [two, , three, ...again] = watcher.texts('event')
    expect(again).toEqual([two, three])
    await third.stop()
  })

  it('takes the next port when its own is taken', async () => {
    const port = await freePort()
    const first = await aedes(port)
    cleanups.push(first.stop)
    const second = await aedes(port)
    cleanups.push(second.stop)
    expect(second.url).not.toBe(first.url)
  })
})

describe('health', () => {
  it('forgets a problem after an hour and counts the time since the start, whatever the time of day does', () => {
    const clock = { atMs: 5_000, wrongMs: 0, nowMs: () => 1e12 + clock.atMs + clock.wrongMs, monotonicMs: () => clock.atMs }
    const state = new RetainedState({
      info: { device: 'box-7', version: '1.2.3', node: 'v20', platform: 'linux x64', startedAtMs: clock.nowMs() },
      clock, predictionEveryMs: 0, outbox: () => ({ waiting: 0, dropped: 0 }), away: () => [], mode: { kind: 'follow' }, frames: 0, frameBytes: 0, publish: () => undefined,
    })
    const health = () => {
      state.publishHealth()
      const { state: stands, uptimeSeconds, problems } = topics.health.payload.parse(state.health)
      return [stands, uptimeSeconds, problems.length]
    }
    state.begin()
    clock.wrongMs = 30 * 86_400_000
    state.accept(problem('one thing'))
    clock.atMs += 1_800_000
    expect(health()).toEqual(['degraded', 1800, 1])
    clock.wrongMs = -30 * 86_400_000
    expect(health()).toEqual(['degraded', 1800, 1])
    clock.wrongMs = 0
    clock.atMs += 1_800_001
    expect(health()).toEqual(['ok', 3600, 0])
  })

  it('does not go out with each word of a camera that goes on as before', () => {
    const published: string[] = []
    const state = new RetainedState({
      info: { device: 'box-7', version: '1.2.3', node: 'v20', platform: 'linux x64', startedAtMs: 0 },
      clock: systemClock, predictionEveryMs: 0, outbox: () => ({ waiting: 0, dropped: 0 }), away: () => [], mode: { kind: 'follow' }, frames: 0, frameBytes: 0,
      publish: ({ name }) => published.push(name),
    })
    for (const lastPictureAtMs of [1, 2]) state.accept({ type: 'camera', status: { ...cameraStatus, lastPictureAtMs } })
    expect(published).toEqual(['cameraStatus', 'health', 'cameraStatus'])
  })
})

it('metrics: a probation that is over is not running, and has not passed', async () => {
  const metrics = new Metrics({ device: 'box-7', version: '1.2.3' })
  const record: ProbationRecord = {
    model: 5, former: 4, state: 'running', reason: null, frames: 20, of: 80, site: null, promotion: null, p: 1, alpha: 0.01, explanation: 'it runs',
  }
  const told = async (state: ProbationRecord['state']) => {
    metrics.accept({ type: 'probation', record: { ...record, state } })
    const text = await metrics.text()
    return [/^pawl_probation_running\{.*\} (\d)/m.exec(text)?.[1], /^pawl_probations_total\{outcome="(.*)",device/m.exec(text)?.[1]]
  }
  expect([await told('running'), await told('ended')]).toEqual([['1', undefined], ['0', 'ended']])
  expect(topics.modelProbation.payload.parse({ ...record, state: 'ended' })).toMatchObject({ state: 'ended' })
})

describe('the terminal', () => {
  it('says of a camera what is new, and nothing of one that goes on as before', () => {
    const stream = new PassThrough()
    const terminal = new Terminal({ stream, nowMs: () => 0 })
    const told = (change: Partial<CameraStatus>) => { terminal.accept({ type: 'camera', status: { ...cameraStatus, ...change } }) }
    told({ state: 'connecting' })
    for (const lastPictureAtMs of [1, 2]) told({ lastPictureAtMs })
    told({ state: 'offline', reason: 'no picture for 10 s' })
    told({})
    expect(String(stream.read()).split('\n')).toEqual(['camera door is online', 'camera door is offline: no picture for 10 s', 'camera door is online', ''])
  })

  it('names the box whose model a round has judged, once', () => {
    const stream = new PassThrough()
    const terminal = new Terminal({ stream, nowMs: () => 0 })
    const none = {
      decidedAtMs: 1, champion: 3, challenger: null, promoted: false, comparison: null, accuracyChampion: null, accuracyChallenger: null,
    } as const
    const from = { box: 'box-1', version: 1, digest: 'sha256:0' }
    const told = (decision: Pick<PromotionRecord, 'reason' | 'explanation'>) => {
      terminal.accept({ type: 'round-ended', round: 2, decision: { ...none, round: 2, from, ...decision } })
    }
    told({ reason: 'no-evidence', explanation: 'no image judges it' })
    told({ reason: 'stopped', explanation: 'model 1 of box-1 is judged after the next start' })
    expect(String(stream.read()).split('\n')).toEqual([
      'round 2: refused (no-evidence): model 1 of box-1: no image judges it', 'round 2: stopped: model 1 of box-1 is judged after the next start', '',
    ])
  })
})

describe('outbox', () => {
  const open = async (maxEvents = 3) => {
    const outbox = new Outbox({ folder, maxEvents, logger: quiet })
    await outbox.start()
    return outbox
  }
  const drain = (outbox: Outbox) => {
    const payloads: string[] = []
    for (let entry = outbox.oldest(); entry; entry = outbox.oldest()) {
      payloads.push(entry.payload)
      outbox.remove(entry)
    }
    return payloads
  }

  it('keeps order over a restart, and drops the oldest beyond its bound', async () => {
    const outbox = await open()
    for (const text of ['1', '2', '3', '4']) outbox.add(() => text)
    await outbox.stop()
    expect(outbox.dropped).toBe(1)
    const again = await open()
    again.add(() => '5')
    expect(drain(again)).toEqual(['3', '4', '5'])
    await again.stop()
    expect(await readdir(folder)).toEqual([])
  })

  it('has on disk by itself what a full disk did not take, once it does', async () => {
    const outbox = await open()
    await rm(folder, { recursive: true })
    await writeFile(folder, 'in the way')
    outbox.add(() => '1')
    expect(await outbox.settled()).toBe(false)
    await rm(folder)
    await mkdir(folder)
    await vi.waitFor(async () => { expect(await readdir(folder)).toEqual(['000000000001.json']) }, { timeout: 60_000 })
    await outbox.stop()
  })

  it('removes what it cannot read', async () => {
    await writeFile(join(folder, '000000000004.json'), '')
    await writeFile(join(folder, '000000000005.json.ab.tmp'), 'half')
    await writeFile(join(folder, '000000000006.json'), '{"id":"who')
    await writeFile(join(folder, '000000000007.json'), Buffer.alloc(20))
    await writeFile(join(folder, '000000000008.json'), '{"id":"whole"}')
    const outbox = await open()
    expect(drain(outbox)).toEqual(['{"id":"whole"}'])
    await outbox.stop()
    expect(await readdir(folder)).toEqual([])
  })
})

it('documents every topic, command and metric as it is', async () => {
  const page = await readFile(join(import.meta.dirname, '../agent/report/README.md'), 'utf8')
  const rows = page.split('\n').filter(line => line.startsWith('| `'))
  const all: Topic[] = Object.values(topics)
  expect(rows).toEqual([
    ...all.map(({ topic, retained, qos, description }) => `| \`${topic}\` | ${retained ? 'retained, ' : ''}QoS ${String(qos)} | ${description} |`),
    ...Object.entries(commands).map(([verb, { description }]) => `| \`${verb}\` | ${description} |`),
    ...Object.entries({ ...boxMetrics, ...cameraMetrics }).map(([name, type]) => `| \`${name}\` | ${type} |`),
  ])
})
