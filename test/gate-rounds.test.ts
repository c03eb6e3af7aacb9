/** Whether both gates keep their promises, over 10,000 simulated rounds each. */
import { describe, expect, it } from 'vitest'
import { Random } from '../trainer/data/random.js'
import { gateOptions } from '../trainer/gate/pseudo-label-gate.js'
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

  it('would break its promise if every look spent all of alpha', () => {
    const { openedWrongly } = simulate({ rounds: 2000, images: 300, kept: 0, teacher: () => belowOpen, random: new Random(5), spendthrift: true })
    expect(openedWrongly).toBeGreaterThan(atMost(2000, alpha))
  })
})
