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
import type { Recipe } from './recipe.js'
import type { RoundImages } from './round.js'
import { fitShortcut, logitsOf } from './shortcut.js'

/** Strength of the penalty on the shortcut's weights: with labels alone, and with many frames beside them. */
const penalty = { labels: 3e-4, frames: 2e-4 }
/** Frames that the second fit takes at most, evenly spaced: more say the same. */
const mostFrames = 20_000
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
  const [labels, classCount] = [labelsOf(data.labeled.items, data.classes), data.classes.length]
  const targets = new Float32Array(labels.length * classCount)
  labels.forEach((label, row) => { targets[row * classCount + label] = 1 })
  await learner.set('shortcut', await fitShortcut({ features, targets, classCount, penalty: penalty.labels }))
}

/** The linear classifier once more, on the labels and the frames that the gate lets teach. */
export async function fitToFrames(
  learner: Learner, { features, labels, classCount }: Prepared, { look: { threshold }, classWeights }: GateDecision, { softTargets }: Recipe,
): Promise<void> {
  if (threshold === null) return
  const featuresAt = (row: number) => features.subarray(row * histogramFeatures, (row + 1) * histogramFeatures)
  const certain = (label: number): number[] => Array.from({ length: classCount }, (_, other) => (other === label ? 1 : 0))
  const rows = labels.map((label, row) => ({ row, label, human: true, word: certain(label) }))
  const shortcut = learner.get('shortcut')
  const count = features.length / histogramFeatures
  const stride = Math.max(1, (count - learner.firstUnlabeled) / mostFrames)
  for (let at: number = learner.firstUnlabeled; at < count; at += stride) {
    const row = Math.floor(at)
    const judged = learner.judgement(logitsOf(shortcut, featuresAt(row), classCount), row)
    const label = argMax(judged)
    if (classWeights[label] !== 1 || !(softTargets || (judged[label] ?? 0) >= threshold)) continue
    rows.push({ row, label, human: false, word: softTargets ? sharpened(judged) : certain(label) })
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
  const [chosen, targets] = [new Float32Array(rows.length * histogramFeatures), new Float32Array(rows.length * classCount)]
  rows.forEach(({ row, label, human, word }, index) => {
    chosen.set(featuresAt(row), index * histogramFeatures)
    const weight = weights[label]?.[human ? 'human' : 'frame'] ?? 0
    targets.set(word.map(share => share * weight), index * classCount)
  })
  await learner.set('shortcut', await fitShortcut({ features: chosen, targets, classCount, penalty: penalty.frames }))
}

/** At half the temperature, as the step takes soft targets. */
function sharpened(probabilities: readonly number[]): number[] {
  const sum = probabilities.reduce((total, value) => total + value ** 2, 0)
  return probabilities.map(value => value ** 2 / sum)
}
