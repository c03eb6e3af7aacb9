/** The losses of a round: short enough to be kept, and true. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { emptyCurve, pointsOf, withStep, type LossCurve, type Losses } from '../trainer/losses.js'

const curveOf = (losses: readonly Losses[]) => losses.reduce<LossCurve>((curve, loss, index) => withStep(curve, index + 1, loss), emptyCurve())
const of = (labeled: number | null): Losses => ({ reconstruction: 1, labeled, unlabeled: null })

describe('the curve of losses', () => {
  it('ends with the last step, has at most 200 points, and what is constant stays so, however long the round', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 3000 }), steps => {
      const points = pointsOf(curveOf(Array.from({ length: steps }, () => of(2))))
      expect(points.at(-1)?.step).toBe(steps)
      expect(points.length).toBeLessThanOrEqual(200)
      expect(points.every(({ reconstruction, labeled, unlabeled }) => reconstruction === 1 && labeled === 2 && unlabeled === null)).toBe(true)
      expect(points.map(({ step }) => step)).toEqual(points.map(({ step }) => step).toSorted((a, b) => a - b))
    }), { numRuns: 30 })
  })

  it('is a mean over the steps in which a branch was computed, and over none of the others', () => {
    const points = pointsOf(curveOf(Array.from({ length: 1001 }, (_, index) => of(index < 500 ? null : 3))))
    expect(new Set(points.map(({ labeled }) => labeled))).toEqual(new Set([null, 3]))
    const rising = pointsOf(curveOf(Array.from({ length: 400 }, (_, index) => of(index + 1))))
    for (const { step, labeled } of rising) expect(labeled).toBeLessThanOrEqual(step)
  })

  it('goes on after an interruption as if there had been none', () => {
    const losses = Array.from({ length: 777 }, (_, index) => of(index % 7))
    const before = JSON.parse(JSON.stringify(curveOf(losses.slice(0, 333)))) as LossCurve
    expect(losses.slice(333).reduce((curve, loss, index) => withStep(curve, 334 + index, loss), before)).toEqual(curveOf(losses))
  })
})
