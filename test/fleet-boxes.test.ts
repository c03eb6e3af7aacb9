/** What is made of the messages of a broker. */
import fc from 'fast-check'
import stringWidth from 'string-width'
import { beforeEach, describe, expect, it } from 'vitest'
import { Boxes, retainedBy, rowOf, toldBy } from '../agent/fleet/boxes.js'
import { FleetMetrics } from '../agent/fleet/metrics.js'
import { columnNames, filterNames, filters, viewed, wholeView, byDevice, type Row } from '../agent/fleet/row.js'
import { fleetTable, summary } from '../agent/fleet/terminal.js'
import { camerasOf, roundOf } from '../agent/fleet/words.js'
import { systemClock } from '../agent/lib/clock.js'
import { ofCamera, topics, type Topic } from '../agent/report/topics.js'
import { Random } from '../trainer/index.js'
import { SimulatedBox } from './fleet/box.js'
import { someJson, words } from './hostile/draw.js'

let boxes: Boxes
beforeEach(() => { boxes = new Boxes() })

/** What a topic is heard to say. */
const hear = (topic: string, payload: unknown) => boxes.accept(topic, Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload))).heard
const row = (device: string): Row => {
  const box = boxes.box(device)
  if (!box) throw new Error(`there is no ${device}`)
  return rowOf(box)
}

/** A box that says all it has to say. */
function simulated(device = 'box-1', seed = 1): SimulatedBox {
  return new SimulatedBox({
    device, cameras: 2, random: Random.of(seed), clock: systemClock, publish: ({ topic, payload, retained }) => { if (retained) hear(`${device}/${topic}`, payload) },
  })
}

const health = {
  state: 'degraded', atMs: 1, uptimeSeconds: 1, rssBytes: 5, collection: { state: 'running', reason: '' }, camerasOnline: 1, cameras: 2, frames: 7, frameBytes: 700,
  outbox: { waiting: 3, dropped: 0 }, wrong: ['camera door is offline: <b>401</b>'], problems: [],
}

describe('a simulated box', () => {
  it('says what boxes say, in the published shapes', () => {
    const known = new Map<string, Topic>()
    for (const camera of ['cam-1', 'cam-2']) for (const topic of Object.values(topics) as Topic[]) known.set(ofCamera(topic.topic, camera).replace('{verb}', 'status'), topic)
    const said = new Set<string>()
    for (let seed = 0; seed < 20; seed++) {
      const box = new SimulatedBox({
        device: 'box-1', cameras: 2, random: Random.of(seed), clock: systemClock,
        publish: ({ topic, payload, qos, retained }) => {
          const contract = known.get(topic)
          expect(contract, topic).toMatchObject({ qos, retained })
          expect(contract?.payload.safeParse(topic === 'availability' ? payload : JSON.parse(payload)).error, payload).toBeUndefined()
          said.add(topic)
        },
      })
      box.begin()
      for (let count = 0; count < 60; count++) box.change()
      box.setOnline(true)
      box.health()
      box.cameraStatus()
      box.predict()
      box.answer('status', '{"transaction":"t"}')
    }
    expect([...said].sort()).toEqual([...known.keys()].filter(topic => !/^event|^request|probation|offer|cam-2\/prediction/.test(topic)).sort())
  })
})

describe('the boxes of a broker', () => {
  it('are known by what they retain', () => {
    simulated('box-1', 4).begin()
    expect(row('box-1')).toMatchObject({ device: 'box-1', online: true, health: 'ok', cameras: 2, camerasDown: [], mode: 'follow', version: expect.stringMatching(/^\d/) as string })
    hear('box-1/health', health)
    hear('box-1/camera/cam-1/status', { camera: 'cam-1', state: 'offline', lastPictureAtMs: null, picturesPerSecond: 0, restarts: 1, reason: 'gone' })
    hear('box-1/model/active', { version: 7, accuracy: 0.91, createdAtMs: 5 })
    hear('box-1/drift', { state: 'alarm', model: 7, alarm: null })
    hear('box-1/train/state', { state: 'running', round: 9, phase: 'finetune', fraction: 0.25 })
    hear('box-1/model/mode', { kind: 'pin', version: 7 })
    expect(row('box-1')).toMatchObject({
      health: 'degraded', wrong: ['camera door is offline: <b>401</b>'], camerasDown: ['cam-1'], model: 7, accuracy: 0.91, drift: 'alarm', mode: 'pin', frames: 7, frameBytes: 700,
      running: { round: 9, phase: 'finetune', fraction: 0.25 },
    })
    expect(filterNames.filter(name => filters[name].keeps(row('box-1')))).toEqual(expect.arrayContaining(['degraded', 'drift', 'cameras', 'running']))
  })

  it('that are offline run no round that is known, and how their cameras are is unknown', async () => {
    simulated('box-1').begin()
    hear('box-1/camera/cam-1/status', { state: 'offline' })
    hear('box-1/camera/cam-2/status', { state: 'online' })
    hear('box-1/train/state', { state: 'running', round: 9, phase: 'finetune', fraction: 0.25 })
    hear('box-1/health', health)
    const metrics = new FleetMetrics({ boxes, isConnected: () => true })
    const shown = async () => {
      const now = row('box-1')
      const kept = filterNames.filter(name => filters[name].keeps(now) && ['offline', 'cameras', 'running'].includes(name))
      return [camerasOf(now), roundOf(now).includes('runs'), kept, (await metrics.text()).match(/^pawl_fleet_(round_running|cameras_online|cameras|online)\{.*/gm)?.map(line => line.slice(11))]
    }
    for (const said of ['offline', '']) {
      hear('box-1/availability', 'online')
      expect(await shown()).toEqual(['1 of 2 down', true, ['cameras', 'running'],
        ['online{device="box-1"} 1', 'cameras{device="box-1"} 2', 'cameras_online{device="box-1"} 1', 'round_running{device="box-1"} 1']])
      hear('box-1/availability', said)
      expect(await shown()).toEqual(['2 unknown', false, ['offline'], [...said ? ['online{device="box-1"} 0'] : [], 'cameras{device="box-1"} 2']])
    }
  })

  it('of another version may say more than this one knows', () => {
    hear('box-1/availability', 'online')
    expect(hear('box-1/health', { ...health, mood: 'good', outbox: { waiting: 3, dropped: 0, oldest: 5 } })).toBe('changed')
    expect(hear('box-1/model/candidate', { round: 3, promoted: false, reason: 'a-new-reason', decidedAtMs: 1 })).toBe('changed')
    expect(row('box-1')).toMatchObject({ frames: 7, round: { round: 3, reason: 'a-new-reason' } })
    // What is told of in full is what this version can read.
    const box = boxes.box('box-1')
    expect(box && toldBy(box)).toMatchObject({ health: null, modelCandidate: null })
    expect(box && retainedBy(box).health).toContain('"mood": "good"')
  })

  it('are gone when all of theirs is cleared, and a camera when its status is', () => {
    simulated().begin()
    hear('box-1/camera/cam-2/status', '')
    expect(row('box-1').cameras).toBe(2)
    for (const topic of boxes.box('box-1')?.told.keys() ?? []) hear(`box-1/${topic}`, '')
    expect(boxes.size).toBe(0)
    expect(hear('box-1/health', '')).toBe('same')
  })

  it('that are not heard of in a new connection are no more', () => {
    simulated('box-1').begin()
    simulated('box-2', 2).begin()
    const topicsOfTwo = [...boxes.box('box-2')?.told ?? []].map(([topic, { text }]) => [`box-2/${topic}`, text] as const)
    boxes.begin()
    for (const [topic, text] of topicsOfTwo) expect(hear(topic, text)).toBe('same')
    expect([...boxes.sweep()]).toEqual(['box-1'])
    expect([...boxes.all()].map(({ device }) => device)).toEqual(['box-2'])
  })

  it('have only names that boxes can have: anything else is counted', () => {
    const names = ['<img src=x onerror=alert(1)>', 'x'.repeat(300), '💥', '', '..', 'a b', '__proto__/x', ...words.filter(word => !/^[a-zA-Z0-9_-]{1,64}$/.test(word))]
    for (const name of names) expect(hear(`${name}/availability`, 'online'), name).toBe('passed over')
    for (const camera of ['<b>', 'x'.repeat(300), '💥']) expect(hear(`box-1/camera/${camera}/status`, { state: 'online' })).toBe('passed over')
    expect(hear('box-1/unheard/of', '{}')).toBe('passed over')
    expect(boxes.size).toBe(0)
    expect(boxes.passedOver.foreign).toBe(names.length + 4)
  })

  it('stay as they were when what comes makes no sense, whatever it is', () => {
    simulated().begin()
    const before = JSON.stringify(row('box-1'))
    const random = Random.of(7)
    const paths = ['availability', 'info', 'health', 'model/active', 'model/candidate', 'model/mode', 'drift', 'train/state', 'camera/cam-1/status']
    fc.assert(fc.property(fc.constantFrom(...paths), fc.oneof(fc.string(), fc.json(), fc.constant('{"'), fc.constant('null'), fc.constant('[]')), (path, text) => {
      const heard = hear(`box-1/${path}`, text || ' ')
      return heard === 'passed over' && JSON.stringify(row('box-1')) === before
    }), { numRuns: 500 })
    for (let count = 0; count < 500; count++) hear(`box-1/${paths[count % paths.length] ?? ''}`, JSON.stringify(someJson(random)))
    expect(JSON.stringify(row('box-1'))).toBe(before)
    expect(boxes.passedOver.malformed).toBeGreaterThan(900)
  })

  it('say no more than there is room for', () => {
    hear('box-1/availability', 'online')
    expect(hear('box-1/health', { ...health, wrong: Array.from({ length: 50 }, () => 'x'.repeat(1000)) })).toBe('changed')
    expect(row('box-1').wrong).toEqual(Array.from({ length: 5 }, () => 'x'.repeat(200)))
    expect(hear('box-1/health', { ...health, wrong: ['x'.repeat(300_000)] })).toBe('passed over')
    for (let camera = 0; camera < 300; camera++) hear(`box-1/camera/c-${String(camera)}/status`, { state: 'online' })
    expect(row('box-1').cameras).toBe(256)
    expect(boxes.passedOver.tooMuch).toBe(45)
  })
})

describe('rows', () => {
  const some = () => {
    for (let index = 1; index <= 40; index++) simulated(`box-${String(index)}`, index).begin()
    return [...boxes.all()].map(rowOf).sort(byDevice)
  }

  it('are in the order of numbers in names, of any column, and what is unknown last either way', () => {
    const rows = some()
    expect(viewed(rows, wholeView).slice(0, 11).map(({ device }) => device).slice(8)).toEqual(['box-9', 'box-10', 'box-11'])
    for (const sort of columnNames) for (const descending of [false, true]) expect(viewed(rows, { ...wholeView, sort, descending })).toHaveLength(40)
    hear('box-50/availability', 'online')
    for (const descending of [false, true]) {
      const all = viewed([...boxes.all()].map(rowOf).sort(byDevice), { ...wholeView, sort: 'accuracy', descending })
      expect(all.at(-1)?.device).toBe('box-50')
      const known = all.map(({ accuracy }) => accuracy).filter(accuracy => accuracy !== null)
      expect(known).toEqual([...known].sort((a, b) => (descending ? b - a : a - b)))
    }
  })

  it('are kept by every filter and every word', () => {
    const rows = some()
    for (const name of filterNames) expect(viewed(rows, { ...wholeView, filters: [name] })).toEqual(rows.filter(filters[name].keeps))
    expect(viewed(rows, { ...wholeView, search: 'BOX-3 ' }).map(({ device }) => device)).toEqual(['box-3', ...Array.from({ length: 10 }, (_, digit) => `box-3${String(digit)}`)])
    expect(viewed(rows, { ...wholeView, search: 'box-3 nobody-says-this' })).toEqual([])
  })

  it('fit the terminal, and steer it in no way', () => {
    const rows = some()
    hear('box-1/health', { ...health, wrong: ['\u001b[2J cleared\nand another line'] })
    const all = [row('box-1'), ...rows.slice(1)]
    for (const width of [30, 60, 80, 120, 200]) {
      const lines = fleetTable(all, wholeView, { width, colours: false })
      expect(lines).toHaveLength(all.length + 1)
      expect(Math.max(...lines.map(line => stringWidth(line))), String(width)).toBeLessThanOrEqual(width)
      expect(lines.join('')).not.toContain('\u001b')
    }
    const whole = fleetTable(all, wholeView, { width: Infinity, colours: false })
    expect(whole[1]).toContain('\\u001b[2J cleared   and another line')
    expect(fleetTable(all, wholeView, { width: 120, colours: true })[1]).toContain('\u001b[33mdegraded')
    expect(summary(all, 3)).toMatch(/^40 boxes, 3 shown · .*degraded/)
  })

  it('stay in their columns with wide signs and emoji, none of which is cut in two', () => {
    const signs = fc.array(fc.constantFrom('門', '👩‍🔧', '💥', 'e\u0301', '🇩🇪', 'a', ' '), { minLength: 1, maxLength: 12 }).map(all => all.join(''))
    fc.assert(fc.property(signs, signs, fc.integer({ min: 30, max: 130 }), (wrong, reason, width) => {
      for (const [device, said] of [['box-1', reason], ['box-2', 'plain']] as const) {
        hear(`${device}/availability`, 'online')
        hear(`${device}/health`, { ...health, wrong: [`|${wrong}`] })
        hear(`${device}/model/candidate`, { round: 3, promoted: false, reason: said, decidedAtMs: 1 })
      }
      const lines = fleetTable([row('box-1'), row('box-2')], wholeView, { width, colours: false })
      const begins = lines.slice(1).filter(line => line.includes('|')).map(line => stringWidth(line.slice(0, line.indexOf('|'))))
      return lines.every(line => stringWidth(line) <= width && !/\p{Cs}/u.test(line)) && new Set(begins).size <= 1
    }), { numRuns: 200 })
  })
})
