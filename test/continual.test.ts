/** The benchmark of a site that changes: what it deals, what GDumb remembers, and how it counts what went wrong and what came back. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { classes } from '../fixtures/dataset.js'
import type { LabeledImage } from '../trainer/index.js'
import { Random } from '../trainer/data/random.js'
import { remembered, type ContinualRound } from './learning/continual.js'
import { recoveries, worseRounds } from './learning/continual-tables.js'
import { Deck } from './learning/stream.js'

function rounds(...told: Partial<ContinualRound>[]): ContinualRound[] {
  return told.map((more, index) => ({
    round: index + 1, domain: '', labels: 0, accuracy: 0.8, first: 0.8, before: index === 0 ? null : 0.8, trained: true, promoted: true, reason: '', worseP: 1,
    pseudoLabels: [], ...more,
  }))
}

describe('a changing site', () => {
  it('is shown no photograph twice', () => {
    const photographs = Array.from({ length: 300 }, (_, index) => ({ index, label: index % classes.length, pixels: Buffer.alloc(0) }))
    fc.assert(fc.property(fc.nat(), fc.array(fc.tuple(fc.nat(classes.length - 1), fc.nat(4)), { maxLength: 7 }), (seed, asked) => {
      const deck = new Deck(photographs, Random.of(seed))
      const dealt = asked.flatMap(([label, count]) => {
        const own = deck.deal(label, count)
        expect(own.map(photograph => photograph.label)).toEqual(new Array(count).fill(label))
        return own
      })
      expect(new Set(dealt).size).toBe(dealt.length)
    }))
    expect(() => new Deck(photographs, Random.of(1)).deal(0, 31)).toThrow('no photographs')
  })

  it('costs a model in service by what is wrong beyond noise, over the whole story', () => {
    expect(worseRounds(rounds({}, { worseP: 0.02 }, { worseP: 0.01 }, { worseP: 0.9 }))).toBe(1)
  })

  it('has changes that cost five points, and rounds until a model is back within five of what it was, or never', () => {
    const story = rounds(
      {}, { before: 0.78, accuracy: 0.78 }, // no change
      { before: 0.3, accuracy: 0.5 }, { before: 0.5, accuracy: 0.74 }, // back in the second
      { before: 0.6, accuracy: 0.75 }, // at once
      { before: 0.1, accuracy: 0.3 }, { before: 0.3, accuracy: 0.4 }, // never
    )
    expect(recoveries(story)).toEqual([2, 1, null])
  })
})

it('GDumb remembers so many labels at most, of no class more than it must, and all while there is room', () => {
  fc.assert(fc.property(fc.nat(), fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 60 }), fc.integer({ min: 1, max: 30 }), (seed, labels, memory) => {
    const stream = labels.map((label, index) => ({ path: String(index), label }))
    const kept = remembered(stream, memory, Random.of(seed))
    expect(kept.length).toBe(Math.min(memory, stream.length))
    expect(new Set(kept).size).toBe(kept.length)
    const sizes = (images: readonly LabeledImage[]) => ['a', 'b', 'c'].map(name => images.filter(({ label }) => label === name).length)
    const [given, held] = [sizes(stream), sizes(kept)]
    // A class of which something was given up is at most one image larger than any other of which something was.
    const cut = held.filter((size, at) => size < (given[at] ?? 0))
    expect(Math.max(0, ...held)).toBeLessThanOrEqual(Math.min(...cut, Infinity) + 1)
  }))
})
