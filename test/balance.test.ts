import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { likeliestShare } from '../trainer/balance.js'
import { Random } from '../trainer/data/random.js'
import { fitTemperature, meanNll } from '../trainer/evidence.js'

const classCount = 4

/** Logits that name the right class the more surely, the greater `skill` is. */
function judge(labels: readonly number[], skill: number, seed: number): number[][] {
  const random = Random.of(seed)
  return labels.map(label => Array.from({ length: classCount }, (_, other) => random.normal() + (other === label ? skill : 0)))
}

function labelsOf(count: number, seed: number): number[] {
  const random = Random.of(seed)
  return Array.from({ length: count }, () => random.below(classCount))
}

describe('the share of what was trained', () => {
  const labels = labelsOf(300, 1)

  it('is small where it guesses, large where what was fitted guesses, and between where both know something of their own', () => {
    const [guess, knows, others] = [judge(labels, 0, 2), judge(labels, 3, 3), judge(labels, 3, 4)]
    expect(likeliestShare(knows, guess, labels)).toBeLessThan(0.3)
    expect(likeliestShare(guess, knows, labels)).toBeGreaterThan(0.7)
    expect(likeliestShare(knows, others, labels)).toBeGreaterThan(0.3)
    expect(likeliestShare(knows, others, labels)).toBeLessThan(0.7)
  })

  it('makes the images no less likely than either alone, at its best temperature', () => {
    const skill = fc.float({ min: 0, max: 4, noNaN: true })
    fc.assert(fc.property(fc.integer({ min: 1, max: 80 }), skill, skill, fc.nat(1000), (count, one, two, seed) => {
      const some = labelsOf(count, seed)
      const [fitted, trained] = [judge(some, one, seed + 1), judge(some, two, seed + 2)]
      const nll = (share: number) => {
        const both = fitted.map((row, image) => row.map((value, label) => (1 - share) * value + share * (trained[image]?.[label] ?? 0)))
        return meanNll(both, some, fitTemperature(both, some))
      }
      expect(nll(likeliestShare(fitted, trained, some))).toBeLessThanOrEqual(Math.min(nll(0), nll(1)) + 2e-6)
    }), { numRuns: 50 })
  })
})

describe('the temperature', () => {
  // Right on four of five, and far too sure.
  const logitsOf = (labels: readonly number[], seed: number) => judge(labels, 2, seed).map(row => row.map(value => 4 * value))
  const [labels, fresh] = [labelsOf(300, 1), labelsOf(2000, 2)]
  const cost = (temperature: number) => meanNll(logitsOf(fresh, 4), fresh, temperature)

  it('makes no model sure of everything because the few images that tell it are all right, and is the likeliest where many tell it', () => {
    const logits = logitsOf(labels, 3)
    const right = logits.map((row, image) => ({ row, label: labels[image] ?? 0 })).filter(({ row, label }) => row[label] === Math.max(...row))
    const few = right.slice(0, 5)
    const [rows, own] = [few.map(({ row }) => row), few.map(({ label }) => label)]
    expect([fitTemperature(rows, own) < 0.2, cost(fitTemperature(rows, own)) > 3 * cost(1)]).toEqual([true, true])
    expect(cost(fitTemperature(rows, own, 1))).toBeLessThan(1.7 * cost(1))
    const [likeliest, told] = [fitTemperature(logits, labels), fitTemperature(logits, labels, 1)]
    expect([likeliest > 1.5, Math.abs(told / likeliest - 1) < 0.02]).toEqual([true, true])
  })

  it('is 1 where no image shows a class that the model knows', () => {
    expect([fitTemperature([[3, 0]], [-1]), fitTemperature([], [], 1)]).toEqual([1, 1])
  })
})
