import { describe, expect, it } from 'vitest'
import { fitted } from './bench/fit.js'
import { median, medianRatio } from './bench/measure.js'
import { tabled } from './bench/table.js'

describe('least squares', () => {
  it('finds the line that points lie on', () => {
    const { slope, intercept, r2 } = fitted([[1, 5], [2, 7], [4, 11]])
    expect([slope, intercept, r2]).toEqual([expect.closeTo(2), expect.closeTo(3), expect.closeTo(1)])
  })

  it('says how much a line leaves over', () => {
    const { slope, intercept, r2 } = fitted([[0, 0], [1, 2], [2, 1], [3, 3]])
    expect([slope, intercept, r2]).toEqual([expect.closeTo(0.8), expect.closeTo(0.3), expect.closeTo(0.64)])
  })

  it('explains points of one height', () => {
    expect(fitted([[1, 4], [2, 4]])).toEqual({ slope: 0, intercept: 4, r2: 1 })
  })
})

describe('medians', () => {
  it('are the middle, or the mean of the two', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
  })

  it('of ratios compare what was measured in the same turn', () => {
    expect(medianRatio([2, 30, 4], [1, 10, 1])).toBe(3)
  })
})

describe('a table', () => {
  it('sets text left, numbers right, and a dash for what is not known', () => {
    expect(tabled([{ name: 'nano', seconds: 0.43211, peakMb: 1450 }, { name: 'tiny', seconds: 123.4, peakMb: null }])).toEqual([
      'name  seconds  peakMb',
      'nano    0.432    1450',
      'tiny      123       -',
    ])
  })
})
