import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { noDrift } from '../agent/camera/simulation.js'
import { bundled } from '../agent/config.js'
import { Adwin } from '../agent/drift/adwin.js'
import type { DriftEvent } from '../agent/drift/alarm.js'
import { Drift } from '../agent/drift/drift.js'
import { inertiaOf } from '../agent/drift/inertia.js'
import { compare, makeReference, type Dimension } from '../agent/drift/reference.js'
import { ksPValue, ksStatistic } from '../agent/drift/two-sample.js'
import { partingPlace, Window } from '../agent/drift/window.js'
import { readLabels } from '../agent/frames/labels.js'
import { ModelFile, Random, train } from '../trainer/index.js'
import { predictionsOf, type Prediction } from './drift/pictures.js'
import { falseAlarms, falseRejections, stepDelays } from './drift/rates.js'
import { predictions, watching } from './drift/streams.js'
import { ordinary } from './ordinary.js'

let folder = ''
beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'pawl-drift-')) })
afterAll(() => rm(folder, { recursive: true, force: true }))

const numbers = fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 30 }).map(list => Float32Array.from(list).sort())
/** Three and a half standard deviations over what is promised: what is more is not chance. */
const allowed = (promised: number) => promised + 3.5 * Math.sqrt(promised)

describe('two-sample test', () => {
  it('measures the largest distance of the distributions, whatever repeats', () => {
    const share = (list: Float32Array, limit: number) => list.filter(value => value <= limit).length / list.length
    fc.assert(fc.property(numbers, numbers, (a, b) => {
      const distances = [...a, ...b].map(limit => Math.abs(share(a, limit) - share(b, limit)))
      expect(ksStatistic(a, b)).toBeCloseTo(Math.max(...distances), 12)
      expect(ksStatistic(b, a)).toBe(ksStatistic(a, b))
      expect(ksStatistic(a, a)).toBe(0)
    }))
  })

  it('has the exact p of SciPy 1.17 (ks_2samp, method exact), also far in the tail', () => {
    const cases: [n: number, m: number, distance: number, p: number][] = [
      [5, 7, 20 / 35, 0.23737373737373738], [10, 10, 0.6, 0.05244755244755244], [50, 20, 0.3, 0.12991078028499534],
      [200, 100, 0.2, 0.009074485602610392], [1000, 200, 0.15, 0.0010121771027386023], [1000, 200, 0.3, 9.962329704759589e-14],
    ]
    for (const [n, m, distance, p] of cases) {
      expect(ksPValue(distance, n, m) / p).toBeCloseTo(1, 2)
      expect(ksPValue(distance, m, n) / ksPValue(distance, n, m)).toBeCloseTo(1, 9)
    }
    expect([ksPValue(0, 10, 10), ksPValue(1, 3, 3)]).toEqual([1, expect.closeTo(2 / 20, 12)])
  })

  it('has a p that falls with the distance, from 1 to above 0', () => {
    const size = fc.integer({ min: 1, max: 40 })
    fc.assert(fc.property(size, size, fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true }), (n, m, one, other) => {
      const [near, far] = [Math.min(one, other), Math.max(one, other)].map(distance => ksPValue(distance, n, m)) as [number, number]
      expect(near).toBeGreaterThanOrEqual(far)
      expect(far).toBeGreaterThan(0)
      expect(near).toBeLessThanOrEqual(1 + 1e-12)
    }))
  })

  it('rejects windows of the reference\'s own distribution no more often than it says, over correlated dimensions', () => {
    for (const [alpha, seed] of [[0.05, 1], [0.01, 2]] as const) {
      const { windows, rejected } = falseRejections({ windows: 5000, alpha, seed })
      expect(rejected).toBeLessThanOrEqual(allowed(alpha * windows))
      // Careful, but not deaf.
      expect(rejected).toBeGreaterThan(0.2 * alpha * windows)
    }
  })

  it('counts for less what resembles its neighbours in time', () => {
    const series = (keep: number, seed: number) => {
      const random = Random.of(seed)
      let state = random.normal()
      return Float32Array.from({ length: 1000 }, () => state = keep * state + Math.sqrt(1 - keep ** 2) * random.normal())
    }
    const times = [0, 0.5, 0.9].map(keep => [1, 2, 3, 4, 5].map(seed => inertiaOf(series(keep, seed))))
    // In theory 1, 3 and 19; ranks have a little less.
    const within = [[1, 1.35], [2, 4], [9, 30]] as const
    times.forEach((found, index) => {
      for (const value of found) {
        expect(value).toBeGreaterThanOrEqual(within[index]?.[0] ?? 0)
        expect(value).toBeLessThanOrEqual(within[index]?.[1] ?? 0)
      }
    })
    expect(inertiaOf(new Float32Array(100).fill(3))).toBe(1)
    const dimensions: Dimension[] = [{ kind: 'confidence', name: 'confidence' }]
    const reference = makeReference({ model: 1, dimensions, timesMs: [], columns: [series(0, 6)] })
    const window = [series(0, 7).subarray(0, 100).map(value => value + 0.6)]
    const inert = reference.map(dimension => ({ ...dimension, inertia: 9 }))
    expect(compare(inert, window).p).toBeGreaterThan(1000 * compare(reference, window).p)
  })
})

describe('ADWIN', () => {
  const draws: Record<string, (random: Random) => number> = {
    uniform: random => random.float(), 'a coin': random => Number(random.float() < 0.5), 'a rare event': random => Number(random.float() > 0.02),
    'mostly sure': random => 1 - random.float() ** 6,
  }
  for (const [name, draw] of Object.entries(draws)) {
    it(`finds no change in ${name} more often than delta a check`, () => {
      const [delta, perSeed] = [0.02, 100]
      let [found, checks] = [0, 0]
      for (let seed = 1; seed <= 20; seed++) {
        const random = Random.of(seed, 5)
        const adwin = new Adwin({ inertia: 1 })
        for (let count = 0; count < 20 * perSeed; count++) {
          adwin.add(draw(random), count)
          if (count % 20 !== 19) continue
          checks++
          if (adwin.check(delta)) found++
        }
      }
      expect(found).toBeLessThanOrEqual(delta * checks)
    })
  }

  it('notices a step in the mean, the sooner the larger it is, and tells when and from what to what', () => {
    const delays = [0.1, 0.2, 0.3].map(step => Math.max(...stepDelays({ step, seeds: 10, delta: 1e-5 })))
    expect(delays[0]).toBeLessThanOrEqual(600)
    expect(delays[1]).toBeLessThanOrEqual(200)
    expect(delays[2]).toBeLessThanOrEqual(100)
    const random = Random.of(3)
    const adwin = new Adwin({ inertia: 1 })
    for (let count = 0; count < 3000; count++) adwin.add((count < 2000 ? 0.5 : 0) + 0.5 * random.float(), count)
    const change = adwin.check(1e-6)
    expect(change?.from).toBeCloseTo(0.75, 1)
    expect(change?.to).toBeCloseTo(0.25, 1)
    expect(Math.abs((change?.sinceMs ?? 0) - 2000)).toBeLessThan(150)
    expect(adwin.check(1e-6)).toBeNull()
    expect(adwin.count).toBeLessThan(1300)
  })

  it('keeps few buckets, and every number in one of them', () => {
    fc.assert(fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 2000 }), values => {
      const adwin = new Adwin({ inertia: 1 })
      values.forEach((value, at) => { adwin.add(value, at) })
      expect(adwin.count).toBe(values.length)
      expect(adwin.bucketCount).toBeLessThanOrEqual(5 * (1 + Math.log2(1 + values.length)))
    }), { numRuns: 30 })
    const adwin = new Adwin({ inertia: 1 })
    for (let count = 0; count < 1_000_000; count++) adwin.add(count % 2, count)
    expect([adwin.count, adwin.bucketCount <= 100]).toEqual([1_000_000, true])
  })
})

describe('window', () => {
  it('holds the newest rows in order', () => {
    const window = new Window({ size: 3, width: 2 })
    for (const value of [1, 2, 3, 4]) window.add(Float32Array.of(value, -value), value * 10)
    expect([window.full, window.columns(), window.timesMs()]).toEqual([true, [Float32Array.of(2, 3, 4), Float32Array.of(-2, -3, -4)], [20, 30, 40]])
  })

  it('tells where a list parts from what is usual', () => {
    const random = Random.of(4)
    for (const [place, by] of [[30, 2], [60, -3], [0, 2]] as const) {
      const values = Float32Array.from({ length: 100 }, (_, at) => random.normal() + (at >= place ? by : 0))
      expect(Math.abs(partingPlace(values, 0) - place)).toBeLessThanOrEqual(8)
    }
  })
})

describe('monitor', () => {
  const small = { reference: 200, window: 60, falseAlarmsPerMonth: 1, everyMs: 5000 }
  const states = (events: readonly DriftEvent[]) => events.map(event => (event.state === 'over' ? event.reason : event.state))

  it('keeps its promise while nothing changes, also where a picture resembles the one before', () => {
    for (const inertia of [0, 0.6]) {
      const { alarms, promised } = falseAlarms({ seeds: 8, tests: 250, inertia })
      expect(alarms).toBeLessThanOrEqual(promised)
    }
  })

  it('raises an alarm once, says since when and what moved, and ends it when a new model serves', () => {
    const { monitor, events, see, nowMs } = watching(small)
    const next = predictions({ seed: 1, embedding: 16, classes: 4 })
    for (let count = 0; count < 400; count++) see(next())
    expect([states(events), monitor.alarm]).toEqual([['gathering', 'watching'], null])
    const changedAtMs = nowMs()
    for (let count = 0; count < 600; count++) see(next(1.5))
    expect(states(events)).toEqual(['gathering', 'watching', 'alarm'])
    const { alarm } = monitor
    expect(alarm?.p).toBeLessThanOrEqual(alarm?.alpha ?? 0)
    expect(Math.abs((alarm?.sinceMs ?? 0) - changedAtMs)).toBeLessThan(30 * small.everyMs)
    expect(alarm?.raisedAtMs).toBeLessThanOrEqual(changedAtMs + 60 * small.everyMs)
    expect(alarm?.moved.map(({ kind }) => kind)).toContain('class')
    expect(alarm?.message).toMatch(/changed since 1970-01-01T00:3.*pawl label import/)
    monitor.begin(1)
    expect(monitor.alarm).not.toBeNull()
    monitor.begin(2)
    expect(monitor.alarm).toBeNull()
    // The new model is used to what the old one was not; a last answer of the old one does not count.
    see(next(), 1)
    for (let count = 0; count < 600; count++) see(next(1.5), 2)
    expect(states(events)).toEqual(['gathering', 'watching', 'alarm', 'new-model', 'gathering', 'watching'])
  })

  it('ends the alarm when the pictures are what they were, and can raise another', () => {
    const { events, see } = watching(small)
    const next = predictions({ seed: 2, embedding: 16, classes: 4 })
    for (const shift of [0, 1.5, 0, 1.5]) for (let count = 0; count < 400; count++) see(next(shift))
    expect(states(events)).toEqual(['gathering', 'watching', 'alarm', 'fits-again', 'alarm'])
  })

  it('notices by ADWIN what no window shows, and holds the alarm as long as the confidence stays down', () => {
    const { events, see } = watching({ ...small, reference: 1000 })
    const random = Random.of(5)
    const one = (mean: number): Prediction => {
      const confidence = mean + 0.4 * (random.float() - 0.5)
      return { embedding: Float32Array.of(random.normal()), probabilities: { a: random.float(), b: random.float() }, confidence }
    }
    for (let count = 0; count < 2000; count++) see(one(0.8))
    for (let count = 0; count < 4000; count++) see(one(0.75))
    const alarm = events.flatMap(event => (event.state === 'alarm' ? [event.alarm] : []))
    expect(states(events)).toEqual(['gathering', 'watching', 'alarm'])
    expect(alarm[0]).toMatchObject({ detector: 'adwin', moved: [{ kind: 'confidence' }] })
    expect(alarm[0]?.moved[0]?.from).toBeCloseTo(0.8, 1)
    for (let count = 0; count < 1000; count++) see(one(0.8))
    expect(states(events)).toEqual(['gathering', 'watching', 'alarm', 'fits-again'])
  })

  it('counts one picture of a camera in a while, none that is no number, and nothing when switched off', () => {
    const config = { enabled: true, everySeconds: 2, reference: 50, window: 20, falseAlarmsPerMonth: 1 }
    const told: DriftEvent[] = []
    const clock = { nowMs: () => 0, monotonicMs: () => 0 }
    const options = { folder: join(folder, 'thin'), clock, onEvent: (event: DriftEvent) => { told.push(event) }, onProblem: () => undefined }
    const drift = new Drift({ ...options, config })
    drift.begin(1)
    const see = (camera: string, capturedAtMs: number, value = 0.5) => {
      drift.observe({ camera, capturedAtMs, model: 1, embedding: Float32Array.of(value), probabilities: { a: 1 }, confidence: 1 })
    }
    // Two cameras, four pictures each in two seconds.
    for (let atMs = 0; atMs < 48_000; atMs += 500) for (const camera of ['door', 'gate']) see(camera, atMs)
    expect(states(told)).toEqual(['gathering'])
    see('door', 100_000, NaN)
    // A clock that was set back.
    see('door', 1000)
    expect(states(told)).toEqual(['gathering'])
    see('gate', 1000)
    expect(states(told)).toEqual(['gathering', 'watching'])
    told.length = 0
    const off = new Drift({ ...options, config: { ...config, enabled: false } })
    off.begin(1)
    expect([told, off.alarm]).toEqual([[], null])
  })

  it('remembers over a restart what the model is used to and that an alarm stands; what cannot be read is gathered anew', async () => {
    const events: DriftEvent[] = []
    const path = join(folder, 'restart')
    const problems: string[] = []
    let atMs = 0
    const open = async () => {
      const drift = new Drift({
        config: { enabled: true, everySeconds: 0, reference: 200, window: 60, falseAlarmsPerMonth: 1 }, folder: path,
        clock: { nowMs: () => atMs, monotonicMs: () => atMs }, onEvent: event => { events.push(event) },
        onProblem: message => { problems.push(message) },
      })
      events.length = 0
      await drift.start()
      drift.begin(3)
      return drift
    }
    const next = predictions({ seed: 6, embedding: 8, classes: 3 })
    const see = (drift: Drift, count: number, shift: number) => {
      for (let seen = 0; seen < count; seen++) drift.observe({ camera: 'door', capturedAtMs: atMs += 5000, model: 3, ...next(shift) })
    }
    const first = await open()
    see(first, 300, 0)
    await first.stop()
    const second = await open()
    expect(states(events)).toEqual(['watching'])
    see(second, 200, 1.5)
    expect(states(events)).toEqual(['watching', 'alarm'])
    await second.stop()
    const third = await open()
    expect([states(events), third.alarm]).toEqual([['watching', 'still'], second.alarm])
    see(third, 300, 0)
    expect(states(events)).toEqual(['watching', 'still', 'fits-again'])
    await third.stop()
    expect([await readdir(path), problems]).toEqual([['reference.json'], []])
    const fourth = await open()
    expect([states(events), fourth.alarm]).toEqual([['watching'], null])
    const reference = await readFile(join(path, 'reference.json'), 'utf8')
    for (const damaged of ['{"model": 3', reference.replace('"timesMs":[', '"timesMs":[1,'), reference.replace(/"columns":".{8}/, '"columns":"')]) {
      await writeFile(join(path, 'reference.json'), damaged)
      await open()
      expect([states(events), problems.splice(0)]).toEqual([['gathering'], [expect.stringContaining('reference.json cannot be read; it begins anew')]])
    }
  })
})

describe('on real pictures', () => {
  let model: ModelFile
  beforeAll(async () => {
    const out = join(folder, 'model')
    const { labeled, gate } = await readLabels(bundled('labeled'), bundled('validation'))
    await train({
      ...ordinary, labeled, gate: gate.filter((_, index) => index % 8 === 0), promotion: [], unlabeled: [], out, seed: 1, steps: 20, lanes: 1,
    }, { signal: new AbortController().signal, onEvent: () => undefined })
    model = await ModelFile.open(await readFile(join(out, 'model.onnx')))
  })

  it('tells within two windows when the site changes, and nothing while it does not', async () => {
    const clean = await predictionsOf(model, noDrift, 250)
    const changes = {
      light: { ...noDrift, light: 0.7 }, turn: { ...noDrift, turn: 22 }, blur: { ...noDrift, blur: 6 }, nothing: noDrift,
    }
    for (const [name, change] of Object.entries(changes)) {
      const { monitor, see } = watching({ reference: 500, window: 100, falseAlarmsPerMonth: 1, everyMs: 2000 })
      const changed = change === noDrift ? clean : await predictionsOf(model, change, 250)
      const random = Random.of(7)
      for (let count = 0; count < 800; count++) see(clean[random.below(clean.length)] as Prediction)
      expect([name, monitor.alarm]).toEqual([name, null])
      for (let count = 0; count < 300; count++) see(changed[random.below(changed.length)] as Prediction)
      expect([name, monitor.alarm !== null]).toEqual([name, change !== noDrift])
    }
    await model.release()
  })
})
