/** Probation: what the former model, asked aside, says against the one that took its place. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Pair } from '../agent/classifier/side-by-side.js'
import type { ModelVersion } from '../agent/events.js'
import { judgeProbation, type ProbationRecord } from '../agent/rounds/probation.js'
import { ProbationWatch, type ProbationWatchOptions } from '../agent/rounds/probation-watch.js'
import { Random } from '../trainer/index.js'

const classes = ['bag', 'coat', 'dress']

/** Pairs of two models: of each class, so likely and so much surer, with a spread of 0.15. */
function pairs(count: number, random: Random, gainOf: Record<string, number>, mix: readonly number[] = [1, 1, 1]): Pair[] {
  const whole = mix.reduce((sum, part) => sum + part)
  return Array.from({ length: count }, () => {
    let place = random.float() * whole
    const former = classes.find((_, index) => (place -= mix[index] ?? 0) < 0) ?? 'bag'
    const now = random.float() < 0.9 ? former : 'coat'
    return { former, now, gain: (gainOf[former] ?? 0) + 0.15 * random.normal() }
  })
}

const options = (random: Random) => ({ model: 3, former: 2, of: 200, alpha: 0.05, random: () => random.float() })
const even = (gain: number) => Object.fromEntries(classes.map(name => [name, gain]))

describe('a model on probation', () => {
  it('falls back where it is surely less sure of the site, and not of the promotion images', () => {
    const random = new Random(1)
    expect(judgeProbation(pairs(100, random, even(-0.2)), pairs(200, random, even(0.05)), options(random))).toMatchObject({ state: 'failed', reason: 'less-sure', frames: 100 })
    // As little sure of both: it was promoted being so.
    expect(judgeProbation(pairs(100, random, even(-0.2)), pairs(200, random, even(-0.2)), options(random)).state).toBe('running')
    // Surer than its predecessor, only not by as much as on the promotion images.
    expect(judgeProbation(pairs(200, random, even(0.05)), pairs(200, random, even(0.3)), options(random)).state).toBe('passed')
  })

  it('is not blamed for another mix of classes than the promotion images have', () => {
    const random = new Random(2)
    // Less sure of coats, here as there; the site shows little else.
    const gains = { bag: 0.2, coat: -0.1, dress: 0.2 }
    let failed = 0
    for (let time = 0; time < 100; time++) {
      const { state } = judgeProbation(pairs(100, random, gains, [1, 20, 1]), pairs(150, random, gains), options(random))
      if (state === 'failed') failed++
    }
    // 5 % of 100, and three standard deviations.
    expect(failed).toBeLessThanOrEqual(12)
  })

  it('falls back no more often than alpha where it is no less sure than its predecessor, whatever it does on the promotion images', () => {
    const random = new Random(3)
    let failed = 0
    for (let time = 0; time < 200; time++) {
      const { state } = judgeProbation(pairs(60, random, even(0)), pairs(60, random, even(time % 2 ? 0.2 : 0)), options(random))
      if (state === 'failed') failed++
    }
    expect(failed).toBeLessThanOrEqual(10 + 3 * Math.sqrt(200 * 0.05 * 0.95))
  })

  it('passes where there is nothing to compare with', () => {
    const random = new Random(4)
    expect(judgeProbation(pairs(200, random, even(-0.5)), [], options(random))).toMatchObject({ state: 'passed', promotion: null, p: 1 })
  })
})

describe('the watch over it', () => {
  let folder = ''
  let records: ProbationRecord[] = []
  const problems: string[] = []
  let nowMs = 0
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs }

  beforeEach(async () => {
    nowMs = 0
    folder = await mkdtemp(join(tmpdir(), 'pawl-probation-'))
    records = []
    problems.length = 0
  })

  afterEach(() => rm(folder, { recursive: true, force: true }))

  const version = (number: number) => ({ version: number } as ModelVersion)
  const candidates = { model: version(3), former: version(2) }
  /** Promotion images are paths, frames of the site are bytes. */
  function watch(gain: number, more: Partial<ProbationWatchOptions> = {}): ProbationWatch {
    const random = new Random(5)
    return new ProbationWatch({
      config: { frames: 80, everySeconds: 10, alpha: 0.05 }, file: join(folder, 'probation.json'),
      compare: (_, images) => Promise.resolve(images.map(image => ({ former: 'bag', now: 'bag', gain: (typeof image === 'string' ? 0.1 : gain) + 0.1 * random.normal() }))),
      promotionImages: () => Promise.resolve(Array.from({ length: 40 }, () => join(folder, 'image.jpg'))),
      onRecord: record => {
        records.push(record)
        return Promise.resolve()
      },
      onProblem: message => { problems.push(message) },
      signal: new AbortController().signal,
      clock,
      random: () => random.float(),
      ...more,
    })
  }
  const frame = (atMs: number, camera = 'door') => ({ camera, capturedAtMs: atMs, jpeg: Uint8Array.of(1) })
  /** Frames one after the other; after every 20 it looks, and meanwhile they would pass it by. */
  async function show(to: ProbationWatch, from: number, until: number): Promise<void> {
    for (let time = from; time < until; time += 20) {
      const before = records.length
      for (let own = time; own < time + 20; own++) to.observe(frame(own * 10_000), 3)
      await vi.waitFor(() => { expect(records.length).toBe(before + 1) })
    }
  }

  it('looks four times, and passes a model that is as sure as before', async () => {
    const probation = watch(0.1)
    await probation.begin(candidates)
    await show(probation, 0, 80)
    expect(records.map(({ state, frames }) => [state, frames])).toEqual([['running', 20], ['running', 40], ['running', 60], ['passed', 80]])
    await vi.waitFor(() => expect(readFile(join(folder, 'probation.json'))).rejects.toThrow())
    for (let time = 80; time < 100; time++) probation.observe(frame(time * 10_000), 3)
    await probation.stop()
    expect(records).toHaveLength(4)
    expect(problems).toEqual([])
  })

  it('tells at the first look that can tell', async () => {
    const probation = watch(-0.3)
    await probation.begin(candidates)
    await show(probation, 0, 20)
    expect(records).toMatchObject([{ state: 'failed', reason: 'less-sure', model: 3, former: 2, frames: 20 }])
  })

  it('counts one frame of a camera in a while, and none that another model answered', async () => {
    const probation = watch(-0.3)
    await probation.begin(candidates)
    for (let time = 0; time < 200; time++) probation.observe(frame(time * 100), 3)
    for (let time = 0; time < 200; time++) probation.observe(frame(time * 10_000, 'gate'), 2)
    await probation.stop()
    expect(records).toEqual([])
  })

  it('goes on after a restart with what it had seen of the same two models, and with nothing of others', async () => {
    const before = watch(0.1)
    await before.begin(candidates)
    await show(before, 0, 20)
    await before.stop()
    const again = watch(0.1)
    await again.begin(candidates)
    await show(again, 20, 40)
    expect(records.map(({ frames }) => frames)).toEqual([20, 40])
    await again.begin({ model: version(4), former: version(3) })
    for (let time = 40; time < 60; time++) again.observe(frame(time * 10_000), 4)
    await vi.waitFor(() => { expect(records.at(-1)).toMatchObject({ model: 4, frames: 20 }) })
  })

  it('says that it is over when another model is put in service, also while nobody looked on, and says so once', async () => {
    for (const [next, restarts] of [[null, false], [null, true], [{ model: version(4), former: version(3) }, true]] as const) {
      records = []
      const before = watch(0.1)
      await before.begin(candidates)
      await show(before, 0, 20)
      if (restarts) await before.stop()
      const after = restarts ? watch(0.1) : before
      await after.begin(next)
      await after.begin(next)
      expect(records.map(({ model, state, reason, frames, p }) => [model, state, reason, frames, p])).toEqual([
        [3, 'running', null, 20, expect.any(Number)], [3, 'ended', null, 20, null],
      ])
      expect(records[1]?.explanation).toBe('the probation of model 3 beside model 2 ended before anything was proved')
      await after.stop()
    }
  })

  it('says nothing more of one that fell back, though another model is put in service by that', async () => {
    const probation: ProbationWatch = watch(-0.3, {
      onRecord: async record => {
        records.push(record)
        await probation.begin(null)
      },
    })
    await probation.begin(candidates)
    await show(probation, 0, 20)
    await probation.stop()
    await probation.begin(null)
    expect(records.map(({ state }) => state)).toEqual(['failed'])
  })

  it('gives up a model whose process dies again and again', async () => {
    const probation = watch(0.1)
    await probation.begin(candidates)
    for (let time = 0; time < 3; time++) probation.crashed()
    await vi.waitFor(() => { expect(records).toMatchObject([{ state: 'failed', reason: 'crashes' }]) })
    const other = watch(0.1)
    await other.begin(null)
    for (let time = 0; time < 9; time++) other.crashed()
    await other.stop()
    expect(records).toHaveLength(1)
  })

  it('forgets a look during which another model was put in service', async () => {
    let release: () => void = () => undefined
    const held = new Promise<void>(resolve => { release = resolve })
    const probation = watch(-0.3, { compare: async (_, jpegs) => { await held; return jpegs.map(() => ({ former: 'bag', now: 'bag', gain: -1 })) } })
    await probation.begin(candidates)
    for (let time = 0; time < 20; time++) probation.observe(frame(time * 10_000), 3)
    await probation.begin(null)
    release()
    await probation.stop()
    expect(records).toEqual([])
  })

  it('says what went wrong with a look, and looks again', async () => {
    let calls = 0
    const probation = watch(0.1, {
      compare: (_, jpegs) => (calls++ === 0 ? Promise.reject(new Error('no such file')) : Promise.resolve(jpegs.map(() => ({ former: 'bag', now: 'bag', gain: 0.1 })))),
    })
    await probation.begin(candidates)
    for (let time = 0; time < 20; time++) probation.observe(frame(time * 10_000), 3)
    await vi.waitFor(() => { expect(problems).toEqual([expect.stringContaining('no such file')]) })
    nowMs += 60_000
    probation.observe(frame(20 * 10_000), 3)
    await vi.waitFor(() => { expect(records).toHaveLength(1) })
    expect(records[0]).toMatchObject({ frames: 20 })
  })

  it('tells once that the labels are in disorder, holds no more frames than a look needs, tries seldom, and goes on once they are in order', async () => {
    let [inOrder, tries] = [false, 0]
    const compared: number[] = []
    const probation = watch(0.1, {
      promotionImages: () => {
        tries++
        return inOrder ? Promise.resolve(['one.jpg']) : Promise.reject(new Error('no images in the class folder "cat"'))
      },
      compare: (_, images) => {
        compared.push(images.length)
        return Promise.resolve(images.map(() => ({ former: 'bag', now: 'bag', gain: 0.1 })))
      },
    })
    await probation.begin(candidates)
    const day = async () => {
      for (let time = 0; time < 8640; time++) {
        nowMs += 10_000
        probation.observe(frame(nowMs), 3)
        await Promise.resolve()
      }
    }
    await day()
    expect(problems).toEqual([expect.stringContaining('no images in the class folder')])
    expect(tries).toBeLessThan(40)
    inOrder = true
    nowMs += 3_600_000
    probation.observe(frame(nowMs), 3)
    await vi.waitFor(() => { expect(records).toMatchObject([{ state: 'running', frames: 20 }]) })
    expect(compared).toEqual([1, 20])
    await show(probation, 2 * 8640, 2 * 8640 + 20)
    expect(records.at(-1)).toMatchObject({ frames: 40 })
  })

  it('says nothing of a look that the end of the agent has cut short', async () => {
    const ending = new AbortController()
    let comparing = false
    const probation = watch(0.1, {
      signal: ending.signal,
      compare: () => new Promise((_, reject) => {
        comparing = true
        ending.signal.addEventListener('abort', () => { reject(new Error('the agent ends')) })
      }),
    })
    await probation.begin(candidates)
    for (let time = 0; time < 20; time++) probation.observe(frame(time * 10_000), 3)
    await vi.waitFor(() => { expect(comparing).toBe(true) })
    ending.abort()
    await probation.stop()
    expect([problems, records]).toEqual([[], []])
  })

  it('keeps what it has seen of a model whose fall could not be carried out', async () => {
    const probation = watch(-0.3, { onRecord: () => Promise.reject(new Error('the agent ends')) })
    await probation.begin(candidates)
    for (let time = 0; time < 20; time++) probation.observe(frame(time * 10_000), 3)
    await vi.waitFor(() => { expect(problems).toHaveLength(1) })
    const again = watch(-0.3)
    await again.begin(candidates)
    await show(again, 20, 40)
    expect(records).toMatchObject([{ state: 'failed', frames: 40 }])
  })
})
