/** When rounds start, wait, and make way. */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { defaultConfig, type Config } from '../agent/config.js'
import { Schedule, type ScheduleOptions, type Trigger } from '../agent/rounds/schedule.js'
import { isOpen, windowOf } from '../agent/rounds/windows.js'

/** Comes on a leap day only. */
const seldom = '0 0 29 2 *'
const hourMs = 3_600_000
// January 2026: the 7th is a Wednesday.
const at = (day: number, hour: number, minute = 0, second = 0) => new Date(2026, 0, day, hour, minute, second).getTime()

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => { for (const cleanup of cleanups.splice(0)) await cleanup() })

interface World {
  nowMs: number
  mayLearn: boolean
  hasModel: boolean
  interrupted: boolean
  alarmAtMs: number | null
  /** When each label was put there. */
  labels: number[]
  /** Why no round can begin; null: one can. */
  hindrance: string | null
  /** A model of another box waits. */
  offered: boolean
}

/** A schedule whose rounds end when told, or when their window closes; what it looks at can be changed. */
function scheduled(config: Partial<Config['rounds']> = {}, world: Partial<World> = {}, options: Partial<ScheduleOptions> = {}) {
  const now: World = {
    nowMs: at(7, 12), mayLearn: true, hasModel: true, interrupted: false, alarmAtMs: null, labels: [], hindrance: null, offered: false, ...world,
  }
  const begun: Trigger[] = []
  let [running, most, closed] = [0, 0, 0]
  let finish: () => void = () => undefined
  const schedule = new Schedule({
    config: { ...defaultConfig().rounds, schedule: seldom, newFrames: 0, newLabels: 0, ...config },
    clock: { nowMs: () => now.nowMs, monotonicMs: () => now.nowMs },
    surroundings: {
      mayLearn: () => now.mayLearn,
      hasModel: () => now.hasModel,
      interrupted: () => now.interrupted,
      driftAlarmAtMs: () => now.alarmAtMs,
      labelsSince: ms => now.labels.filter(label => label > ms).length,
      offered: () => now.offered,
      newestLabelAtMs: () => Math.max(0, ...now.labels),
    },
    lastRoundAtMs: null, framesSince: 0,
    run: async (trigger, closing, began) => {
      begun.push(trigger)
      now.interrupted = false
      if (now.hindrance !== null) return now.hindrance
      began()
      most = Math.max(most, ++running)
      await new Promise<void>(resolve => {
        finish = resolve
        closing.addEventListener('abort', () => {
          closed++
          now.interrupted = true
          resolve()
        })
      })
      running--
      return null
    },
    ...options,
  })
  const end = async () => {
    const before = begun.length
    finish()
    await vi.waitFor(() => { expect(!schedule.busy || begun.length > before).toBe(true) }, { interval: 1 })
  }
  cleanups.push(async () => { const stopping = schedule.stop(); finish(); await stopping })
  /** Time passes; the schedule looks about. */
  const wait = async (ms: number) => {
    now.nowMs += ms
    schedule.frameStored()
    await new Promise(resolve => setImmediate(resolve))
  }
  const start = () => { schedule.start(); return begun }
  return { schedule, now, begun, start, end, wait, finish: () => { finish() }, most: () => most, closed: () => closed }
}

describe('a model of another box', () => {
  it('is judged where no round of this box is due, within the windows, and not while learning is paused', async () => {
    const { start, begun, end, wait, now } = scheduled({ windows: ['22:00-06:00'] }, { offered: true, mayLearn: false })
    start()
    now.mayLearn = true
    await wait(1000)
    expect(begun).toEqual([])
    now.nowMs = at(7, 23)
    now.alarmAtMs = 5
    await wait(1000)
    await end()
    await wait(1000)
    expect(begun).toEqual(['drift', 'offer'])
    now.offered = false
    await end()
  })

  it('answers nothing that makes a round due: not a time of the schedule that comes meanwhile, nor frames, nor a round that could not begin', async () => {
    const { start, begun, end, wait, now, schedule } = scheduled({ schedule: '0 */6 * * *', newFrames: 3 }, { nowMs: at(7, 17, 59, 50), offered: true })
    start()
    expect(begun).toEqual(['offer'])
    now.offered = false
    for (let frame = 0; frame < 3; frame++) schedule.frameStored()
    await wait(20_000)
    await end()
    await wait(1000)
    expect(begun).toEqual(['offer', 'schedule'])
    now.hindrance = 'no labels'
    await end()
    for (let frame = 0; frame < 3; frame++) schedule.frameStored()
    await wait(1000)
    now.offered = true
    now.hindrance = null
    await wait(1000)
    expect(begun.slice(2)).toEqual(['frames', 'offer'])
  })
})

describe('a round starts', () => {
  it('at once where there is no model, and not where there is one', () => {
    expect([scheduled({}, { hasModel: false }).start(), scheduled().start()]).toEqual([['first'], []])
  })

  it('at once where one was interrupted, before anything else', () => {
    expect(scheduled({}, { hasModel: false, interrupted: true }).start()).toEqual(['interrupted'])
    expect(scheduled({}, { interrupted: true, alarmAtMs: 5 }, { lastRoundAtMs: 1 }).start()).toEqual(['interrupted'])
  })

  it('at the times of the expression, by itself', async () => {
    const { start, begun, now } = scheduled({ schedule: '0 */6 * * *' }, { nowMs: at(7, 17, 59, 55) })
    start()
    now.nowMs = at(7, 18, 0, 2)
    await vi.waitFor(() => { expect(begun).toEqual(['schedule']) }, { timeout: 60_000 })
  })

  it('once for each of these times, whatever else is looked at', async () => {
    const { start, begun, wait, end } = scheduled({ schedule: '*/30 * * * * *' })
    start()
    for (let second = 0; second < 300; second++) {
      await wait(1000)
      await end()
    }
    expect(begun).toEqual(Array.from({ length: 10 }, () => 'schedule'))
  })

  it('when the clock jumped over such a time, and by the new time from then on, whichever way it jumped', async () => {
    const { start, begun, wait, end } = scheduled({ schedule: '0 */6 * * *' }, { nowMs: at(7, 17, 59) })
    start()
    await wait(400 * 24 * hourMs)
    expect(begun).toEqual(['missed'])
    await end()
    await wait(-400 * 24 * hourMs)
    expect(begun).toEqual(['missed'])
    await wait(50_000)
    await wait(20_000)
    expect(begun).toEqual(['missed', 'schedule'])
    await end()
    await wait(3 * hourMs)
    expect(begun).toHaveLength(2)
  })

  it('at enough new frames since the last one began, also those that came while it ran or before a restart', async () => {
    const { schedule, start, begun, end } = scheduled({ newFrames: 3 }, {}, { framesSince: 1 })
    const frames = (count: number) => { for (let frame = 0; frame < count; frame++) schedule.frameStored() }
    start()
    frames(1)
    expect(begun).toEqual([])
    frames(3)
    expect(begun).toEqual(['frames'])
    await end()
    // Two came after it began, and one more makes three.
    expect(begun).toHaveLength(1)
    frames(1)
    expect(begun).toEqual(['frames', 'frames'])
  })

  it('by frames not where that is switched off', () => {
    const { schedule, start } = scheduled({ newFrames: 0 })
    const begun = start()
    for (let frame = 0; frame < 1000; frame++) schedule.frameStored()
    expect(begun).toEqual([])
  })

  it('at enough new labels since the last one began, also those that came while it ran', async () => {
    const labels = [at(6, 1), at(6, 2), at(6, 3), at(6, 4)]
    const { start, begun, now, wait, end } = scheduled({ newLabels: 3 }, { labels }, { lastRoundAtMs: at(6, 3) })
    start()
    now.labels.push(at(7, 12) + 1)
    await wait(10)
    expect(begun).toEqual([])
    now.labels.push(now.nowMs + 1)
    await wait(10)
    expect(begun).toEqual(['labels'])
    now.labels.push(now.nowMs + 1, now.nowMs + 2, now.nowMs + 3)
    await wait(10)
    await end()
    await wait(10)
    expect(begun).toEqual(['labels', 'labels'])
    await end()
    await wait(10)
    expect(begun).toHaveLength(2)
  })

  it('once for labels that a clock gone wrong has put into the future', async () => {
    const { start, begun, wait, end } = scheduled({ newLabels: 1 }, { labels: [at(30, 0)] })
    start()
    expect(begun).toEqual(['labels'])
    await end()
    await wait(1000)
    expect(begun).toHaveLength(1)
  })

  it('at every new label while there is no model: it may be the one that was missing', async () => {
    const { start, begun, now, wait, end } = scheduled({ newLabels: 50 }, { hasModel: false })
    start()
    await end()
    await wait(1000)
    expect(begun).toEqual(['first'])
    now.labels.push(now.nowMs + 1)
    await wait(1000)
    expect(begun).toEqual(['first', 'labels'])
  })

  it('at a drift alarm, once for each: also for one that came while another round ran, unless that round has ended it', async () => {
    const { start, begun, now, wait, end } = scheduled({}, { alarmAtMs: at(7, 11) }, { lastRoundAtMs: at(7, 10) })
    start()
    expect(begun).toEqual(['drift'])
    await end()
    await wait(hourMs)
    expect(begun).toHaveLength(1)
    // Over, and another one.
    now.alarmAtMs = null
    await wait(hourMs)
    now.alarmAtMs = now.nowMs
    await wait(1)
    expect(begun).toEqual(['drift', 'drift'])
    now.alarmAtMs = now.nowMs
    await wait(1)
    expect(begun).toHaveLength(2)
    await end()
    await wait(1)
    expect(begun).toEqual(['drift', 'drift', 'drift'])
    now.alarmAtMs = now.nowMs
    now.alarmAtMs = null
    await end()
    await wait(1)
    expect(begun).toHaveLength(3)
  })

  it('for an alarm not again after a restart, nor where that is switched off', () => {
    expect(scheduled({}, { alarmAtMs: at(7, 10) }, { lastRoundAtMs: at(7, 11) }).start()).toEqual([])
    expect(scheduled({ onDrift: false }, { alarmAtMs: at(7, 10) }).start()).toEqual([])
  })

  it('never beside another, whatever asks; a command is told whether it started one', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.constantFrom('command', 'frame', 'end', 'alarm', 'label', 'hour'), { maxLength: 30 }), async actions => {
      const { schedule, start, now, begun, end, wait, most, finish } = scheduled({ newFrames: 2, newLabels: 2, windows: ['12:00-15:00', '18:00-19:00'] })
      start()
      for (const action of actions) {
        const [busy, before] = [schedule.busy, begun.length]
        if (action === 'end') await end()
        else if (action === 'frame') schedule.frameStored()
        else if (action === 'alarm') now.alarmAtMs = now.nowMs
        else if (action === 'label') now.labels.push(now.nowMs)
        else if (action === 'hour') await wait(hourMs)
        else expect(await schedule.command()).toBe(busy ? 'a round is running already' : null)
        if (busy && action !== 'end' && action !== 'hour') expect(begun).toHaveLength(before)
      }
      expect(most()).toBeLessThanOrEqual(1)
      const stopping = schedule.stop()
      finish()
      await stopping
    }), { numRuns: 60 })
  })

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
  for (const [when, schedule, lastRoundAtMs, nowMs, missed] of absences) {
    it(`${missed ? 'to make up for a missed one' : 'not'} when ${when}`, () => {
      expect(scheduled({ schedule }, { nowMs }, { lastRoundAtMs }).start()).toEqual(missed ? ['missed'] : [])
    })
  }

  it('not again and again without a pause where rounds end as they begin', async () => {
    let begun = 0
    const { start } = scheduled({}, { interrupted: true }, { run: async (_trigger, _closing, began) => {
      begun++
      began()
      await new Promise(resolve => setImmediate(resolve))
      return null
    } })
    start()
    await new Promise(resolve => setTimeout(resolve, 300))
    expect(begun).toBe(1)
    await vi.waitFor(() => { expect(begun).toBeGreaterThan(1) }, { timeout: 60_000 })
  })

  it('no more once it is stopped, which waits for the one that runs', async () => {
    const { schedule, start, begun, finish } = scheduled({ newFrames: 1 }, { hasModel: false })
    start()
    let stopped = false
    const stopping = schedule.stop().then(() => { stopped = true })
    await new Promise(resolve => setTimeout(resolve, 20))
    expect(stopped).toBe(false)
    finish()
    await stopping
    schedule.frameStored()
    expect([await schedule.command(), schedule.busy, begun]).toEqual(['the agent ends', false, ['first']])
  })
})

describe('where the clocks are changed', () => {
  const zone = process.env.TZ
  beforeEach(() => { process.env.TZ = 'Europe/Berlin' })
  afterEach(() => {
    if (zone === undefined) delete process.env.TZ
    else process.env.TZ = zone
  })
  /** What begins from midnight to five, UTC, looked at every ten seconds, and when, in local time. */
  async function night(day: string, schedule: string) {
    const { start, begun, now, wait, end } = scheduled({ schedule }, { nowMs: Date.parse(`${day}T00:00:05Z`) })
    start()
    const rounds: string[] = []
    while (now.nowMs < Date.parse(`${day}T05:00Z`)) {
      await wait(10_000)
      if (begun.length > rounds.length) rounds.push(`${begun.at(-1)!} ${new Date(now.nowMs).toTimeString().slice(0, 5)}`)
      await end()
    }
    return rounds
  }

  it('a time that is left out is made up for at once, and one that is repeated comes once', async () => {
    expect([await night('2026-03-29', '30 2 * * *'), await night('2026-10-25', '30 2 * * *')]).toEqual([['missed 03:00'], ['schedule 02:30']])
  })

  it('the others come as ever', async () => {
    expect(await night('2026-03-28', '30 2 * * *')).toEqual(['schedule 02:30'])
    expect(await night('2026-03-29', '0 4 * * *')).toEqual(['schedule 04:00'])
    expect(await night('2026-10-25', '0 4 * * *')).toEqual(['schedule 04:00'])
  })
})

describe('while a person has paused learning', () => {
  it('nothing begins, and what was due begins afterwards', async () => {
    const { start, begun, now, wait } = scheduled({}, { mayLearn: false, interrupted: true, hasModel: false })
    start()
    await wait(hourMs)
    expect(begun).toEqual([])
    now.mayLearn = true
    await wait(1)
    expect(begun).toEqual(['interrupted'])
  })

  it('a command is told so, and takes nothing from what is due', async () => {
    const { schedule, start, begun, now, wait, end } = scheduled({ newFrames: 2 }, { mayLearn: false, alarmAtMs: at(7, 11) })
    start()
    await wait(1)
    await wait(1)
    expect([await schedule.command(), schedule.busy]).toEqual(['learning is paused; `pawl models follow` goes on', false])
    now.mayLearn = true
    await wait(1)
    await end()
    expect(begun).toEqual(['drift'])
  })
})

describe('a round that cannot begin', () => {
  it.each<[string, Partial<Config['rounds']>, Partial<World>, Partial<ScheduleOptions>]>([
    ['first', {}, { hasModel: false }, {}],
    ['missed', { schedule: '0 */6 * * *' }, {}, { lastRoundAtMs: at(7, 1) }],
    ['drift', {}, { alarmAtMs: at(7, 11) }, {}],
    ['labels', { newLabels: 1 }, { labels: [at(7, 11)] }, { lastRoundAtMs: at(7, 10) }],
    ['frames', { newFrames: 3 }, {}, { framesSince: 3 }],
  ])('stays due (%s), and is tried again after a minute, then after two, without haste', async (trigger, config, world, options) => {
    const { start, begun, now, wait, end } = scheduled(config, { hindrance: 'no labels', ...world }, options)
    start()
    for (let second = 0; second < 200; second++) await wait(1000)
    expect(begun).toEqual([trigger, trigger, trigger])
    now.hindrance = null
    await wait(4 * 60_000)
    expect(begun).toHaveLength(4)
    await end()
    if (trigger === 'frames') return
    await wait(hourMs)
    expect(begun).toHaveLength(4)
  })

  it('is tried again as soon as labels were added', async () => {
    const { start, begun, now, wait } = scheduled({}, { hasModel: false, hindrance: 'no labels' })
    start()
    await wait(1000)
    now.hindrance = null
    now.labels.push(now.nowMs)
    await wait(1000)
    expect(begun).toEqual(['first', 'first'])
  })

  it('tells who asked for it why', async () => {
    const { schedule, start, now } = scheduled({}, { hindrance: 'no labels' })
    start()
    expect(await schedule.command()).toBe('no labels')
    now.hindrance = null
    expect([await schedule.command(), schedule.busy]).toEqual([null, true])
  })
})

describe('outside the windows', () => {
  const windows = ['22:00-06:00']

  it('what is due waits until one opens; then all of it is one round', async () => {
    const before = { lastRoundAtMs: at(7, 1), framesSince: 5 }
    const { start, begun, now, wait, schedule, end } = scheduled({ windows, newFrames: 2, newLabels: 1 }, { alarmAtMs: at(7, 11) }, before)
    start()
    now.labels.push(now.nowMs + 1)
    await wait(9.9 * hourMs)
    expect(begun).toEqual([])
    await wait(0.1 * hourMs)
    expect(begun).toEqual(['drift'])
    await end()
    await wait(hourMs)
    expect([begun, schedule.busy]).toEqual([['drift'], false])
  })

  it('a time of the schedule is not lost', async () => {
    const { start, begun, wait } = scheduled({ windows, schedule: '0 13 * * *' }, { nowMs: at(7, 12, 59, 50) })
    start()
    await wait(20_000)
    expect(begun).toEqual([])
    await wait(10 * hourMs)
    expect(begun).toEqual(['schedule'])
  })

  it('the first round runs all the same, and one on command, to their ends', async () => {
    const first = scheduled({ windows }, { hasModel: false })
    first.start()
    await first.wait(hourMs)
    const command = scheduled({ windows })
    command.start()
    await command.schedule.command()
    await command.wait(hourMs)
    expect([first.begun, first.closed(), command.begun, command.closed()]).toEqual([['first'], 0, ['command'], 0])
  })

  it('a round is stopped when its window closes, and taken up in the next; what came meanwhile is still new', async () => {
    const { start, begun, now, wait, closed, end } = scheduled({ windows, newLabels: 2 }, { nowMs: at(7, 23), alarmAtMs: at(7, 22) })
    start()
    expect(begun).toEqual(['drift'])
    await wait(6.9 * hourMs)
    expect(closed()).toBe(0)
    now.labels.push(now.nowMs + 1)
    await wait(0.2 * hourMs)
    expect([closed(), begun]).toEqual([1, ['drift']])
    now.labels.push(now.nowMs + 1)
    await wait(16 * hourMs)
    expect(begun).toEqual(['drift', 'interrupted'])
    await end()
    await wait(1)
    expect(begun).toEqual(['drift', 'interrupted', 'labels'])
  })

  it('nobody has to store a frame for it to be noticed', async () => {
    const { start, begun, now, closed } = scheduled({ windows }, { nowMs: at(7, 21, 59), alarmAtMs: at(7, 21) })
    start()
    expect(begun).toEqual([])
    now.nowMs = at(7, 22)
    await vi.waitFor(() => { expect(begun).toEqual(['drift']) }, { timeout: 60_000 })
    now.nowMs = at(8, 6)
    await vi.waitFor(() => { expect(closed()).toBe(1) }, { timeout: 60_000 })
  })
})

describe('windows', () => {
  const open = (texts: string[], day: number, hour: number, minute = 0) => isOpen(texts.map(text => windowOf(text)!), new Date(at(day, hour, minute)))

  it('are open from their first minute until before their last, over midnight, on their days', () => {
    const cases: [string[], number, number, number, boolean][] = [
      [[], 7, 12, 0, true],
      [['22:00-06:00'], 7, 21, 59, false], [['22:00-06:00'], 7, 22, 0, true], [['22:00-06:00'], 8, 5, 59, true], [['22:00-06:00'], 8, 6, 0, false],
      [['12:00-13:30'], 7, 13, 29, true], [['12:00-13:30'], 7, 13, 30, false],
      [['00:00-24:00'], 7, 23, 59, true], [['sat,sun 00:00-24:00'], 7, 12, 0, false], [['sat,sun 00:00-24:00'], 11, 23, 59, true],
      // The night of Friday, the 9th, ends on Saturday.
      [['mon-fri 22:00-06:00'], 10, 5, 0, true], [['mon-fri 22:00-06:00'], 10, 22, 0, false], [['mon-fri 22:00-06:00'], 12, 5, 0, false],
      [['fri-mon 01:00-02:00'], 11, 1, 0, true], [['fri-mon 01:00-02:00'], 7, 1, 0, false],
      [['01:00-02:00', '03:00-04:00'], 7, 3, 30, true], [['01:00-02:00', '03:00-04:00'], 7, 2, 30, false],
    ]
    for (const [texts, day, hour, minute, expected] of cases) {
      expect([texts, day, hour, minute, open(texts, day, hour, minute)]).toEqual([texts, day, hour, minute, expected])
    }
  })

  it('are open for as many minutes of a week as they say', () => {
    const time = fc.record({ hour: fc.nat(23), minute: fc.nat(59) })
    const two = (number: number) => String(number).padStart(2, '0')
    fc.assert(fc.property(time, time, fc.subarray(['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'], { minLength: 1 }), (from, to, days) => {
      const window = windowOf(`${days.join(',')} ${two(from.hour)}:${two(from.minute)}-${two(to.hour)}:${two(to.minute)}`)
      const length = (to.hour - from.hour) * 60 + to.minute - from.minute
      if (length === 0) {
        expect(window).toBeNull()
        return
      }
      let minutes = 0
      for (let minute = 0; minute < 7 * 24 * 60; minute++) if (isOpen([window!], new Date(at(5, 0, minute)))) minutes++
      expect(minutes).toBe(days.length * ((length + 24 * 60) % (24 * 60)))
    }), { numRuns: 30 })
  })

  it.each(['', '22-06', '25:00-06:00', '22:00-24:30', '22:00', 'someday 22:00-06:00', 'mon-tue-wed 22:00-06:00', '22:00-22:00', '24:00-06:00'])('is not "%s"', text => {
    expect(windowOf(text)).toBeNull()
  })
})
