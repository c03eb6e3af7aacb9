/**
 * How much the fitted linear classifier and the transformer count in the model, against each other. They learn apart, each the whole task:
 * two judges that err on different images are better together than one that learned to mend the other's errors, and a transformer that had
 * little time takes nothing away from what was fitted.
 */
import { fitTemperature, labelsOf, meanNll } from './evidence.js'
import { featuresOf } from './features.js'
import type { Learner } from './learner.js'
import { presets } from './model/presets.js'
import type { PresetName } from './contract.js'
import type { RoundImages } from './round.js'
import { logitsOf } from './shortcut.js'

/** Shares of the transformer that are compared; half: the logits of both as they are. */
const shares = Array.from({ length: 21 }, (_, index) => index / 20)

/**
 * The transformer's share, 0 to 1, that makes the gate split likeliest, each at its best temperature: convex in the two scales together
 * (linear stacking, Ting & Witten, 1999). `linear` and `deep` are logits [N][C].
 */
export function likeliestShare(linear: readonly (readonly number[])[], deep: readonly (readonly number[])[], labels: readonly number[]): number {
  const losses = shares.map(share => {
    const logits = linear.map((row, image) => row.map((value, label) => mixed(value, deep[image]?.[label] ?? 0, share)))
    return meanNll(logits, labels, fitTemperature(logits, labels))
  })
  return shares[losses.indexOf(Math.min(...losses))] ?? 0.5
}

/** Scales both classifiers in the learner's weights by their shares; gives the transformer's, as the card tells it. */
export async function balance(learner: Learner, { gate, classes }: RoundImages, preset: PresetName): Promise<number> {
  const features = await featuresOf(gate.pixels, presets[preset])
  const shortcut = learner.get('shortcut.')
  const size = features.length / gate.pixels.length
  const linear = gate.pixels.map((_, row) => [...logitsOf(shortcut, features.subarray(row * size, (row + 1) * size), classes.length)])
  const whole = await learner.logitsOfGate()
  const deep = whole.map((row, image) => row.map((value, label) => value - (linear[image]?.[label] ?? 0)))
  const share = likeliestShare(linear, deep, labelsOf(gate.items, classes))
  await learner.set('shortcut.', shortcut.map(value => mixed(value, 0, share)))
  await learner.set('head.', learner.get('head.').map(value => mixed(0, value, share)))
  return share
}

function mixed(linear: number, deep: number, share: number): number {
  return 2 * ((1 - share) * linear + share * deep)
}
