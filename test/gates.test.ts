import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { accuracyOf, decide, type PromotionReason, type Verdict } from '../agent/rounds/promotion.js'
import type { PairedEvidence, Predictions } from '../trainer/contract.js'
import { Random } from '../trainer/data/random.js'
import { alphaOf, closedGate, gateOptions, lookThroughGate, prove, thresholds, type GateEvidence, type GateState } from '../trainer/gate/pseudo-label-gate.js'
import { clopperPearsonLower, mcnemar } from '../trainer/gate/statistics.js'

const classes = ['a', 'b', 'c']

describe('pseudo-label gate', () => {
  const { openAt, closeBelow, leastAccepted, leastPerClass, patience, alpha } = gateOptions
  const looks = 13
  const first = closedGate(looks)

  /** What the teacher said of one image: class, confidence, and whether it is right. */
  interface Sight { predicted: number; confidence: number; right: boolean }

  const evidenceOf = (sights: readonly Sight[]): GateEvidence => ({
    step: 1,
    classes,
    probabilities: sights.map(({ predicted, confidence }) => classes.map((_, label) => (label === predicted ? confidence : (1 - confidence) / 2))),
    labels: sights.map(({ predicted, right }) => (right ? predicted : (predicted + 1) % classes.length)),
  })
  const look = (sights: readonly Sight[], state: GateState = first) => lookThroughGate('precision', state, evidenceOf(sights))

  /** So many images predicted as one class at one confidence, the first of them wrong. */
  const of = (predicted: number, images: number, wrong: number, confidence = 0.995) =>
    Array.from({ length: images }, (_, index): Sight => ({ predicted, confidence, right: index >= wrong }))
  const ofEach = (images: number, wrong: number, confidence = 0.995) => classes.flatMap((_, label) => of(label, images, wrong, confidence))

  /** Teachers of any quality, on few or many images. */
  const teachers = fc.record({ images: fc.nat(300), precision: fc.double({ min: 0.4, max: 1, noNaN: true }), seed: fc.nat() })
    .map(({ images, precision, seed }) => {
      const random = new Random(seed)
      return Array.from({ length: images }, (): Sight => ({
        predicted: random.below(classes.length), confidence: 1 - random.float() ** 2 / 2, right: random.float() < precision,
      }))
    })

  it('opens only on enough images above its threshold, of proved precision, as its look tells', () => {
    let opened = 0
    fc.assert(fc.property(teachers, sights => {
      const { look: seen, next } = look(sights)
      expect([seen.open, seen.threshold !== null]).toEqual([next.open, next.open])
      if (seen.threshold === null) return
      const { threshold } = seen
      const above = sights.filter(({ confidence }) => confidence >= threshold)
      opened++
      expect(thresholds).toContain(threshold)
      expect([seen.accepted, seen.correct]).toEqual([above.length, above.filter(({ right }) => right).length])
      expect(seen.accepted).toBeGreaterThanOrEqual(leastAccepted)
      expect(seen.precisionLowerBound).toBe(clopperPearsonLower(seen.correct, seen.accepted, alphaOf(first)))
      expect(seen.precisionLowerBound).toBeGreaterThanOrEqual(openAt)
    }), { seed: 1, numRuns: 400 })
    expect(opened).toBeGreaterThan(30)
  })

  it('stays closed on one image too few, all of them right', () => {
    expect(look(of(0, leastAccepted - 1, 0)).look).toMatchObject({ open: false, threshold: null, accuracy: 1 })
    expect(look(of(0, leastAccepted, 0)).look).toMatchObject({ open: true, threshold: 0.7, accepted: leastAccepted })
  })

  it('walks down to the last threshold that is proved, over those with too few images, and not past one that fails', () => {
    const sights = [...ofEach(1, 1, 0.995), ...ofEach(80, 1, 0.96), ...ofEach(40, 38, 0.92), ...ofEach(900, 0, 0.75)]
    expect(look(sights).look).toMatchObject({ threshold: 0.95, accepted: 243, correct: 237 })
  })

  it('does not depend on the order of the images', () => {
    fc.assert(fc.property(teachers, fc.nat(), (sights, seed) => {
      expect(look([...new Random(seed).permutation(sights.length)].map(index => sights[index]!))).toEqual(look(sights))
    }))
  })

  it('never closes because the teacher was right once more', () => {
    fc.assert(fc.property(teachers, fc.nat(), (sights, at) => {
      const better = sights.map((sight, index) => (index === at % sights.length ? { ...sight, right: true } : sight))
      if (look(sights).look.open) expect(look(better).look.open).toBe(true)
    }))
  })

  it('refuses the pseudo-labels of a class that is wrong, or hardly seen, and says which', () => {
    const { look: seen, classWeights } = look([...of(0, 150, 0), ...of(1, 15, 15), ...of(2, leastPerClass - 1, 0)])
    expect(seen).toMatchObject({ open: true, vetoed: ['b', 'c'] })
    expect(classWeights).toEqual([1, 0, 0])
  })

  it('lets every class through that is seen enough and as precise as promised', () => {
    fc.assert(fc.property(teachers, sights => {
      const { look: { threshold, vetoed }, classWeights } = look(sights)
      if (threshold === null) return
      expect(vetoed).toEqual(classes.filter((_, label) => classWeights[label] === 0))
      classWeights.forEach((weight, label) => {
        const own = sights.filter(({ predicted, confidence }) => predicted === label && confidence >= threshold)
        const precise = own.filter(({ right }) => right).length >= own.length * openAt
        if (own.length < leastPerClass) expect(weight).toBe(0)
        else if (precise) expect(weight).toBe(1)
      })
    }), { numRuns: 300 })
  })

  it('opens on the high promise, stays open on the low one, pauses when it proves neither, and closes when that is twice in a row', () => {
    // Proves both; the low one only; neither: at any look's share of alpha.
    const sightsOf = { good: ofEach(60, 2), fair: [...of(0, 60, 7), ...of(1, 60, 6), ...of(2, 60, 6)], poor: ofEach(25, 5) }
    fc.assert(fc.property(fc.array(fc.constantFrom('good', 'fair', 'poor'), { maxLength: looks }), course => {
      let [state, held, failures] = [first, false, 0]
      for (const quality of course) {
        const open = quality === 'good' || (quality === 'fair' && held)
        failures = open ? 0 : failures + 1
        held = open || (held && failures < patience)
        const { look: seen, next } = look(sightsOf[quality], state)
        expect(seen).toMatchObject({ open, threshold: open ? 0.7 : null })
        expect(next.open).toBe(held)
        if (open) expect(seen.precisionLowerBound).toBeGreaterThanOrEqual(state.open ? closeBelow : openAt)
        state = next
      }
    }))
  })

  it('shares alpha out among the looks of a round, half of it to the first, and proves nothing at a look that was not planned', () => {
    for (const planned of [1, 2, looks, 100]) {
      const shares = Array.from({ length: planned }, (_, taken) => alphaOf({ ...closedGate(planned), taken }))
      expect(shares.reduce((total, share) => total + share, 0)).toBeCloseTo(alpha, 12)
      expect(new Set(shares.slice(1)).size).toBeLessThan(2)
      if (planned > 1) expect(shares[0]).toBeCloseTo(alpha / 2, 12)
    }
    let state = first
    for (let taken = 0; taken < looks; taken++) {
      const decision = look(ofEach(300, 0), state)
      expect(decision.look.open).toBe(true)
      state = decision.next
    }
    expect(look(ofEach(300, 0), state).look.open).toBe(false)
  })

  it('spends nothing at a look with too few sure images to judge by', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: leastAccepted - 1 }), fc.nat(looks), fc.boolean(), (few, taken, open) => {
      const state = { ...first, taken, open }
      expect(look(of(0, few, 0), state).next.taken).toBe(taken)
      expect(look(of(0, leastAccepted, 0), state).next.taken).toBe(taken + 1)
    }))
  })

  it('decides on counts alone', () => {
    fc.assert(fc.property(teachers, fc.nat(looks), fc.boolean(), (sights, taken, open) => {
      const state = { ...first, taken, open }
      const tallies = thresholds.map(threshold => {
        const above = sights.filter(({ confidence }) => confidence >= threshold)
        return { accepted: above.length, correct: above.filter(({ right }) => right).length }
      })
      const { level } = prove(state, tallies)
      const { look: seen, classWeights } = look(sights, state)
      expect(seen.threshold).toBe(level === null || !classWeights.includes(1) ? null : thresholds[level])
    }))
  })

  it('can be held open or shut, or be as lenient as the paper\'s, which one lucky hit opens', () => {
    const kinds = (sights: Sight[]) => (['never', 'always', 'paper'] as const).map(kind => lookThroughGate(kind, first, evidenceOf(sights)).look.open)
    expect(kinds([])).toEqual([false, true, false])
    expect(kinds(of(0, 1, 0, 0.96))).toEqual([false, true, true])
    expect(kinds(of(0, 100, 31, 0.96))).toEqual([false, true, false])
    expect(kinds([...of(0, 100, 30, 0.96), ...of(1, 900, 900, 0.9)])).toEqual([false, true, true])
  })
})

describe('promotion gate', () => {
  /** Predictions that are right where said, sure of themselves by `nll` nats. */
  const predictions = (labels: number[], right: boolean[], nll: (right: boolean) => number): Predictions => ({
    predicted: labels.map((label, index) => (right[index] ? label : (label + 1) % classes.length)), nll: right.map(nll),
    confidence: right.map(() => 0.75),
  })
  const usual = (right: boolean): number => (right ? 0.2 : 1.5)

  /** Images of each class, and how many of them (of all: the first, of class after class) each model has right. */
  function evidence(images: number, challenger: (index: number, label: number) => boolean, champion: ((index: number) => boolean) | null,
    nll = usual): PairedEvidence {
    const labels = Array.from({ length: images }, (_, index) => index % classes.length)
    return {
      classes, labels, scenes: labels.map((_, index) => String(index)),
      challenger: predictions(labels, labels.map((label, index) => challenger(index, label)), nll),
      champion: champion && predictions(labels, labels.map((_, index) => champion(index)), usual),
    }
  }

  const judge = (paired: PairedEvidence, alpha = 0.05, attempt = 1, refreshMargin = 0): Verdict => {
    const random = new Random(1)
    return decide(paired, { alpha, attempt, refreshMargin, random: () => random.float() })
  }

  const below = (count: number) => (index: number) => index < count
  const cases: [PromotionReason, string, PairedEvidence][] = [
    ['first-model', 'nothing serves yet and it surely beats guessing', evidence(60, below(40), null)],
    ['below-chance', 'nothing serves yet and it may be guessing', evidence(60, below(22), null)],
    ['better', 'it wins far more images than it loses', evidence(120, below(110), below(80))],
    ['inconclusive', 'the two are the same', evidence(120, below(90), below(90))],
    ['inconclusive', 'it wins too few images to tell', evidence(120, below(93), below(90))],
    ['regressed', 'it loses images', evidence(120, below(80), below(90))],
    ['class-regressed', 'it wins over all but loses a class', evidence(300, (_, label) => label !== 2, below(150))],
    ['likelihood-worse', 'it is right as often but far too sure of itself', evidence(120, below(105), below(90), right => (right ? 0.3 : 9))],
    ['no-evidence', 'no image could be read', evidence(0, below(0), below(0))],
  ]
  it('guards against a worse one at all of alpha, whatever share of it is spent', () => {
    const verdict = decide(evidence(120, below(85), below(90)), { alpha: 0.05, share: 0.5, attempt: 1, refreshMargin: 0.2, random: () => 0.5 })
    expect([verdict.reason, verdict.comparison.alpha]).toEqual(['regressed', 0.025 * 6 / Math.PI ** 2])
  })
  for (const [reason, when, paired] of cases) {
    it(`says "${reason}" when ${when}`, () => {
      const verdict = judge(paired)
      expect([verdict.reason, verdict.promoted]).toEqual([reason, reason === 'better' || reason === 'first-model'])
      expect(verdict.explanation).not.toBe('')
      if (reason === 'class-regressed') expect(verdict.explanation).toContain('"c"')
    })
  }

  it('asks more of a first model at every further attempt, so that one that guesses hardly ever serves, however often it is tried', () => {
    const modest = evidence(60, below(31), null)
    expect([1, 2, 8].map(attempt => judge(modest, 0.05, attempt).reason)).toEqual(['first-model', 'first-model', 'below-chance'])
    const [random, rounds] = [new Random(2), 500]
    let served = 0
    for (let round = 0; round < rounds; round++) {
      // It names one of three classes by chance.
      const guesses = () => evidence(60, () => random.below(3) === 0, null)
      if ([1, 2, 3, 4, 5, 6, 7, 8].some(attempt => judge(guesses(), 0.05, attempt).promoted)) served++
    }
    expect(served).toBeLessThanOrEqual(0.05 * rounds)
  })

  it('promotes with a class that no image judges, and says so', () => {
    const paired = evidence(120, below(110), below(80))
    const { promoted, explanation } = judge({ ...paired, classes: [...paired.classes, 'glove'] })
    expect([promoted, explanation]).toEqual([true, expect.stringMatching(/; nothing judges "glove": label more of it$/)])
    expect(judge(paired).explanation).not.toContain('nothing judges')
  })

  it('records how far the confidence of both is from how often they are right', () => {
    const { comparison } = judge(evidence(120, below(108), below(72)))
    expect(comparison.eceChallenger).toBeCloseTo(0.9 - 0.75, 9)
    expect(comparison.eceChampion).toBeCloseTo(0.75 - 0.6, 9)
    expect(judge(evidence(60, below(40), null)).comparison.eceChampion).toBeNull()
  })

  it('counts a class that the champion does not know as lost by the champion', () => {
    const paired = evidence(90, () => true, below(60))
    const blind: Predictions = { ...paired.champion!, predicted: paired.champion!.predicted.map((label, index) => (index < 60 ? label : -1)) }
    expect(judge({ ...paired, champion: blind })).toMatchObject({ promoted: true, comparison: { wins: 30, losses: 0 } })
  })

  it('counts a class that the champion cannot name as one of the classes, however few images show it', () => {
    // Of two classes 60 images each, as many won as lost; of the third four, which only the challenger can have right.
    const grown = (right: number, lost = 3): PairedEvidence => {
      const labels = Array.from({ length: 124 }, (_, index) => (index < 120 ? index % 2 : 2))
      const own = predictions(labels, labels.map((_, index) => (index < 120 ? index >= lost : index < 120 + right)), usual)
      const other = predictions(labels, labels.map((_, index) => index < 120 && (index < 3 || index >= 6)), usual)
      return { classes, labels, scenes: labels.map((_, index) => String(index)), challenger: own, champion: { ...other, unnamed: [2] } }
    }
    const verdict = judge(grown(4))
    expect(verdict).toMatchObject({ promoted: true, reason: 'better', comparison: { wins: 7, losses: 3 } })
    expect(verdict.explanation).toContain('7 won, 3 lost of 124 images, 4 of 4 right of "c", which the model in service cannot name (p = ')
    expect([judge(grown(1)).reason, judge(grown(0)).reason]).toEqual(['inconclusive', 'inconclusive'])
    // As a class among the images it would need more than four.
    expect(judge({ ...grown(4), champion: { ...grown(4).champion!, unnamed: [] } }).reason).toBe('inconclusive')
    expect(judge(grown(4, 20)).reason).toBe('regressed')
    // What many images prove needs no help of the others.
    const many = evidence(90, () => true, () => true)
    const some = <T>(values: readonly T[]) => values.filter((_, index) => index < 27 || many.labels[index] === 2)
    const [labels, scenes] = [some(many.labels), some(many.scenes)]
    const [challenger, champion] = [predictions(labels, labels.map(() => true), usual), predictions(labels, labels.map(label => label !== 2), usual)]
    const byImage = judge({ classes, labels, scenes, challenger, champion: { ...champion, unnamed: [2] } })
    expect(byImage).toMatchObject({ promoted: true, comparison: { wins: 30, losses: 0, images: 48 } })
    expect(byImage.comparison.p).toBeCloseTo(2 * mcnemar(30, 0), 12)
    // Neither can name it: it shows nothing.
    expect(judge({ ...grown(0), challenger: { ...grown(0).challenger, unnamed: [2] } }).comparison.p).toBe(mcnemar(3, 3))
    // Four images of one minute are one, of four minutes four.
    const inOne = (scenes: (index: number) => string) => judge({ ...grown(4), scenes: grown(4).labels.map((_, index) => scenes(index)) })
    expect([inOne(index => (index < 120 ? String(index) : 'new')).reason, inOne(String).reason]).toEqual(['inconclusive', 'better'])
    // What is lost in the minutes of the new class counts, what is won there has counted already; so does each known image of one minute as one.
    const lostThere = inOne(index => String(index < 3 ? 120 + index : index))
    const wonThere = inOne(index => String(index >= 3 && index < 6 ? 117 + index : index))
    expect(lostThere.comparison.p).toBeGreaterThanOrEqual(verdict.comparison.p)
    expect(wonThere.comparison.p).toBeGreaterThan(verdict.comparison.p)
    // Nothing of what is shown can the champion name: as many wins as images.
    const renamed = { ...grown(4), champion: { ...grown(4).champion!, predicted: grown(4).labels.map(() => -1), unnamed: [0, 1, 2] } }
    expect(judge(renamed)).toMatchObject({ promoted: true, comparison: { wins: 121, losses: 0, p: 2 * mcnemar(121, 0) } })
    expect(verdict.comparison.newClasses).toEqual(['c'])
    // Who tells more classes apart is less sure of each; the champion held the new one to be impossible.
    const doubtful = { ...grown(4), champion: { ...grown(4).champion!, nll: grown(4).labels.map(label => (label === 2 ? 27 : 0.1)) } }
    expect(judge(doubtful).reason).toBe('better')
  })

  const bits = fc.array(fc.tuple(fc.boolean(), fc.boolean(), fc.nat(2)), { minLength: 1, maxLength: 80 })
  const pairOf = (images: [boolean, boolean, number][]): PairedEvidence => {
    const labels = images.map(([, , label]) => label)
    const [own, other] = [images.map(([hit]) => hit), images.map(([, hit]) => hit)]
    const scenes = labels.map((_, index) => String(index))
    return { classes, labels, scenes, challenger: predictions(labels, own, usual), champion: predictions(labels, other, usual) }
  }

  it('gives the counts that it decided on, and promotes only what is proved by them', () => {
    fc.assert(fc.property(bits, fc.integer({ min: 1, max: 9 }), (images, attempt) => {
      const paired = pairOf(images)
      const { promoted, comparison } = judge(paired, 0.3, attempt)
      const wins = images.filter(([own, other]) => own && !other).length
      const losses = images.filter(([own, other]) => !own && other).length
      expect(comparison).toMatchObject({ images: images.length, wins, losses, attempt })
      expect(accuracyOf(paired, paired.challenger)).toBeCloseTo(accuracyOf(paired, paired.champion)! + (wins - losses) / images.length, 12)
      const perClass = comparison.perClass.reduce((sum, { challenger }) => sum + challenger, 0)
      expect(perClass).toBe(images.filter(([own]) => own).length)
      if (promoted) expect([comparison.p < comparison.alpha, wins > losses]).toEqual([true, true])
    }))
  })

  it('never prefers each of two models to the other, and asks for more at every further attempt', () => {
    fc.assert(fc.property(bits, fc.integer({ min: 1, max: 9 }), (images, attempt) => {
      const there = judge(pairOf(images), 0.4, attempt)
      const back = judge(pairOf(images.map(([own, other, label]) => [other, own, label])), 0.4, attempt)
      expect(there.promoted && back.promoted).toBe(false)
      if (there.promoted) expect(judge(pairOf(images), 0.4, attempt === 1 ? 1 : attempt - 1).promoted).toBe(true)
    }))
  })

  /** The same evidence, every image shown by so many frames. */
  const repeated = ({ classes: names, labels, challenger, champion }: PairedEvidence, times: number): PairedEvidence => {
    const each = <T>(values: readonly T[]) => values.flatMap(value => new Array<T>(times).fill(value))
    const both = ({ predicted, nll, confidence }: Predictions) => ({ predicted: each(predicted), nll: each(nll), confidence: each(confidence) })
    return {
      classes: names, labels: each(labels), scenes: each(labels.map((_, index) => String(index))),
      challenger: both(challenger), champion: champion && both(champion),
    }
  }

  it('learns nothing from frames that show the same scene again', () => {
    fc.assert(fc.property(bits, fc.integer({ min: 2, max: 6 }), (images, times) => {
      const [once, often] = [judge(pairOf(images), 0.2), judge(repeated(pairOf(images), times), 0.2)]
      expect(often.comparison.scenes).toBe(images.length)
      expect(often.comparison.p).toBeCloseTo(once.comparison.p, 9)
      expect(often.comparison.gainLowerBound).toBeCloseTo(once.comparison.gainLowerBound, 9)
      often.comparison.intervalChallenger.forEach((end, side) => { expect(end).toBeCloseTo(once.comparison.intervalChallenger[side]!, 9) })
      const regressionsOf = ({ comparison }: Verdict) => comparison.perClass.map(({ regressionP }) => regressionP ?? Number.NaN)
      regressionsOf(often).forEach((p, label) => { expect(p).toBeCloseTo(regressionsOf(once)[label]!, 9) })
    }))
    // 12 images won, of 3 scenes.
    const few = evidence(60, below(60), below(48))
    expect(judge(few)).toMatchObject({ promoted: true, comparison: { scenes: 60 } })
    const scenes = few.labels.map((_, index) => String(Math.floor(index / 4)))
    expect(judge({ ...few, scenes })).toMatchObject({ promoted: false, reason: 'inconclusive', comparison: { scenes: 15, wins: 12, p: 1 / 8 } })
    expect(judge({ ...few, scenes }).explanation).toContain('60 images in 15 scenes')
    const firstOnes = evidence(60, below(33), null)
    expect(judge(firstOnes).promoted).toBe(true)
    expect(judge({ ...firstOnes, scenes }).reason).toBe('below-chance')
  })

  describe('that may refresh', () => {
    const like = evidence(1000, index => index % 40 !== 1, index => index % 40 !== 2)

    it('promotes one that is not better but surely not worse by the margin, and only where it is told to', () => {
      expect(judge(like)).toMatchObject({ promoted: false, reason: 'inconclusive', comparison: { wins: 25, losses: 25 } })
      expect(judge(like, 0.05, 1, 0.02)).toMatchObject({ promoted: true, reason: 'refreshed' })
      expect(judge(like, 0.05, 1, 0.005)).toMatchObject({ promoted: false, reason: 'inconclusive' })
      // A margin that 1,000 images prove is too much for 60, and for a late attempt.
      expect(judge(evidence(60, below(55), below(55)), 0.05, 1, 0.02).reason).toBe('inconclusive')
      expect(judge(like, 0.05, 40, 0.02).reason).toBe('inconclusive')
    })

    it('still says which are better, and refuses what lost a class, images or likelihood', () => {
      for (const [reason, , paired] of cases) if (reason !== 'inconclusive') expect(judge(paired, 0.05, 1, 0.4).reason).toBe(reason)
    })

    it('never promotes one that is seen to be worse by the margin', () => {
      fc.assert(fc.property(bits, fc.double({ min: 0.001, max: 0.3, noNaN: true }), (images, margin) => {
        const { reason, comparison: { wins, losses } } = judge(pairOf(images), 0.2, 1, margin)
        if (reason === 'refreshed') expect((wins - losses) / images.length).toBeGreaterThan(-margin)
      }))
    })
  })
})
