/**
 * How much the transformer counts against the shortcut beside it. Two judges that err on different images are better together than
 * either, and a short training may not be worth much. Both end in a linear layer, so that their mean is a model of the same shape.
 */
import type { PresetName } from './contract.js'
import { fitTemperature, labelsOf, meanNll } from './evidence.js'
import { featuresOf } from './features.js'
import type { Learner } from './learner.js'
import { partOf, type ParameterTable } from './model/parameters.js'
import { presets } from './model/presets.js'
import type { Prepared } from './prepare.js'
import type { RoundImages } from './round.js'
import { shortcutLogits } from './shortcut.js'
import type { Turns } from './turns.js'

/** Shares that are compared. */
const shares = Array.from({ length: 21 }, (_, index) => index / 20)
/** Losses that differ by less are the same: then the smaller share is taken, 0 where the transformer has not learned yet. */
const sameLoss = 1e-6

/**
 * The share of `trained`, 0 to 1, in the mean of both logits [N][C] that makes the images likeliest, at the mean's best temperature (linear
 * stacking, Ting & Witten, 1999).
 */
export function likeliestShare(fitted: readonly (readonly number[])[], trained: readonly (readonly number[])[], labels: readonly number[]): number {
  const losses = shares.map(share => {
    const logits = meanOf(fitted, trained, share)
    return meanNll(logits, labels, fitTemperature(logits, labels))
  })
  const least = Math.min(...losses)
  return shares.find((_, index) => (losses[index] ?? 0) <= least + sameLoss) ?? 1
}

export interface BalanceOptions {
  /** Of the whole model. */
  table: ParameterTable
  data: RoundImages
  preset: PresetName
  prepared: Prepared
  turns: Turns
}

/**
 * The likeliest mean of the transformer and what was fitted: the transformer's share, null where it stands alone, the model's weights in the order
 * of its table, and its logits on the gate split [N][C]. Errors: what its turns raise.
 */
export async function balance(
  learner: Learner, { table, data: { gate, classes }, preset, prepared, turns }: BalanceOptions,
): Promise<{ trainedShare: number | null; weights: Float32Array; logits: number[][] }> {
  const trained = await learner.logitsOf('gate')
  const transformer = await learner.result()
  if (prepared.shortcut.length === 0) return { trainedShare: null, weights: transformer, logits: trained }
  const { dictionary, shortcut } = prepared
  const features = await featuresOf(gate.pixels, { preset: presets[preset], dictionary, turns })
  const fitted = await shortcutLogits(shortcut, features, { count: gate.pixels.length, classCount: classes.length })
  const trainedShare = likeliestShare(fitted, trained, labelsOf(gate.items, classes))
  const weights = new Float32Array(table.size)
  weights.set(transformer)
  if (partOf(learner.table, transformer, 'dictionary.').length === 0) partOf(table, weights, 'dictionary.').set(dictionary)
  partOf(table, weights, 'shortcut.').set(shortcut)
  for (const [name, share] of [['head.', trainedShare], ['shortcut.weight', 1 - trainedShare], ['shortcut.bias', 1 - trainedShare]] as const) {
    const part = partOf(table, weights, name)
    part.set(part.map(value => share * value))
  }
  return { trainedShare, weights, logits: meanOf(fitted, trained, trainedShare) }
}

function meanOf(fitted: readonly (readonly number[])[], trained: readonly (readonly number[])[], share: number): number[][] {
  return fitted.map((row, image) => row.map((value, label) => (1 - share) * value + share * (trained[image]?.[label] ?? 0)))
}
