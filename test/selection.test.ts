/** Which frames are kept, and why. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Selection, type Answered, type Kept, type SelectionOptions } from '../agent/frames/selection.js'
import { defaultConfig } from '../agent/config.js'
import { Random } from '../trainer/index.js'

function selection(config: Partial<SelectionOptions['config']> = {}, random = new Random(1)): Selection {
  return new Selection({ config: { ...defaultConfig().frames.select, ...config }, leastFrames: 100, random: () => random.float() })
}

const width = 16
/** Around one of the axes. */
function embedding(random: Random, spread = 1, axis = 0): Float32Array {
  return Float32Array.from({ length: width }, (_, index) => (index === axis ? 3 : 0) + spread * random.normal())
}

const many = 1000
const uncapped = { perHour: 1e6, perDay: 1e6 }
const sure = (own: Float32Array, model = 1): Answered => ({ model, confidence: 0.95, embedding: own })

/** What becomes of frames a second apart. */
function run(to: Selection, answers: readonly (Answered | null)[], frames = many): (Kept | null)[] {
  return answers.map((answered, second) => to.choose({ camera: 'door', capturedAtMs: second * 1000 }, answered, frames))
}
const shareOf = (kept: readonly (Kept | null)[], reason: string) => kept.filter(one => one?.reason === reason).length / kept.length

describe('selection', () => {
  it('keeps everything while no model answers, and while there are fewer frames than a round learns from', () => {
    const random = new Random(2)
    expect(shareOf(run(selection(), Array.from({ length: 50 }, () => null)), 'first')).toBe(1)
    const few = run(selection({ novelShare: 0 }), Array.from({ length: 50 }, () => sure(embedding(random))), 99)
    expect(shareOf(few, 'first')).toBe(1)
  })

  it('keeps what the model is unsure of, the least sure worth the most', () => {
    const random = new Random(3)
    const to = selection({ uncertain: [0.2, 0.7], novelShare: 0, auditShare: 0 })
    const kept = run(to, [0.1, 0.2, 0.5, 0.7, 0.71].map(confidence => ({ ...sure(embedding(random)), confidence })))
    expect(kept.map(one => one?.reason ?? null)).toEqual([null, 'uncertain', 'uncertain', 'uncertain', null])
    const worths = kept.flatMap(one => (one ? [one.worth] : []))
    expect(worths).toEqual(worths.toSorted((a, b) => b - a))
  })

  it('calls the wanted share novel, whatever the stream and however far its frames lie apart', () => {
    const [novelShare, spread] = [fc.constantFrom(0.05, 0.2, 0.5), fc.constantFrom(0.01, 0.3, 3)]
    const streams = fc.record({ novelShare, spread, seed: fc.integer({ min: 1, max: 1e6 }) })
    fc.assert(fc.property(streams, ({ novelShare: wanted, spread: apart, seed }) => {
      const random = new Random(seed)
      const stream = Array.from({ length: 1500 }, () => sure(embedding(random, apart)))
      const kept = run(selection({ novelShare: wanted, auditShare: 0, ...uncapped }), stream)
      expect(Math.abs(shareOf(kept.slice(500), 'novel') - wanted)).toBeLessThan(0.04)
    }), { numRuns: 20 })
  })

  it('calls novel what begins to look different, more than what goes on as before, and calms down', () => {
    const shares = [1, 2, 3, 4, 5].map(seed => {
      const random = new Random(seed)
      const to = selection({ auditShare: 0, novelShare: 0.1 })
      const seen = (count: number, axis: number) => shareOf(run(to, Array.from({ length: count }, () => sure(embedding(random, 0.3, axis)))), 'novel')
      return { before: seen(800, 0), first: seen(10, 1), later: seen(400, 1) }
    })
    const mean = (of: 'before' | 'first' | 'later') => shares.reduce((sum, share) => sum + share[of], 0) / shares.length
    expect(mean('before')).toBeLessThan(0.15)
    expect(mean('first')).toBeGreaterThan(0.35)
    expect(mean('later')).toBeLessThan(0.15)
  })

  it('begins anew with another model, whose embedding is another', () => {
    const random = new Random(5)
    const to = selection({ auditShare: 0 })
    run(to, Array.from({ length: 300 }, () => sure(embedding(random, 0.3), 1)))
    const kept = run(to, Array.from({ length: 300 }, () => sure(embedding(random, 0.3).map(value => -value), 2)))
    expect(Math.abs(shareOf(kept.slice(150), 'novel') - 0.2)).toBeLessThan(0.1)
  })

  it('audits the wanted share of what is left', () => {
    const random = new Random(6)
    const kept = run(selection({ novelShare: 0, auditShare: 0.3, ...uncapped }), Array.from({ length: 2000 }, () => sure(embedding(random))))
    expect(Math.abs(shareOf(kept, 'audit') - 0.3)).toBeLessThan(0.04)
  })

  it('never keeps more of a camera in any hour or day, nor sooner, than it may; other cameras have their own', () => {
    const whole = (min: number, max: number) => fc.integer({ min, max })
    const steps = fc.array(fc.record({ camera: fc.constantFrom('a', 'b'), afterSeconds: whole(0, 3000) }), { minLength: 50, maxLength: 300 })
    const caps = fc.record({ perHour: whole(1, 5), perDay: whole(5, 20), minIntervalSeconds: whole(0, 600) })
    fc.assert(fc.property(steps, caps, (times, config) => {
      const { perHour, perDay, minIntervalSeconds } = config
      const to = selection(config)
      let atMs = 0
      const kept = new Map<string, number[]>()
      for (const { camera, afterSeconds } of times) {
        atMs += afterSeconds * 1000
        const own = kept.get(camera) ?? []
        const within = (ms: number) => own.filter(time => time > atMs - ms).length
        const soon = own.some(time => atMs - time < minIntervalSeconds * 1000)
        const may = within(3_600_000) < perHour && within(86_400_000) < perDay && !soon
        expect(to.choose({ camera, capturedAtMs: atMs }, null, 0) !== null).toBe(may)
        if (may) kept.set(camera, [...own, atMs])
      }
    }))
  })

  it('counts what was kept before a restart, and goes on when the clock was set back', () => {
    const to = selection({ perHour: 3 })
    to.recall([1, 2, 3].map(minute => ({ camera: 'door', capturedAtMs: 1e9 + minute * 60_000 })))
    const at = (minute: number) => to.choose({ camera: 'door', capturedAtMs: 1e9 + minute * 60_000 }, null, 0)
    expect(at(4)).toBeNull()
    expect(at(62)).not.toBeNull()
    expect(at(-1000)).not.toBeNull()
  })
})
