/** One training step as a pure function: weights and a batch in, gradients and losses out. */
import * as tf from './backend/tf.js'
import type { BatchArrays } from './data/batches.js'
import { crossEntropy, type Weights } from './model/layers.js'
import type { ParameterTable } from './model/parameters.js'
import { keptOf, patchPixelsOf, tokensOf, type Preset } from './model/presets.js'
import type { MaskedPatches, Ssmae } from './model/ssmae.js'
import type { Recipe } from './recipe.js'

/** Branches of the loss that a step computes; each combination compiles to a step of its own. */
export interface Branches {
  reconstruct: boolean
  labeled: boolean
  unlabeled: boolean
}

export type Batch = {
  /** Everything the decoder is asked about, labeled and not. */
  masked: MaskedPatches & { readonly [key: string]: tf.Tensor }
  /** Views of labeled images [L, N, P] and their soft targets [L, C]. */
  labeled: tf.Tensor3D
  targets: tf.Tensor2D
  /** Two views of each unlabeled image [U, N, P]. */
  weak: tf.Tensor3D
  strong: tf.Tensor3D
  /** What was known of each before the transformer learned: log-probabilities [U, C]; none where nothing was. */
  beliefs: tf.Tensor2D
}

/** What the gate and the schedule say of this step. */
export type Control = {
  /** Least confidence of a pseudo-label [1]. */
  threshold: tf.Tensor1D
  /** 0 for classes whose pseudo-labels are vetoed, else 1 [C]. */
  classWeights: tf.Tensor1D
  /** Label prior over the teacher's running class mix [C]. */
  alignment: tf.Tensor1D
  /** [1]. */
  unlabeledWeight: tf.Tensor1D
}

/** The arrays of a share as tensors. */
export function batchOf(arrays: BatchArrays, preset: Preset, recipe: Recipe, classCount: number): Batch {
  const [tokens, pixels] = [tokensOf(preset), patchPixelsOf(preset)]
  const kept = keptOf(preset, recipe.maskRatio)
  const images = (array: Float32Array, patches: number): tf.Tensor3D =>
    tf.tensor3d(array, [array.length / (patches * pixels), patches, pixels])
  const ids = (array: Int32Array, patches: number): tf.Tensor2D => tf.tensor2d(array, [array.length / patches, patches], 'int32')
  return {
    masked: {
      visible: images(arrays.visible, kept),
      keepIds: ids(arrays.keepIds, kept),
      hidden: images(arrays.hidden, tokens - kept),
      dropIds: ids(arrays.dropIds, tokens - kept),
    },
    labeled: images(arrays.labeled, tokens),
    targets: tf.tensor2d(arrays.targets, [arrays.targets.length / classCount, classCount]),
    weak: images(arrays.weak, tokens),
    strong: images(arrays.strong, tokens),
    beliefs: tf.tensor2d(arrays.beliefs, [arrays.beliefs.length / classCount, classCount]),
  }
}

export interface ControlNumbers {
  threshold: number
  classWeights: readonly number[]
  alignment: readonly number[]
  unlabeledWeight: number
}

export function controlOf(given: ControlNumbers): Control {
  return {
    threshold: tf.tensor1d([given.threshold]),
    classWeights: tf.tensor1d([...given.classWeights]),
    alignment: tf.tensor1d([...given.alignment]),
    unlabeledWeight: tf.tensor1d([given.unlabeledWeight]),
  }
}

export type StepResult = {
  /** Of all weights [n], in the order of the table; 0 where no branch touches a weight. */
  gradient: tf.Tensor1D
  /** [3]: reconstruction, labeled and unlabeled loss; 0 for a branch that is off. */
  losses: tf.Tensor1D
  /** The class of each pseudo-label that counts, −1 for others [U]; [−1] where there are none. */
  assigned: tf.Tensor1D
  /** Mean probabilities of the judge of pseudo-labels [C]. */
  classMix: tf.Tensor1D
}

/** Weights that the branches touch: only they get a gradient. The dictionary is learned before. */
export function isTrained(name: string, branches: Branches): boolean {
  if (name.startsWith('dictionary.')) return false
  const classifies = ['head.', 'readout.', 'embedding.words.'].some(part => name.startsWith(part))
  return (branches.reconstruct || !name.startsWith('decoder.')) && (branches.labeled || branches.unlabeled || !classifies)
}

/** What classes are read from: no other weight has a place for a class. */
export function isClassifier(name: string): boolean {
  return name.startsWith('head.')
}

/** Flat weights [n] by their names. */
export function unpacked({ specs }: ParameterTable, flat: tf.Tensor1D): Record<string, tf.Tensor> {
  // Slices, not one split: devices bind only so many buffers to one operation.
  return Object.fromEntries(specs.map(({ name, shape, offset, size }) => [name, tf.reshape(tf.slice1d(flat, offset, size), shape)]))
}

export function stepFunction(model: Ssmae, table: ParameterTable, recipe: Recipe, branches: Branches) {
  return (flatStudent: tf.Tensor1D, flatTeacher: tf.Tensor1D, batch: Batch, control: Control): StepResult => {
    const student = unpacked(table, flatStudent)
    const trained = table.specs.map(({ name }) => name).filter(name => isTrained(name, branches))
    const pseudo = branches.unlabeled ? pseudoLabels(model, recipe, unpacked(table, flatTeacher), batch, control) : null
    const kept: tf.Tensor[] = []
    const loss = (...tensors: tf.Tensor[]): tf.Scalar => {
      const weights = { ...student, ...Object.fromEntries(trained.map((name, index) => [name, tensors[index] as tf.Tensor])) }
      const zero = tf.scalar(0)
      const [labeled, unlabeled] = classificationLosses(model, recipe, weights, branches, batch, pseudo)
      const reconstruction = branches.reconstruct ? reconstructionLoss(model, recipe, weights, batch.masked) : zero
      kept.push(...[reconstruction, labeled ?? zero, unlabeled ?? zero].map(term => tf.keep(tf.reshape(term, [1]))))
      const terms = [tf.mul(reconstruction, recipe.reconstructionWeight)]
      if (labeled) terms.push(labeled)
      if (unlabeled) terms.push(tf.mul(unlabeled, tf.reshape(control.unlabeledWeight, [])))
      return tf.addN(terms) as tf.Scalar
    }
    const gradients = tf.grads(loss)(trained.map(name => student[name] as tf.Tensor))
    const gradientOf = new Map(trained.map((name, index) => [name, gradients[index]]))
    const result: StepResult = {
      gradient: tf.concat1d(table.specs.map(({ name, size }) => tf.reshape(gradientOf.get(name) ?? tf.zeros([size]), [size]))),
      losses: tf.concat(kept as tf.Tensor1D[]),
      assigned: pseudo ? pseudo.assigned : tf.fill([1], -1),
      classMix: pseudo ? pseudo.classMix : tf.zerosLike(control.alignment),
    }
    tf.dispose(kept)
    return result
  }
}

/** How much the teacher's logits add to what was known before: from scratch they are 0 at first, and what was known decides. */
export const teacherShare = 0.5

interface PseudoLabels {
  /** What the strong views are to be classified as [U, C]; rows sum to 1. */
  targets: tf.Tensor2D
  /** 1 for frames that teach, else 0 [U]. */
  weights: tf.Tensor1D
  assigned: tf.Tensor1D
  classMix: tf.Tensor1D
}

/** The teacher's word on the weak view and what was known before, made anew at every step; no gradient flows into it. */
function pseudoLabels(model: Ssmae, recipe: Recipe, teacher: Weights, { weak, strong, beliefs }: Batch, control: Control): PseudoLabels {
  const judged = (views: tf.Tensor3D) => {
    const { logits } = model.transform(teacher, views)
    const probabilities: tf.Tensor2D = tf.softmax(beliefs.size > 0 ? tf.add<tf.Tensor2D>(beliefs, tf.mul(logits, teacherShare)) : logits) // [U, C]
    const aligned = align(probabilities, control.alignment)
    const confident = tf.cast(tf.greaterEqual(tf.max(aligned, 1), control.threshold), 'float32') as tf.Tensor1D
    return { probabilities, aligned, confident, likeliest: tf.argMax(aligned, 1) as tf.Tensor1D }
  }
  const { probabilities, aligned, confident, likeliest } = judged(weak)
  const oneHot = tf.oneHot(likeliest, aligned.shape[1]) as tf.Tensor2D
  const allowed: tf.Tensor1D = tf.sum(tf.mul(oneHot, control.classWeights), 1)
  let counts: tf.Tensor1D = tf.mul(confident, allowed)
  if (recipe.agreement) {
    const other = judged(strong)
    counts = tf.mul(counts, tf.mul(other.confident, tf.cast(tf.equal(likeliest, other.likeliest), 'float32')))
  }
  const assigned: tf.Tensor1D = tf.sub(tf.mul(tf.add(tf.cast(likeliest, 'float32'), 1), counts), 1)
  const [targets, weights] = recipe.softTargets ? [sharpened(aligned), allowed] : [oneHot, counts]
  return { targets, weights, assigned, classMix: tf.mean(probabilities, 0) }
}

/** At half the temperature (MixMatch, section 3.3): rows of probabilities [U, C] squared, and scaled back to sum 1. */
function sharpened(probabilities: tf.Tensor2D): tf.Tensor2D {
  const squares = tf.square(probabilities)
  return tf.div(squares, tf.sum(squares, 1, true))
}

/** Distribution alignment (ReMixMatch, section 3.1): p · ratio, scaled back to sum 1. */
export function align(probabilities: tf.Tensor2D, ratio: tf.Tensor1D): tf.Tensor2D {
  const tilted = tf.mul(probabilities, ratio)
  return tf.div(tilted, tf.sum(tilted, 1, true))
}

/** One forward over all views; mean cross-entropy on labels, and on pseudo-labels over all U so that few weigh little. */
function classificationLosses(
  model: Ssmae, recipe: Recipe, weights: Weights, branches: Branches, batch: Batch, pseudo: PseudoLabels | null,
): [tf.Tensor | null, tf.Tensor | null] {
  const views: tf.Tensor3D[] = []
  if (branches.labeled) views.push(batch.labeled)
  if (pseudo) views.push(recipe.strongAugmentation ? batch.strong : batch.weak)
  const [first] = views
  if (!first) return [null, null]
  const { logits } = model.transform(weights, views.length > 1 ? tf.concat(views, 0) : first)
  const labeledCount = branches.labeled ? batch.labeled.shape[0] : 0
  const entropy = (targets: tf.Tensor2D, start: number): tf.Tensor1D => crossEntropy(tf.slice(logits, [start, 0], targets.shape), targets)
  return [
    branches.labeled ? tf.mean(entropy(batch.targets, 0)) : null,
    pseudo ? tf.mean(tf.mul(entropy(pseudo.targets, labeledCount), pseudo.weights)) : null,
  ]
}

/** Mean squared error on the hidden patches (MAE, section 3). */
function reconstructionLoss(model: Ssmae, recipe: Recipe, weights: Weights, masked: MaskedPatches): tf.Tensor {
  const target = recipe.normalisedTarget ? normalisedPatches(masked.hidden) : masked.hidden
  return tf.mean(tf.square(tf.sub(model.reconstruct(weights, masked), target)))
}

/** Each patch [.., P] by its own mean and deviation (MAE, section 4.1); the floor keeps flat patches from exploding. */
function normalisedPatches(patches: tf.Tensor3D): tf.Tensor3D {
  const centred = tf.sub(patches, tf.mean(patches, 2, true))
  return tf.mul(centred, tf.rsqrt(tf.add(tf.mean(tf.square(centred), 2, true), 1e-2)))
}
