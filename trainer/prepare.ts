/**
 * What a round knows before its transformer learns: a linear classifier fitted to the labels, what the neighbours say of every image, and,
 * where the gate trusts both together, the classifier fitted once more to the pseudo-labels that it lets through.
 */
import { availableParallelism } from 'node:os'
import type { PresetName } from './contract.js'
import { argMax, labelsOf } from './evidence.js'
import { featuresOf } from './features.js'
import type { GateDecision } from './gate/pseudo-label-gate.js'
import type { Learner } from './learner.js'
import { histogramFeatures } from './model/histograms.js'
import { presets } from './model/presets.js'
import { spreadLabels } from './neighbours.js'
import type { RoundImages } from './round.js'
import { fitShortcut } from './shortcut.js'

/** Strength of the penalty on the shortcut's weights: with labels alone, and with many frames beside them. */
const penalty = { labels: 1e-3, frames: 2e-4 }
/** What the labels of a class weigh at least against its frames. */
const labelShare = 0.5

interface Prepared {
  /** Features [n, F], flat, of the labeled images, the gate split and the frames, as they lie in the learner's pool. */
  features: Float32Array
  labels: readonly number[]
  classCount: number
}

/** Lets the neighbours speak: the learner's judgements are theirs too from now on. */
export async function hearNeighbours(learner: Learner, data: RoundImages, preset: PresetName): Promise<Prepared> {
  const images = [data.labeled, data.gate, data.unlabeled].flatMap(({ pixels }) => pixels)
  const features = await featuresOf(images, presets[preset])
  const labels = labelsOf(data.labeled.items, data.classes)
  // The gate split counts as frames here: its labels must not reach what it judges.
  const known = [...labels, ...new Array<number>(images.length - labels.length).fill(-1)]
  learner.hear(await spreadLabels({ features, labels: known, prior: learner.prior, threads: availableParallelism() }))
  return { features, labels, classCount: data.classes.length }
}

/** The linear classifier on the labels. */
export async function fitToLabels(learner: Learner, data: RoundImages, preset: PresetName): Promise<void> {
  const features = await featuresOf(data.labeled.pixels, presets[preset])
  const labels = labelsOf(data.labeled.items, data.classes)
  const weights = labels.map(() => 1)
  await learner.set('shortcut', await fitShortcut({ features, labels, weights, classCount: data.classes.length, penalty: penalty.labels }))
}

/** The linear classifier once more, on the labels and the frames whose class the gate lets through. */
export async function fitToFrames(learner: Learner, { features, labels, classCount }: Prepared, decision: GateDecision): Promise<void> {
  const { look: { threshold }, classWeights } = decision
  if (threshold === null) return
  const rows = labels.map((label, row) => ({ row, label, human: true }))
  const featuresAt = (row: number) => features.subarray(row * histogramFeatures, (row + 1) * histogramFeatures)
  const shortcut = learner.get('shortcut')
  for (let row = learner.firstUnlabeled; row * histogramFeatures < features.length; row++) {
    const judged = learner.judgement(logitsOf(shortcut, featuresAt(row), classCount), row)
    const label = argMax(judged)
    if ((judged[label] ?? 0) >= threshold && classWeights[label] === 1) rows.push({ row, label, human: false })
  }
  // A handful of frames would only stand for a weaker penalty on the labels.
  if (rows.length < 2 * labels.length) return
  // Every class weighs what it should, also one whose frames the gate kept back: then its labels speak for it.
  const weights = learner.prior.map((share, label) => {
    const [human, frames] = [true, false].map(kind => rows.filter(row => row.label === label && row.human === kind).length) as [number, number]
    const each = Math.max(1, (labelShare * frames) / Math.max(human, 1))
    const total = human * each + frames
    return { human: (share * each) / total, frame: share / total }
  })
  const chosen = new Float32Array(rows.length * histogramFeatures)
  rows.forEach(({ row }, index) => { chosen.set(featuresAt(row), index * histogramFeatures) })
  await learner.set('shortcut', await fitShortcut({
    features: chosen, labels: rows.map(({ label }) => label), weights: rows.map(({ label, human }) => weights[label]?.[human ? 'human' : 'frame'] ?? 0),
    classCount, penalty: penalty.frames,
  }))
}

/** Logits [C] of one row of features [F] by a flat weight [F, C] and bias [C]. */
function logitsOf(flat: Float32Array, features: Float32Array, classCount: number): Float32Array {
  const logits = flat.slice(histogramFeatures * classCount)
  features.forEach((value, feature) => {
    for (let label = 0; label < classCount; label++) logits[label] = (logits[label] ?? 0) + value * (flat[feature * classCount + label] ?? 0)
  })
  return logits
}
