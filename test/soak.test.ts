import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { median, theilSen } from './soak/slope.js'
import { judge, quantities, table, type Reading } from './soak/verdict.js'

/** Half an hour, a reading every five seconds; one of ten jumps up by 200 for as long. */
function readings(agentMb: (seconds: number) => number): Reading[] {
  const flat = { agentMb: 0, classifierMb: 80, descriptors: 40, children: 1, threads: 20, files: 300, dataMb: 3 }
  return Array.from({ length: 360 }, (_, index) => {
    const seconds = index * 5
    return { seconds, values: { ...flat, agentMb: agentMb(seconds) + (index % 10 === 3 ? 200 : 0) } }
  })
}
const grown = (agentMb: (seconds: number) => number) =>
  judge(readings(agentMb), { warmUpSeconds: 300, long: true }).filter(({ grows }) => grows).map(({ quantity }) => quantity)

describe('the slope of a soak', () => {
  it('is that of a line, whatever a fifth of the points is instead', () => {
    fc.assert(fc.property(
      fc.double({ min: -50, max: 50, noNaN: true }), fc.double({ min: -1e3, max: 1e3, noNaN: true }),
      fc.array(fc.double({ min: -1e4, max: 1e4, noNaN: true }), { minLength: 4, maxLength: 4 }),
      (rise, start, wild) => {
        const points = Array.from({ length: 20 }, (_, x) => [x, start + rise * x] as const)
        const spoilt = points.map(([x, y], at) => [x, at % 5 === 2 ? wild[(at - 2) / 5] ?? y : y] as const)
        expect(theilSen(points).slope).toBeCloseTo(rise, 6)
        const { slope, interval: [low, high] } = theilSen(spoilt)
        expect(low).toBeLessThanOrEqual(slope)
        expect(high).toBeGreaterThanOrEqual(slope)
        expect(low - 1e-6).toBeLessThanOrEqual(rise)
        expect(high + 1e-6).toBeGreaterThanOrEqual(rise)
      },
    ))
  })

  it('of two points has no interval, and medians are those of sorted values', () => {
    expect(theilSen([[0, 1], [1, 3]])).toEqual({ slope: 2, interval: [-Infinity, Infinity] })
    expect([median([3, 1, 2]), median([4, 1, 2, 3]), median([])]).toEqual([2, 2.5, NaN])
  })

  it('finds a leak of 40 MB an hour below peaks, and nothing in what only warms up or breathes', () => {
    expect(grown(seconds => 100 + 40 * seconds / 3600)).toEqual(['agentMb'])
    expect(grown(seconds => 100 + 100 * Math.min(1, seconds / 300))).toEqual([])
    expect(grown(seconds => 120 + 15 * Math.sin(seconds / 40))).toEqual([])
    expect(grown(seconds => 200 - 40 * seconds / 3600)).toEqual([])
  })

  it('that is too short to tell is no pass', () => {
    expect(judge(readings(() => 100).slice(0, 70), { warmUpSeconds: 300, long: true }).every(({ unknown }) => unknown)).toBe(true)
    expect(judge(readings(() => 100), { warmUpSeconds: 300, long: true }).some(({ unknown }) => unknown)).toBe(false)
  })

  it('is told in a table, a row for each quantity', () => {
    const [, , ...rows] = table(judge(readings(seconds => 100 + 40 * seconds / 3600), { warmUpSeconds: 300, long: true }))
    expect(rows).toHaveLength(Object.keys(quantities).length)
    expect(rows[0]).toMatch(/^\| MB resident, the agent \| 103\.\d \| 119\.\d \| 40\.0 \| .* \| 20 \| GROWS \|$/)
    expect(rows.slice(1).every(row => row.endsWith('| flat |'))).toBe(true)
  })
})
