import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { getPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { bundled, defaultConfig, type Config } from '../agent/config.js'
import { quarantine, readLabels } from '../agent/frames/labels.js'
import { systemClock } from '../agent/lib/clock.js'
import { Registry } from '../agent/registry/registry.js'
import { Learning, type RoundData } from '../agent/rounds/learning.js'
import { beginUnfinished, findUnfinished } from '../agent/rounds/unfinished.js'
import { runInChild, type RoundOutcome } from '../agent/rounds/round.js'
import { Schedule, type ScheduleOptions, type Trigger } from '../agent/rounds/schedule.js'
import type { RoundEvent, RoundSpec } from '../trainer/contract.js'
import { ordinary } from './ordinary.js'

/** Comes on a leap day only. */
const seldom = '0 0 29 2 *'

describe('schedule', () => {
  const cleanups: (() => Promise<void>)[] = []
  afterEach(async () => { for (const cleanup of cleanups.splice(0)) await cleanup() })

  /** A schedule whose rounds end when told. */
  function scheduled(options: Partial<ScheduleOptions> = {}) {
    const begun: Trigger[] = []
    let [running, most] = [0, 0]
    let finish: () => void = () => undefined
    const schedule = new Schedule({
      expression: seldom, newFrames: 0, clock: systemClock, lastRoundAtMs: null, ...options,
      run: async trigger => {
        begun.push(trigger)
        most = Math.max(most, ++running)
        await new Promise<void>(resolve => { finish = resolve })
        running--
      },
    })
    const end = async () => { finish(); await vi.waitFor(() => { expect(schedule.busy).toBe(false) }, { interval: 1 }) }
    cleanups.push(async () => { finish(); await schedule.stop() })
    return { schedule, begun, end, finish: () => { finish() }, most: () => most }
  }

  it('starts a round at once where there is no model, and none where there is one', () => {
    const [without, having] = [scheduled(), scheduled()]
    without.schedule.start({ hasModel: false, interrupted: false })
    having.schedule.start({ hasModel: true, interrupted: false })
    expect([without.begun, having.begun]).toEqual([['first'], []])
  })

  it('takes up an interrupted round before anything else', () => {
    const { schedule, begun } = scheduled({ lastRoundAtMs: 1 })
    schedule.start({ hasModel: false, interrupted: true })
    expect(begun).toEqual(['interrupted'])
  })

  it('starts rounds at the times of the expression', async () => {
    const { schedule, begun } = scheduled({ expression: '* * * * * *' })
    schedule.start({ hasModel: true, interrupted: false })
    await vi.waitFor(() => { expect(begun).toEqual(['schedule']) }, { timeout: 5000 })
  })

  it('starts a round at enough new frames since the last one began, also those that came while it ran', async () => {
    const { schedule, begun, end } = scheduled({ newFrames: 3 })
    const frames = (count: number) => { for (let frame = 0; frame < count; frame++) schedule.frameStored() }
    schedule.start({ hasModel: true, interrupted: false })
    frames(2)
    expect(begun).toEqual([])
    frames(4)
    expect(begun).toEqual(['frames'])
    await end()
    frames(1)
    expect(begun).toEqual(['frames', 'frames'])
    await end()
    frames(2)
    expect(begun).toHaveLength(2)
  })

  it('starts none by frames where that is switched off', () => {
    const { schedule, begun } = scheduled({ newFrames: 0 })
    for (let frame = 0; frame < 1000; frame++) schedule.frameStored()
    expect(begun).toEqual([])
  })

  it('never runs two at once, whatever asks, and says whether it started', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.constantFrom('command', 'frame', 'end'), { maxLength: 30 }), async actions => {
      const { schedule, begun, end, most } = scheduled({ newFrames: 2 })
      for (const action of actions) {
        const [busy, before] = [schedule.busy, begun.length]
        if (action === 'end') await end()
        else if (action === 'frame') schedule.frameStored()
        else expect(schedule.trigger('command')).toBe(!busy)
        if (busy) expect(begun).toHaveLength(before)
      }
      expect(most()).toBeLessThanOrEqual(1)
      await end()
    }), { numRuns: 40 })
  })

  // January 2026: the 7th is a Wednesday.
  const at = (day: number, hour: number, minute = 0, second = 0) => new Date(2026, 0, day, hour, minute, second).getTime()
  const absences: [string, string, number, number, boolean][] = [
    ['a run fell into the time that the box was down', '0 */6 * * *', at(7, 6, 0, 1), at(7, 12, 0, 30), true],
    ['the next run is still to come', '0 */6 * * *', at(7, 6, 0, 1), at(7, 11, 59), false],
    ['many runs were missed', '30 */5 * * * *', at(7, 6), at(7, 6, 45), true],
    ['one of unevenly spaced runs was missed', '0 9 * * 1-5', at(7, 9, 0, 1), at(9, 8), true],
    ['a gap between unevenly spaced runs was only long', '0 9 * * 1-5', at(9, 9, 0, 1), at(12, 8), false],
    ['the month is not over', '0 3 1 * *', at(1, 3, 0, 1), at(31, 23), false],
    ['the month is over', '0 3 1 * *', at(1, 3, 0, 1), at(32, 3, 0, 1), true],
    ['the box was away for a year', '0 3 1 * *', at(1, 3) - 365 * 86_400_000, at(31, 23), true],
    ['the clock went back', '0 */6 * * *', at(9, 6), at(7, 6), false],
  ]
  for (const [when, expression, lastRoundAtMs, nowMs, missed] of absences) {
    it(`${missed ? 'makes up for the missed round' : 'starts nothing'} when ${when}`, () => {
      const { schedule, begun } = scheduled({ expression, lastRoundAtMs, clock: { nowMs: () => nowMs, monotonicMs: () => 0 } })
      schedule.start({ hasModel: true, interrupted: false })
      expect(begun).toEqual(missed ? ['missed'] : [])
    })
  }

  it('waits for the running round when it is stopped, and starts none after', async () => {
    const { schedule, begun, finish } = scheduled({ newFrames: 1 })
    schedule.start({ hasModel: false, interrupted: false })
    let stopped = false
    const stopping = schedule.stop().then(() => { stopped = true })
    await new Promise(resolve => setTimeout(resolve, 20))
    expect(stopped).toBe(false)
    finish()
    await stopping
    schedule.frameStored()
    expect([schedule.trigger('command'), schedule.busy, begun]).toEqual([false, false, ['first']])
  })
})

const specOf = (out: string): RoundSpec => ({
  ...ordinary, labeled: [], unlabeled: [], gate: [], promotion: [], out, seed: 1, minutes: 10, backend: 'auto', device: 'auto', lanes: 1,
})

describe.concurrent('round in a child process', () => {
  const trainer = new URL('./round-child.js', import.meta.url)

  interface Run { minutes?: number; maxMemoryMb?: number; signal?: AbortSignal; onEvent?: (event: RoundEvent) => void }
  const run = (out: string, { minutes = 10, maxMemoryMb = 4096, signal = new AbortController().signal, onEvent = () => undefined }: Run = {}) =>
    runInChild({ ...specOf(out), minutes }, { module: trainer, graceMs: 100, maxMemoryMb, signal, onEvent })

  /** Asks for the stop as soon as the child says that it works. */
  async function stopped(out: string): Promise<{ outcome: RoundOutcome; waitedMs: number }> {
    const controller = new AbortController()
    let askedAtMs = 0
    const outcome = await run(out, { signal: controller.signal, onEvent: () => { askedAtMs = performance.now(); controller.abort() } })
    return { outcome, waitedMs: performance.now() - askedAtMs }
  }

  it('hands over what the trainer tells and its result, and takes only the time that others leave', async () => {
    const events: RoundEvent[] = []
    const outcome = await run('answers', { onEvent: event => { events.push(event) } })
    expect(outcome).toMatchObject({ ok: true, result: { card: { seed: 1 }, evidence: { labels: [0, 0] } } })
    expect(events).toEqual([
      { type: 'phase', phase: 'load' }, { type: 'quarantine', path: '/x.png', reason: `nice ${String(Math.max(10, getPriority()))}` },
    ])
  })

  it('hears a long answer to its end, though the trainer ends with it', async () => {
    const outcome = await run('answers-at-length')
    expect(outcome.ok && outcome.result.evidence.challenger.nll.at(-1)).toBe(0.1)
  })

  it('keeps the result of a trainer that does not end', async () => {
    expect((await stopped('answers-and-lingers')).outcome).toMatchObject({ ok: true })
  })

  it('gives the trainer\'s own reason for a refusal', async () => {
    expect(await run('fails')).toEqual({ ok: false, reason: 'diverged', message: 'the loss is not a number' })
  })

  it('says how a trainer ended that did not answer', async () => {
    expect(await run('exits')).toMatchObject({ ok: false, reason: 'crashed', message: expect.stringContaining('code 3') as string })
    expect(await run('is-killed')).toMatchObject({ ok: false, reason: 'crashed', message: expect.stringContaining('SIGKILL') as string })
  })

  it('ends a trainer that exceeds its minutes', async () => {
    expect(await run('hangs', { minutes: 0.02 })).toMatchObject({ ok: false, reason: 'out-of-time', message: expect.stringContaining('after 1 s') as string })
  })

  it('ends a trainer that exceeds its memory, naming the key', async () => {
    const outcome = await run('hoards', { maxMemoryMb: 350 })
    expect(outcome).toMatchObject({ ok: false, reason: 'out-of-memory', message: expect.stringContaining('rounds.maxMemoryMb (350)') as string })
  })

  it('lets the trainer stop by itself when asked, and insists soon when it does not', async () => {
    for (const behaviour of ['stops-when-asked', 'hangs']) {
      const { outcome, waitedMs } = await stopped(behaviour)
      expect(outcome).toMatchObject({ ok: false, reason: 'stopped' })
      expect(waitedMs).toBeLessThan(10_000)
    }
  })

  it('calls a round stopped, not crashed, when the trainer dies of the stop', async () => {
    expect((await stopped('dies-when-asked')).outcome).toMatchObject({ ok: false, reason: 'stopped' })
  })

  it('starts no trainer when the agent is stopping already', async () => {
    expect(await run('answers', { signal: AbortSignal.abort() })).toMatchObject({ ok: false, reason: 'stopped' })
  })
})

describe('round without a program', () => {
  const node = process.execPath
  afterEach(() => { process.execPath = node })

  it('is an outcome too, when the process cannot be started', async () => {
    process.execPath = '/nowhere/node'
    const outcome = await runInChild(specOf('x'), { graceMs: 0, maxMemoryMb: 4096, signal: new AbortController().signal, onEvent: () => undefined })
    expect(outcome).toMatchObject({ ok: false, reason: 'crashed', message: expect.stringContaining('ENOENT') as string })
  }, 5000)
})

describe('learning', () => {
  let data = ''
  /** Promotion sets in the order in which they were counted, and which attempt each was. */
  let counted: [string, number][] = []
  /** What rounds tell, and what is done about it at once. */
  let events: RoundEvent[] = []
  let onEvent: (event: RoundEvent) => void = () => undefined
  /** The interrupted round that the last start gave up, and why. */
  let givenUp: { round: number; reason: string } | null = null

  class CountingRegistry extends Registry {
    override async countAttempt(promotionSet: string): Promise<number> {
      const attempt = await super.countAttempt(promotionSet)
      counted.push([promotionSet, attempt])
      return attempt
    }
  }

  beforeEach(async () => {
    data = await mkdtemp(join(tmpdir(), 'pawl-rounds-'))
    counted = []
  })
  afterEach(async () => { await rm(data, { recursive: true, force: true }) })

  async function open(config: Partial<Config['rounds']> = {}): Promise<{ learning: Learning; registry: Registry }> {
    const registry = new CountingRegistry({
      data, clock: systemClock, onProblem: problem => { throw problem },
    })
    await registry.start()
    const learning = new Learning({
      config: { ...defaultConfig().rounds, backend: 'onnxruntime', ...config }, folder: join(data, 'rounds'), engines: join(data, 'engines.json'), registry, clock: systemClock, graceMs: 60_000,
      onEvent: (_, event) => { events.push(event); onEvent(event) },
      onQuarantine: async (path, reason) => { await quarantine(path, reason, join(data, 'quarantine')) },
    })
    givenUp = await learning.start()
    return { learning, registry }
  }

  const images = (...names: string[]) => names.map(name => ({ path: join(data, name), label: 'a' }))
  const nothing: RoundData = { labeled: [], gate: [], promotion: images('1.png', '2.png'), unlabeled: [], switches: {} }
  const running = () => new AbortController().signal
  const leftovers = () => readdir(join(data, 'rounds'))

  it('clears away what an interrupted round left behind', async () => {
    await mkdir(join(data, 'rounds', '7'), { recursive: true })
    await writeFile(join(data, 'rounds', '7', 'model.onnx'), 'half')
    await open()
    expect(await leftovers()).toEqual([])
  })

  describe('a round that is interrupted', () => {
    /** A round on real images that is stopped after some steps, as by the end of the agent. */
    async function interruptedRound() {
      const { learning, registry } = await open({ firstMinutes: 0.3, lanes: 1 })
      const { labeled, gate, promotion } = await readLabels(bundled('labeled'), bundled('validation'))
      const round = { labeled, gate, promotion, unlabeled: [], switches: { gate: 'never' } as const }
      const controller = new AbortController()
      events = []
      onEvent = event => { if (event.type === 'progress') controller.abort() }
      const { decision } = await learning.run(round, controller.signal, () => undefined)
      expect([decision.reason, registry.decisions()]).toEqual(['stopped', []])
      onEvent = () => undefined
      await registry.stop()
      return round
    }

    it('is taken up by the next start: the same number, from its checkpoint on, whatever the labels are by then and whether pseudo-labels may count', async () => {
      const { labeled } = await interruptedRound()
      expect(await readdir(join(data, 'rounds', '1'))).toContain('checkpoint.safetensors')
      const { learning, registry } = await open({ firstMinutes: 0.3, lanes: 1 })
      expect(learning.interrupted).toBe(true)
      const begun: unknown[] = []
      const { decision } = await learning.run(nothing, running(), begin => { begun.push(begin) })
      expect(begun).toEqual([{ round: 1, labeled: labeled.length, unlabeled: 0, pseudoLabels: false }])
      expect(decision).toMatchObject({ round: 1, promoted: true, reason: 'first-model' })
      expect(events.filter(({ type }) => type === 'resumed')).toHaveLength(1)
      const [model = ''] = await readdir(join(data, 'models'))
      expect(await readdir(join(data, 'models', model))).toEqual(['card.json', 'model.onnx', 'weights.safetensors'])
      expect([learning.interrupted, await leftovers()]).toEqual([false, []])
      expect((await learning.run(nothing, running(), () => undefined)).decision.round).toBe(2)
      await registry.stop()
    }, 60_000)

    it('is given up, and the reason told, when the configuration is another by then', async () => {
      await interruptedRound()
      const { learning, registry } = await open({ firstMinutes: 0.4, lanes: 1 })
      expect([learning.interrupted, givenUp]).toEqual([false, { round: 1, reason: expect.stringContaining('configuration') as string }])
      expect((await learning.run(nothing, running(), () => undefined)).decision.round).toBe(2)
      expect(await leftovers()).toEqual([])
      await registry.stop()
    }, 60_000)

    it('is given up after the third interruption, lest it be what ends the agent, and when a label of it was moved', async () => {
      const { registry } = await open()
      await registry.stop()
      const out = join(data, 'rounds', '5')
      const found = async (attempts: number, labeled: RoundSpec['labeled'] = []) => {
        await beginUnfinished({ round: 5, attempts, spec: { ...specOf('x'), labeled, gate: [], promotion: [], out } })
        const { unfinished, givenUp: lost } = await findUnfinished(join(data, 'rounds'))
        return unfinished?.round ?? lost?.reason
      }
      expect([await found(1), await found(2), await found(3)]).toEqual([5, 5, expect.stringContaining('3 times')])
      const { switches: _, ...former } = specOf(out)
      await mkdir(out, { recursive: true })
      await writeFile(join(out, 'round.json'), JSON.stringify({ round: 5, attempts: 1, spec: former }))
      expect((await findUnfinished(join(data, 'rounds'))).unfinished?.spec).toEqual(specOf(out))
      expect(await found(1, [{ path: '/nowhere/a.png', label: 'a' }])).toContain('/nowhere/a.png')
      expect(await leftovers()).toEqual([])
    })
  })

  it('puts a refusal on record with its reason, and leaves nothing else', async () => {
    const { learning, registry } = await open()
    const begun: number[] = []
    const { decision, challenger } = await learning.run(nothing, running(), ({ round }) => { begun.push(round) })
    expect(decision).toMatchObject({ round: 1, promoted: false, reason: 'labels', champion: null, challenger: null, comparison: null })
    expect(decision.explanation).toContain('at least two classes')
    expect([challenger, begun, await leftovers()]).toEqual([null, [1], []])
    await registry.stop()
    expect((await open()).registry.decisions()).toEqual([decision])
  })

  it('sets unreadable images aside also when they leave too little for a round', async () => {
    const { learning } = await open()
    await mkdir(join(data, 'labels', 'bag'), { recursive: true })
    const bad = { path: join(data, 'labels', 'bag', 'bad.png'), label: 'bag' }
    await writeFile(bad.path, 'no image')
    const { decision } = await learning.run({ ...nothing, labeled: [bad] }, running(), () => undefined)
    expect(decision.reason).toBe('labels')
    expect(await readFile(join(data, 'quarantine', 'bag', 'bad.png'), 'utf8')).toBe('no image')
  })

  it('ends with a record when a finished model cannot be kept, and the champion stays', async () => {
    const { learning, registry } = await open({ firstMinutes: 0.1, lanes: 1 })
    registry.register = () => Promise.reject(new Error('no space left'))
    const { labeled, gate, promotion } = await readLabels(bundled('labeled'), bundled('validation'))
    const round = { labeled, gate: gate.slice(0, 30), promotion: promotion.slice(0, 30), unlabeled: [], switches: {} }
    const { decision, challenger } = await learning.run(round, running(), () => undefined)
    expect(decision).toMatchObject({ promoted: false, reason: 'crashed', challenger: null })
    expect(decision.explanation).toContain('no space left')
    expect([challenger, registry.decisions(), await leftovers()]).toEqual([null, [decision], []])
  })

  it('holds the stop of the agent against no challenger', async () => {
    const { learning, registry } = await open()
    const { decision } = await learning.run(nothing, AbortSignal.abort(), () => undefined)
    expect([decision.reason, registry.decisions(), await registry.beginRound()]).toEqual(['stopped', [], 2])
  })

  it('makes a first model from real images, sets unreadable ones aside, and counts every later challenger judged on its images', async () => {
    const { learning, registry } = await open({ firstMinutes: 0.2, minutes: 0.1, lanes: 1 })
    const split = await readLabels(bundled('labeled'), bundled('validation'))
    const promotion = split.promotion.slice(0, 100)
    await mkdir(join(data, 'labels', 'bag'), { recursive: true })
    const bad = { path: join(data, 'labels', 'bag', 'bad.png'), label: 'bag' }
    await writeFile(bad.path, 'no image')
    const round = { labeled: [...split.labeled, bad], gate: split.gate.slice(0, 30), promotion, unlabeled: [], switches: {} }
    const { decision, challenger } = await learning.run(round, running(), () => undefined)
    expect(decision).toMatchObject({ promoted: true, reason: 'first-model', champion: null, challenger: 1, accuracyChampion: null })
    expect(challenger).toMatchObject({ version: 1, card: { data: { labeled: 100, quarantined: 1 } }, decision })
    expect(await readFile(join(data, 'quarantine', 'bag', 'bad.png'), 'utf8')).toBe('no image')
    expect(await registry.verify()).toMatchObject([{ version: 1, ok: true }])
    expect([await leftovers(), registry.active(), counted]).toEqual([[], null, []])

    await registry.promote(1, { why: 'test' })
    await learning.run(round, AbortSignal.abort(), () => undefined)
    expect(counted).toEqual([])
    for (const set of [promotion, promotion, promotion.slice(1)]) await learning.run({ ...round, promotion: set }, running(), () => undefined)
    expect(counted.map(([, attempt]) => attempt)).toEqual([1, 2, 1])
    expect(new Set(counted.map(([set]) => set)).size).toBe(2)
  }, 120_000)
})
