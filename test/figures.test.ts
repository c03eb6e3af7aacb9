/** What is told of a model comes from images that it learned nothing from. */
import { expect, it } from 'vitest'
import { accuracyOf, calibrationErrorOf } from '../agent/figures.js'
import type { ModelVersion } from '../agent/events.js'

const card = { validation: { accuracy: 0.9, ece: 0.01 } } as ModelVersion['card']
const model = (decision: object) => ({ card, decision: decision as ModelVersion['decision'] })

it('accuracy and calibration error are of the promotion images; of the gate images, which the temperature was fitted to, only where a record has no others', () => {
  const told = model({ accuracyChallenger: 0.7, comparison: { eceChallenger: 0.04 } })
  expect([accuracyOf(told), calibrationErrorOf(told)]).toEqual([0.7, 0.04])
  for (const comparison of [null, {}]) {
    const earlier = model({ accuracyChallenger: null, comparison })
    expect([accuracyOf(earlier), calibrationErrorOf(earlier)]).toEqual([0.9, 0.01])
  }
})
