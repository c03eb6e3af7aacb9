/**
 * How much the trained model counts against the linear classifier that was fitted before it. Training teaches the model views that no camera
 * takes, and a short one may cost more than it brings; two judges that err on different images are better together than either. Both end in
 * the same linear layer, so that their mean is a model of the same shape.
 */
import type { PresetName } from './contract.js'
import { fitTemperature, labelsOf, meanNll } from './evidence.js'
import { featuresOf } from './features.js'
import type { Learner } from './learner.js'
import { dictionaryFeatures } from './model/dictionary.js'
import { presets } from './model/presets.js'
import type { RoundImages } from './round.js'
import { logitsOf } from './shortcut.js'

/** Shares that are compared. */
const shares = Array.from({ length: 21 }, (_, index) => index / 20)

/**
 * The share of `trained`, 0 to 1, in the mean of both logits [N][C] that makes the images likeliest, at the mean's best temperature (linear
 * stacking, Ting & Witten, 1999).
 */
export function likeliestShare(fitted: readonly (readonly number[])[], trained: readonly (readonly number[])[], labels: readonly number[]): number {
  const losses = shares.map(share => {
    const logits = fitted.map((row, image) => row.map((value, label) => mixed(value, trained[image]?.[label] ?? 0, share)))
    return meanNll(logits, labels, fitTemperature(logits, labels))
  })
  return shares[losses.indexOf(Math.min(...losses))] ?? 1
}

/** Makes the learner's model the likeliest mean of itself and the shortcut as it was `fitted`, flat; gives its own share. */
export async function balance(
  learner: Learner, { data: { gate, classes }, preset, fitted, signal }: { data: RoundImages; preset: PresetName; fitted: Float32Array; signal: AbortSignal },
): Promise<number> {
  const features = await featuresOf(gate.pixels, { preset: presets[preset], dictionary: learner.get('dictionary.'), signal })
  const alone = gate.pixels.map((_, row) =>
    [...logitsOf(fitted, features.subarray(row * dictionaryFeatures, (row + 1) * dictionaryFeatures), classes.length)])
  const share = likeliestShare(alone, await learner.logitsOfGate(), labelsOf(gate.items, classes))
  await learner.set('shortcut.', learner.get('shortcut.').map((value, index) => mixed(fitted[index] ?? 0, value, share)))
  await learner.set('head.', learner.get('head.').map(value => mixed(0, value, share)))
  return share
}

function mixed(fitted: number, trained: number, share: number): number {
  return (1 - share) * fitted + share * trained
}
