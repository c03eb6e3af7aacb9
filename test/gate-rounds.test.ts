/** Whether both gates keep their promises, over 10,000 simulated rounds each. */
import { describe, expect, it } from 'vitest'
import { decide, promotionSetOf } from '../agent/rounds/promotion.js'
import type { PairedEvidence, Predictions } from '../trainer/contract.js'
import { Random } from '../trainer/data/random.js'
import { gateOptions } from '../trainer/gate/pseudo-label-gate.js'
import { mcnemar, newClassesP, pairedGainScoreLower, normalUpperQuantile, signFlip, spentAlpha } from '../trainer/gate/statistics.js'
import { chanceOfPromotion, drawGrown, drawScenes } from './gate/promotions.js'
import { simulate, type Teacher } from './gate/rounds.js'

/** The most of so many rounds in which something of this chance still happens, four standard deviations up. */
const atMost = (rounds: number, chance: number) => rounds * chance + 4 * Math.sqrt(rounds * chance * (1 - chance))

describe('pseudo-label gate over whole rounds', () => {
  const { openAt, closeBelow, alpha } = gateOptions
  const even = (precision: number) => new Array<number>(7).fill(precision)
  const [good, fair, belowOpen, belowClose] = [even(0.95), even(0.9), even(openAt - 1e-4), even(closeBelow - 1e-4)]
  const worstAbove = [0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.9]
  const poorBelow = [0.97, 0.8, 0.6, 0.5, 0.5, 0.5, 0.5]
  const drift = Array.from({ length: 13 }, (_, look) => even(openAt - 1e-4 - (look / 12) * (openAt - closeBelow)))

  const teachers: Record<string, Teacher> = {
    'is just below the promise that opens, at every threshold': () => belowOpen,
    'is just below the promise that stays open, at every threshold': () => belowClose,
    'is worst where it is most confident': () => worstAbove,
    'is good where it is confident and poor below': () => poorBelow,
    'forgets what it knew in the middle of the round': look => (look < 5 ? good : belowClose),
    'drifts from just below one promise to just below the other': look => drift[look] ?? belowClose,
    'is spoilt by the first pseudo-labels that it is given': (_, opened) => (opened ? belowClose : fair),
  }
  // From looks that have nothing in common, where alpha is spent to the last, to looks that hardly differ.
  for (const [kept, rounds] of [[0, 1000], [0.7, 10_000], [0.97, 1000]] as const) {
    for (const [name, teacher] of Object.entries(teachers)) {
      it(`keeps both promises, ${String(rounds)} rounds, of a teacher that ${name} and repeats ${String(100 * kept)} % of its answers`, () => {
        const { openedWrongly, openWrongly } = simulate({ rounds, images: 300, kept, teacher, random: new Random(5) })
        expect(openedWrongly).toBeLessThanOrEqual(atMost(rounds, alpha))
        expect(openWrongly).toBeLessThanOrEqual(atMost(rounds, alpha))
      })
    }
  }

  it('keeps both promises of a teacher that is sure of nothing at first, and judges it then by what it had kept for the first look', () => {
    const seenOf = (precisions: number[]) =>
      simulate({ rounds: 10_000, images: 300, kept: 0.7, teacher: () => precisions, random: new Random(5), unsure: 5 })
    expect(seenOf(belowOpen).openedWrongly).toBeLessThanOrEqual(atMost(10_000, alpha))
    expect(seenOf(belowClose).openWrongly).toBeLessThanOrEqual(atMost(10_000, alpha))
    // One that is right in 90 of 100 opens at once in 27 of 100 rounds, as where it is sure from the start.
    expect(Math.abs(seenOf(fair).openedAtOnce - 2700)).toBeLessThan(150)
  })

  it('keeps both promises where the number of images that the teacher is sure of crosses what is needed by chance', () => {
    for (const precisions of [belowOpen, belowClose]) {
      for (const kept of [0, 0.7]) {
        const seen = simulate({ rounds: 5000, images: 75, kept, teacher: () => precisions, random: new Random(6) })
        expect(seen.openedWrongly).toBeLessThanOrEqual(atMost(5000, alpha))
        expect(seen.openWrongly).toBeLessThanOrEqual(atMost(5000, alpha))
      }
    }
  })

  it('would break its promise if every look spent all of alpha', () => {
    const { openedWrongly } = simulate({ rounds: 2000, images: 300, kept: 0, teacher: () => belowOpen, random: new Random(5), spendthrift: true })
    expect(openedWrongly).toBeGreaterThan(atMost(2000, alpha))
  })
})

// On counts: a challenger that McNemar's test does not prove better is never promoted (`gates.test.ts`), and the guards only refuse.
describe('promotion gate over many rounds', () => {
  const rounds = 10_000
  const share = (promoted: (random: Random) => boolean, random = new Random(3)) => {
    let count = 0
    for (let round = 0; round < rounds; round++) if (promoted(random)) count++
    return count
  }
  const alone = { sceneImages: 1, together: 0 }
  const winsAndLosses = (gains: readonly number[]) => [gains.filter(gain => gain > 0).length, gains.filter(gain => gain < 0).length] as const

  for (const [images, discordance] of [[100, 0.05], [100, 0.3], [300, 0.02], [300, 0.1]] as const) {
    it(`promotes a challenger as good as the champion no more often than alpha: ${String(images)} images, ${String(100 * discordance)} % discordant`, () => {
      const models = { images, discordance, gain: 0 }
      const promoted = share(random => mcnemar(...winsAndLosses(drawScenes(models, alone, random))) < 0.05)
      expect(promoted).toBeLessThanOrEqual(atMost(rounds, 0.05))
      // And as often as the binomials say: the simulation is one of this test.
      const exact = chanceOfPromotion(models, 0.05)
      expect(exact).toBeLessThan(0.05)
      expect(Math.abs(promoted - rounds * exact)).toBeLessThan(4 * Math.sqrt(rounds * exact * (1 - exact)) + 1)
    })
  }

  it('does so too on frames that are right or wrong together, where McNemar by image would not', () => {
    const models = { images: 200, discordance: 0.2, gain: 0 }
    for (const together of [0.3, 1]) {
      const scenes = { sceneImages: 5, together }
      expect(share(random => signFlip(drawScenes(models, scenes, random)) < 0.05)).toBeLessThanOrEqual(atMost(rounds, 0.05))
    }
    const byImage = share(random => {
      const gains = drawScenes(models, { sceneImages: 5, together: 1 }, random)
      const [wins, losses] = winsAndLosses(gains)
      return mcnemar(5 * wins, 5 * losses) < 0.05
    })
    expect(byImage).toBeGreaterThan(2 * rounds * 0.05)
  })

  it('promotes one of eight challengers in a row, on one set of images, no more often than alpha', () => {
    const models = { images: 200, discordance: 0.2, gain: 0 }
    // What one challenger has right tells of the next: half of the images go as they went for the last one.
    const promoted = share(random => {
      let gains = drawScenes(models, alone, random)
      for (let attempt = 1; attempt <= 8; attempt++) {
        if (mcnemar(...winsAndLosses(gains)) < spentAlpha(0.05, attempt)) return true
        const fresh = drawScenes(models, alone, random)
        gains = gains.map((gain, index) => (random.float() < 0.5 ? gain : fresh[index] ?? 0))
      }
      return false
    })
    expect(promoted).toBeLessThanOrEqual(atMost(rounds, 0.05))
  })

  it('shares alpha out over thirty challengers while the set of images grows by one for each, anew only at bounds a tenth apart', () => {
    const models = { images: 1, discordance: 0.15, gain: 0 }
    const sets = Array.from({ length: 31 }, (_, more) => promotionSetOf(200 + more))
    expect([...new Set(sets)]).toEqual(['190 to 207 images', '208 to 228 images', '229 to 251 images'])
    let promoted = 0
    for (let story = 0, random = new Random(4); story < 300; story++) {
      const attempts = new Map<string, number>()
      let gains = drawScenes({ ...models, images: 200 }, alone, random)
      for (const set of sets) {
        attempts.set(set, (attempts.get(set) ?? 0) + 1)
        if (mcnemar(...winsAndLosses(gains)) < spentAlpha(0.05, attempts.get(set) ?? 1)) {
          promoted++
          break
        }
        const fresh = drawScenes({ ...models, images: gains.length + 1 }, alone, random)
        gains = fresh.map((gain, index) => (random.float() < 0.5 ? gains[index] ?? gain : gain))
      }
    }
    // Three sets; and with each image a new one 116 of 300 would be.
    expect(promoted).toBeLessThan(atMost(300, 0.1))
  })

  const grown = [[346, 4, 0.3, 0.1], [100, 2, 0.9, 0.1], [60, 10, 0.6, 0.33], [200, 40, 0.1, 0.2], [200, 4, 0, 0.1]] as const
  for (const [known, fresh, recall, part] of grown) {
    const told = `of new classes ${String(100 * recall)} % of ${String(fresh)} images, and as much lost on ${String(known)} others`
    it(`promotes one that is no better over all classes no more often than alpha: ${told}`, () => {
      const loss = recall * part / (1 - part)
      const models = { images: known, discordance: Math.max(0.1, loss), gain: -loss }
      const promoted = share(random => newClassesP(...drawGrown(models, { images: fresh, recall }, part, random)) < 0.05)
      expect(promoted).toBeLessThanOrEqual(atMost(rounds, 0.05))
    })
  }

  for (const [name, recall, mixed, apart] of [
    ['what is lost is lost in the minutes of the new class', 0.9, { scenes: 20, fresh: 1, known: 5 }, { scenes: 100, known: 1 }],
    ['the new class is seen in one minute', 0.3, { scenes: 1, fresh: 10, known: 0 }, { scenes: 346, known: 1 }],
    ['minutes show several of each', 0.9, { scenes: 10, fresh: 2, known: 8 }, { scenes: 12, known: 10 }],
  ] as const) {
    it(`promotes one that is better neither way no more often than alpha where images share scenes: ${name}`, () => {
      const times = 1000
      const images = mixed.scenes * mixed.known + apart.scenes * apart.known
      // As much as is won of the new class as one of ten, lost wherever scenes show both, else anywhere.
      const places = mixed.known > 0 ? mixed.scenes * mixed.known : images
      const loss = (recall / 9) * images / places
      const random = new Random(5)
      let promoted = 0
      for (let round = 0; round < times; round++) {
        const shown: { scene: string; label: number; own: boolean; other: boolean }[] = []
        const add = (scene: string, fresh: number, known: number, right: boolean, lossHere: number) => {
          for (let image = 0; image < fresh; image++) shown.push({ scene, label: 9, own: right, other: false })
          for (let image = 0; image < known; image++) shown.push({ scene, label: image % 9, own: random.float() >= lossHere, other: true })
        }
        for (let scene = 0; scene < mixed.scenes; scene++) {
          add(`new ${String(scene)}`, mixed.fresh, mixed.known, random.float() < recall, mixed.known > 0 ? loss : 0)
        }
        for (let scene = 0; scene < apart.scenes; scene++) add(String(scene), 0, apart.known, true, mixed.known > 0 ? 0 : loss)
        const side = (right: (image: typeof shown[number]) => boolean): Predictions => ({
          predicted: shown.map(image => (right(image) ? image.label : -1)), nll: shown.map(() => 1), confidence: shown.map(() => 0.5),
        })
        const evidence: PairedEvidence = {
          classes: Array.from({ length: 10 }, (_, label) => String(label)),
          labels: shown.map(({ label }) => label), scenes: shown.map(({ scene }) => scene),
          challenger: side(({ own }) => own), champion: { ...side(({ other }) => other), unnamed: [9] },
        }
        const { comparison } = decide(evidence, { alpha: 0.05, attempt: 1, refreshMargin: 0, random: () => 0.5 })
        if (comparison.p < 0.05) promoted++
      }
      expect(promoted).toBeLessThanOrEqual(atMost(times, 0.05))
    }, 60_000)
  }

  it('names a promotion set by a size that it has, and each size by one', () => {
    for (let images = 1; images < 2000; images++) {
      const [least, most] = promotionSetOf(images).split(' to ').map(part => Number.parseInt(part, 10))
      expect([images >= (least ?? Infinity), images <= (most ?? 0)]).toEqual([true, true])
    }
  })

  it('refreshes with a challenger that is worse by the margin hardly more often than alpha: the bound is no exact one', () => {
    for (const [images, discordance] of [[300, 0.05], [1000, 0.1]] as const) {
      const promoted = share(random => {
        const [wins, losses] = winsAndLosses(drawScenes({ images, discordance, gain: -0.02 }, alone, random))
        return pairedGainScoreLower(wins, losses, images, normalUpperQuantile(0.05)) > -0.02
      })
      expect(promoted).toBeLessThanOrEqual(atMost(rounds, 0.06))
    }
  })
})
