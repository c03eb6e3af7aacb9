/** When a round has to stand still. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Brake } from '../agent/rounds/brake.js'
import { Heat, hottestZone } from '../agent/rounds/heat.js'
import { Lateness } from '../agent/rounds/lateness.js'
import { Random } from '../trainer/data/random.js'

let folder = ''
beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'pawl-brake-')) })
afterEach(async () => { await rm(folder, { recursive: true, force: true }) })

describe('heat', () => {
  it('counts above the limit, until it is five degrees below it', async () => {
    let celsius: number | null = 0
    const heat = new Heat({ limit: 80, celsius: () => Promise.resolve(celsius) })
    const hot: boolean[] = []
    for (celsius of [70, 80, 80.5, 79, 75.5, 75, 79, 80, 81, null, 78]) hot.push(await heat.reason() !== null)
    expect(hot).toEqual([false, false, true, true, true, false, false, false, true, false, false])
    celsius = 91.4
    expect(await heat.reason()).toBe('the box is hot: 91 °C; it goes on at 75 °C')
  })

  it('never counts where it is switched off', async () => {
    expect(await new Heat({ limit: 0, celsius: () => Promise.resolve(140) }).reason()).toBeNull()
  })

  it('is that of the hottest zone of Linux that can be read and makes sense; where there is none, nobody knows', async () => {
    const zones = { thermal_zone0: '45500\n', thermal_zone1: '61234\n', thermal_zone2: '-274000\n', thermal_zone3: '', thermal_zone4: '999999\n', cooling_device0: '70000\n' }
    for (const [name, temperature] of Object.entries(zones)) {
      await mkdir(join(folder, name))
      await writeFile(join(folder, name, 'temp'), temperature)
    }
    await mkdir(join(folder, 'thermal_zone5'))
    expect(await hottestZone(folder)).toBeCloseTo(61.234)
    expect([await hottestZone(join(folder, 'nowhere')), await hottestZone(join(folder, 'thermal_zone2'))]).toEqual([null, null])
  })
})

describe('lateness', () => {
  function watched(multiple = 2) {
    const clock = { atMs: 0, nowMs: () => 0, monotonicMs: () => clock.atMs }
    const lateness = new Lateness({ multiple, clock })
    /** Predictions, ten a second; says how often the round stood still, and for how much of the time. */
    const predict = (latencies: readonly number[]) => {
      let [pauses, paused] = [0, false]
      const reasons: (string | null)[] = []
      for (const ms of latencies) {
        clock.atMs += 100
        lateness.observe(ms)
        const reason = lateness.reason()
        lateness.working = reason === null
        if (reason !== null && !paused) pauses++
        paused = reason !== null
        reasons.push(reason)
      }
      return { pauses, reasons, share: reasons.filter(reason => reason !== null).length / reasons.length }
    }
    const rest = (count = 500) => {
      lateness.working = false
      for (let index = 0; index < count; index++) lateness.observe(4 + (index % 100) / 50)
    }
    return { lateness, clock, predict, rest }
  }
  const even = (count: number, ms: number) => new Array<number>(count).fill(ms)

  it('remembers nothing where nothing is ever late, and no more than the last seconds otherwise', () => {
    const growth = (multiple: number) => {
      const { lateness, clock, rest } = watched(multiple)
      rest()
      lateness.working = true
      const kept: number[] = []
      for (let count = 0; count < 20_000; count++) {
        clock.atMs += 100
        lateness.observe(5)
        if (count % 10 === 0) lateness.reason()
        if (count % 5000 === 4999) kept.push((lateness as unknown as { recent: unknown[] }).recent.length)
      }
      return Math.max(...kept)
    }
    expect([growth(0), growth(2) < 150]).toEqual([0, true])
  })

  it('lets a round work while predictions take what they take at rest, or up to twice the slowest of a hundred', () => {
    const { lateness, predict, rest } = watched()
    rest()
    lateness.working = true
    expect(predict([...even(600, 5), ...even(600, 11.9)]).pauses).toBe(0)
  })

  it('lets it stand still when more than one of a hundred are later than that, for 5 s, then twice as long each time, a minute at most', () => {
    const { lateness, predict, rest } = watched()
    rest()
    lateness.working = true
    const { reasons } = predict([5, 5, 30, 30, 30, 5])
    expect(reasons.slice(0, 4)).toEqual([null, null, null, null])
    expect(reasons[4]).toBe('predictions are late: 3 of the last 5 took longer than 12 ms, which is 2 times what 99 in 100 take at rest; for 5 s')
    expect(reasons[5]).toBe(reasons[4])
    // As soon as it works again predictions are as late as before.
    const lengths: number[] = []
    for (let pause = 0; pause < 6; pause++) {
      let length = 0
      while (predict([5]).pauses) length++
      lengths.push(length)
      while (!predict([30]).pauses);
    }
    expect(lengths.map(length => Math.round(length / 10))).toEqual([5, 10, 20, 40, 60, 60])
    while (predict([5]).pauses);
    expect(predict(even(700, 5)).pauses).toBe(0)
    const { share } = predict([30, 30, 30, ...even(97, 5)])
    expect(Math.round(share * 100)).toBe(50)
  })

  it('hardly ever lets a round stand still that makes one of four hundred late', () => {
    const { lateness, predict, rest } = watched()
    rest()
    lateness.working = true
    const random = new Random(3)
    expect(predict(Array.from({ length: 36_000 }, () => (random.float() < 0.0025 ? 40 : 5))).share).toBeLessThan(0.02)
  })

  it('blames no round for what takes long without it as well', () => {
    const { lateness, predict, rest } = watched()
    rest()
    lateness.working = true
    const { share } = predict(even(6000, 30))
    expect(share).toBeLessThan(0.1)
  })

  it('lets a round stand still for what takes more than a second where few predictions were made before it, as after a start, until more were', () => {
    const { lateness, predict, rest } = watched()
    rest(20)
    lateness.working = true
    const { reasons, share } = predict(even(60, 5000))
    expect(reasons[2]).toBe('predictions are late: 3 of the last 3 took longer than 1000 ms, which is the limit until it is known what predictions take at rest; for 5 s')
    expect(share).toBeGreaterThan(0.8)
    // Then it is known that they take as long without it.
    predict(even(240, 5000))
    expect(predict(even(600, 5000)).share).toBeLessThan(0.1)
  })

  it('does not count what takes less than a second before there were a hundred predictions at rest, and nothing where it is switched off', () => {
    const few = watched()
    few.rest(99)
    few.lateness.working = true
    const off = watched(0)
    off.rest()
    off.lateness.working = true
    expect([few.predict(even(500, 500)).pauses, off.predict(even(500, 500)).pauses]).toEqual([0, 0])
  })
})

it('the brake tells of heat first, and of lateness once that is over', async () => {
  let celsius = 95
  const clock = { atMs: 0, nowMs: () => 0, monotonicMs: () => clock.atMs }
  const brake = new Brake({ config: { pauseAboveCelsius: 90, pauseAboveLatency: 2 }, clock, celsius: () => Promise.resolve(celsius) })
  for (let index = 0; index < 200; index++) brake.observe(5)
  brake.working = true
  for (let index = 0; index < 5; index++) brake.observe(50)
  expect(await brake.reason()).toContain('hot')
  celsius = 50
  expect(await brake.reason()).toContain('late')
  clock.atMs += 60_000
  expect(await brake.reason()).toBeNull()
})
