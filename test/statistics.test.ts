import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../trainer/data/random.js'
import {
  binomialUpperTail, clopperPearsonLower, clopperPearsonUpper, effectiveImages, holm, logGamma, mcnemar, newClassesP, normalUpperQuantile,
  pairedGainScoreLower, pairedPermutation, provesAtLeast, signFlip, spentAlpha, wilsonInterval,
} from '../trainer/gate/statistics.js'

const probability = fc.double({ min: 0.001, max: 0.999, noNaN: true })
const alphas = fc.constantFrom(0.001, 0.01, 0.05, 0.2)
/** Successes of a number of trials. */
const trialsUpTo = (most: number) =>
  fc.integer({ min: 1, max: most }).chain(trials => fc.tuple(fc.integer({ min: 0, max: trials }), fc.constant(trials)))

/** P(X = k) for X ~ Binomial(trials, p), by adding one trial at a time: no factorial, no logarithm. */
function binomial(trials: number, p: number): number[] {
  let chances = [1]
  for (let trial = 0; trial < trials; trial++) {
    chances = [...chances, 0].map((chance, k) => chance * (1 - p) + (chances[k - 1] ?? 0) * p)
  }
  return chances
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)

describe('proportions', () => {
  it('have a binomial tail that is the sum of its terms', () => {
    fc.assert(fc.property(trialsUpTo(80), probability, ([successes, trials], p) => {
      expect(binomialUpperTail(successes, trials, p)).toBeCloseTo(sum(binomial(trials, p).slice(successes)), 11)
    }))
    for (const p of [0.003, 0.5, 0.9]) {
      const chances = binomial(2000, p)
      for (const k of [1, 5, 950, 1000, 1030, 1790, 1999, 2000]) expect(binomialUpperTail(k, 2000, p)).toBeCloseTo(sum(chances.slice(k)), 10)
    }
    const edges: [number, number][] = [[0, 0.3], [11, 0.3], [3, 0], [3, 1]]
    expect(edges.map(([successes, p]) => binomialUpperTail(successes, 10, p))).toEqual([1, 0, 0, 1])
  })

  it('rest on a gamma function that continues the factorials', () => {
    let factorial = 1
    for (let n = 1; n <= 60; n++) {
      expect(logGamma(n) - Math.log(factorial)).toBeCloseTo(0, 11)
      factorial *= n
    }
    fc.assert(fc.property(fc.double({ min: 0.01, max: 1e4, noNaN: true }), x => {
      expect((logGamma(x + 1) - logGamma(x) - Math.log(x)) / Math.max(1, logGamma(x + 1))).toBeCloseTo(0, 11)
    }))
    expect(Math.exp(2 * logGamma(0.5))).toBeCloseTo(Math.PI, 12)
  })

  // Newcombe, Statistics in Medicine 17 (1998), table I: successes, trials, 95 % interval of Clopper-Pearson, of Wilson.
  const published: [number, number, [number, number], [number, number]][] = [
    [81, 263, [0.2527, 0.3676], [0.2553, 0.3662]],
    [15, 148, [0.0578, 0.1617], [0.0624, 0.1605]],
    [0, 20, [0, 0.1684], [0, 0.1611]],
    [1, 29, [0.0009, 0.1776], [0.0061, 0.1718]],
  ]
  for (const [successes, trials, exact, wilson] of published) {
    it(`have the published intervals at ${String(successes)} of ${String(trials)}`, () => {
      const bounds = [clopperPearsonLower(successes, trials, 0.025), clopperPearsonUpper(successes, trials, 0.025)]
      const found = [...bounds, ...wilsonInterval(successes, trials)]
      found.forEach((value, index) => { expect(value).toBeCloseTo([...exact, ...wilson][index]!, 4) })
    })
  }

  it('are proved by hits alone as far as the closed form says', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 3000 }), alphas, (trials, alpha) => {
      expect(clopperPearsonLower(trials, trials, alpha)).toBeCloseTo(alpha ** (1 / trials), 10)
      expect(clopperPearsonUpper(0, trials, alpha)).toBeCloseTo(1 - alpha ** (1 / trials), 10)
    }))
  })

  it('lie below their exact lower bound, or above the upper one, no more often than promised', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 60 }), probability, alphas, (trials, p, alpha) => {
      const chances = binomial(trials, p)
      expect(sum(chances.filter((_, k) => clopperPearsonLower(k, trials, alpha) > p))).toBeLessThanOrEqual(alpha + 1e-9)
      expect(sum(chances.filter((_, k) => clopperPearsonUpper(k, trials, alpha) < p))).toBeLessThanOrEqual(alpha + 1e-9)
    }))
  })

  it('lie within their bounds, which rise with every success and widen with the confidence', () => {
    fc.assert(fc.property(trialsUpTo(500), alphas, ([successes, trials], alpha) => {
      const lower = clopperPearsonLower(successes, trials, alpha)
      const [low, high] = wilsonInterval(successes, trials)
      for (const least of [lower, low]) expect(least).toBeLessThanOrEqual(successes / trials + 1e-12)
      for (const most of [clopperPearsonUpper(successes, trials, alpha), high]) expect(most).toBeGreaterThanOrEqual(successes / trials - 1e-12)
      expect(Math.min(lower, low)).toBeGreaterThanOrEqual(0)
      expect(high).toBeLessThanOrEqual(1)
      expect(clopperPearsonLower(successes, trials, alpha / 2)).toBeLessThanOrEqual(lower)
      expect(clopperPearsonLower(successes, trials + 1, alpha)).toBeLessThanOrEqual(lower)
      if (successes < trials) expect(clopperPearsonLower(successes + 1, trials, alpha)).toBeGreaterThan(lower)
    }))
  })

  it('need as many hits for a Wilson bound of 90 % as the method states', () => {
    const bound = (wrong: number, images: number) => wilsonInterval(images - wrong, images, 1.644854)[0]
    for (const [wrong, images] of [[0, 25], [1, 42], [2, 58], [3, 72]] as const) {
      expect(bound(wrong, images)).toBeGreaterThanOrEqual(0.9)
      expect(bound(wrong, images - 1)).toBeLessThan(0.9)
    }
    expect(bound(0, 5)).toBeCloseTo(0.65, 2)
  })

  it('are proved exactly where their lower bound lies above the promise', () => {
    fc.assert(fc.property(trialsUpTo(500), probability, alphas, ([successes, trials], promise, alpha) => {
      expect(provesAtLeast(promise, successes, trials, alpha)).toBe(clopperPearsonLower(successes, trials, alpha) > promise)
    }))
  })

  it('are unknown without a trial', () => {
    expect([clopperPearsonLower(0, 0, 0.05), clopperPearsonUpper(0, 0, 0.05), ...wilsonInterval(0, 0)]).toEqual([0, 1, 0, 1])
  })
})

describe('McNemar', () => {
  it('counts the coin tosses that come out as well or better', () => {
    for (let pairs = 0; pairs <= 12; pairs++) {
      const heads = Array.from({ length: 2 ** pairs }, (_, tosses) => tosses.toString(2).replaceAll('0', '').length)
      for (let wins = 0; wins <= pairs; wins++) {
        expect(mcnemar(wins, pairs - wins)).toBeCloseTo(heads.filter(count => count >= wins).length / heads.length, 12)
      }
    }
  })

  it('needs as many wins as the method states', () => {
    for (const [pairs, wins] of [[6, 6], [10, 9], [20, 15], [50, 32]] as const) {
      expect(mcnemar(wins, pairs - wins)).toBeLessThan(0.05)
      expect(mcnemar(wins - 1, pairs - wins + 1)).toBeGreaterThan(0.05)
    }
    for (let wins = 0; wins < 5; wins++) expect(mcnemar(wins, 0)).toBeGreaterThan(0.05)
  })

  it('calls equal models different no more often than alpha, whatever the number of pairs', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 200 }), fc.double({ min: 1e-4, max: 0.5, noNaN: true }), (pairs, alpha) => {
      expect(sum(binomial(pairs, 0.5).filter((_, wins) => mcnemar(wins, pairs - wins) < alpha))).toBeLessThanOrEqual(alpha + 1e-9)
    }))
  })
})

/** All sign flips of whole numbers, one by one: the share whose sum is as large. */
function flipped(values: readonly number[]): number {
  const observed = sum(values)
  let asLarge = 0
  for (let flips = 0; flips < 2 ** values.length; flips++) {
    if (sum(values.map((value, index) => ((flips >> index) & 1 ? -value : value))) >= observed) asLarge++
  }
  return asLarge / 2 ** values.length
}

describe('sign flips of scenes', () => {
  it('are counted exactly', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: -5, max: 5 }), { maxLength: 10 }), values => {
      expect(signFlip(values)).toBeCloseTo(flipped(values), 12)
    }))
  })

  it('are McNemar\'s test where no scene has more than one image between the models, however many there are', () => {
    fc.assert(fc.property(fc.nat(300), fc.nat(300), fc.nat(50), (wins, losses, ties) => {
      const scenes = [...new Array<number>(wins).fill(1), ...new Array<number>(losses).fill(-1), ...new Array<number>(ties).fill(0)]
      expect(signFlip(scenes)).toBe(mcnemar(wins, losses))
      // By way of the sums too: twice as much of everything changes nothing.
      expect(signFlip(scenes.map(gain => 2 * gain))).toBeCloseTo(mcnemar(wins, losses), 10)
    }))
  })

  it('ask for scenes, not for images: five scenes prove nothing, six do', () => {
    expect(signFlip(new Array<number>(5).fill(40))).toBe(1 / 32)
    expect(signFlip([100])).toBe(0.5)
    expect(signFlip([])).toBe(1)
    expect(signFlip(new Array<number>(2000).fill(3))).toBe(0)
  })

  it('are worth as many images as there are scenes when these are alike, and fewer when they are not', () => {
    expect([effectiveImages([1, 1, 1]), effectiveImages([5, 5]), effectiveImages([])]).toEqual([3, 2, 0])
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), scenes => {
      expect(effectiveImages(scenes)).toBeLessThanOrEqual(scenes.length + 1e-9)
      expect(effectiveImages(scenes)).toBeGreaterThanOrEqual(1)
    }))
  })
})

describe('several tests', () => {
  const pValues = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 })

  it('are adjusted as in Holm\'s textbook example', () => {
    holm([0.01, 0.04, 0.03, 0.005]).forEach((p, index) => { expect(p).toBeCloseTo([0.03, 0.06, 0.06, 0.02][index]!, 12) })
    expect(holm([])).toEqual([])
  })

  it('are rejected exactly where Holm\'s step-down rejects', () => {
    fc.assert(fc.property(pValues, fc.double({ min: 0.001, max: 0.5, noNaN: true }), (raw, alpha) => {
      const order = raw.map((p, index) => ({ p, index })).sort((a, b) => a.p - b.p)
      const stop = order.findIndex(({ p }, rank) => p * (raw.length - rank) >= alpha)
      const rejected = new Set(order.slice(0, stop < 0 ? undefined : stop).map(({ index }) => index))
      expect(holm(raw).map(p => p < alpha)).toEqual(raw.map((_, index) => rejected.has(index)))
    }))
  })

  it('keep their order, never gain by the adjustment, and never lose more than by Bonferroni', () => {
    fc.assert(fc.property(pValues, raw => {
      const adjusted = holm(raw)
      adjusted.forEach((p, index) => {
        expect(p).toBeGreaterThanOrEqual(raw[index]!)
        expect(p).toBeLessThanOrEqual(Math.min(1, raw[index]! * raw.length))
        adjusted.forEach((other, at) => { if (raw[index]! < raw[at]!) expect(p).toBeLessThanOrEqual(other) })
      })
    }))
  })

  it('spend less than alpha together, over however many attempts, and nearly all of it', () => {
    fc.assert(fc.property(fc.double({ min: 0.001, max: 0.5, noNaN: true }), fc.integer({ min: 1, max: 20_000 }), (alpha, attempts) => {
      const spent = Array.from({ length: attempts }, (_, index) => spentAlpha(alpha, index + 1))
      expect(sum(spent)).toBeLessThan(alpha)
      expect(spent).toEqual([...spent].sort((a, b) => b - a))
    }), { numRuns: 30 })
    expect(sum(Array.from({ length: 10_000 }, (_, index) => spentAlpha(0.05, index + 1)))).toBeGreaterThan(0.04999)
  })
})

describe('paired permutation', () => {
  it('agrees with the count of all sign flips, ties included', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: -5, max: 5 }), { minLength: 1, maxLength: 10 }), fc.nat(), (tenths, seed) => {
      const random = new Random(seed)
      const exact = flipped(tenths)
      const found = pairedPermutation(tenths.map(value => value / 10), () => random.float())
      expect(Math.abs(found - exact)).toBeLessThan(5 * Math.sqrt((exact * (1 - exact)) / 2000) + 1 / 2000)
    }), { seed: 1, numRuns: 200 })
  })

  it('is never certain, and knows nothing without a difference', () => {
    const random = new Random(1)
    const p = (differences: number[]) => pairedPermutation(differences, () => random.float())
    expect(p(Array.from({ length: 100 }, () => 1))).toBeCloseTo(1 / 2001, 12)
    expect(p(Array.from({ length: 100 }, () => -1))).toBe(1)
    expect([p([]), p([0, 0, 0])]).toEqual([1, 1])
  })
})

describe('the bound of the paired gain', () => {
  it('lies below the gain, falls with every loss, and has its closed form where no pair is discordant', () => {
    fc.assert(fc.property(fc.nat(100), fc.nat(100), fc.nat(1000), (wins, losses, ties) => {
      const images = wins + losses + ties + 1
      const bound = pairedGainScoreLower(wins, losses, images)
      expect(bound).toBeLessThan((wins - losses) / images + 1e-9)
      expect(bound).toBeGreaterThanOrEqual(-1)
      expect(pairedGainScoreLower(wins, losses + 1, images + 1)).toBeLessThan(bound)
    }))
    expect(pairedGainScoreLower(0, 0, 0)).toBe(-1)
    for (const images of [1, 50, 1000]) {
      expect(pairedGainScoreLower(0, 0, images)).toBeCloseTo(-(1.644854 ** 2) / (images + 1.644854 ** 2), 9)
      expect(pairedGainScoreLower(0, images, images)).toBeCloseTo(-1, 6)
    }
  })

  it('lets at most about 5 of 100 models pass that are worse by just the tolerance, however seldom they differ', () => {
    for (const [images, tolerance] of [[300, 0.01], [1000, 0.01], [100, 0.05]] as const) {
      for (const win of [0, 0.001, 0.01, 0.04]) {
        const lose = win + tolerance
        const passed = sum(binomial(images, win + lose).flatMap((chance, pairs) => (chance < 1e-7 ? [] : binomial(pairs, win / (win + lose))
          .map((share, wins) => (share > 1e-5 && pairedGainScoreLower(wins, pairs - wins, images) > -tolerance ? chance * share : 0)))))
        expect(passed).toBeLessThan(0.065)
      }
    }
  })

  it('excludes about the loss that Wald\'s bound would, where the models differ on a tenth of the images, and never more', () => {
    for (const [images, loss] of [[100, 0.052], [200, 0.037], [500, 0.023], [1000, 0.016]] as const) {
      const bound = -pairedGainScoreLower(images / 20, images / 20, images)
      expect(bound).toBeGreaterThan(loss - 0.0005)
      expect(bound).toBeLessThan(loss * 1.1)
    }
  })

  it('holds about 95 times in 100 where models differ on a fifth of 100 images', () => {
    for (const [win, lose] of [[0.1, 0.1], [0.15, 0.05], [0.05, 0.15], [0.3, 0.1]] as const) {
      const discordant = binomial(100, win + lose)
      const held = sum(discordant.flatMap((chance, pairs) => (chance < 1e-7 ? [] : binomial(pairs, win / (win + lose))
        .map((share, wins) => (pairedGainScoreLower(wins, pairs - wins, 100) <= win - lose ? chance * share : 0)))))
      expect(held).toBeGreaterThan(0.94)
      expect(held).toBeLessThan(0.99)
    }
  })

  it('joins what is new with what was won and lost elsewhere: more right and more won prove more, more lost less, nothing else nothing', () => {
    const amounts = [fc.nat(10), fc.nat(10), fc.nat(15), fc.nat(15), fc.nat(200), fc.double({ min: 0.02, max: 0.5, noNaN: true })] as const
    fc.assert(fc.property(...amounts, (right, wrong, wins, losses, ties, share) => {
      const [shown, images] = [right + wrong + 1, wins + losses + ties + 1]
      const p = (more: number, won: number, lost: number) =>
        newClassesP({ right: right + more, images: shown }, share, { wins: wins + won, losses: losses + lost, images })
      expect(p(0, 0, 0)).toBeGreaterThanOrEqual(0)
      expect(p(0, 0, 0)).toBeLessThanOrEqual(1)
      expect(p(1, 0, 0)).toBeLessThanOrEqual(p(0, 0, 0))
      expect(p(0, 1, 0)).toBeLessThanOrEqual(p(0, 0, 0))
      expect(p(0, 0, 1)).toBeGreaterThanOrEqual(p(0, 0, 0))
      expect(newClassesP({ right, images: shown }, share, { wins: 0, losses: 0, images: 0 })).toBe(1)
    }), { numRuns: 40 })
    // All of what is new, and no image of the others lost: hardly anything but the few images of the others speaks against it.
    expect(newClassesP({ right: 30, images: 30 }, 0.5, { wins: 0, losses: 0, images: 500 })).toBeLessThan(1e-9)
  })

  it('is asked at the deviations that a table of the normal distribution gives', () => {
    for (const [alpha, z] of [[0.5, 0], [0.05, 1.644854], [0.025, 1.959964], [0.001, 3.090232], [1e-6, 4.753424]] as const) {
      expect(normalUpperQuantile(alpha)).toBeCloseTo(z, 5)
    }
  })
})
