/**
 * What a round knows before its transformer learns: the words of the dictionary, a linear classifier on them fitted to the labels, what the
 * neighbours say of every image, and, where the gate trusts both together, the classifier fitted once more to the frames that it lets teach.
 */
import { availableParallelism } from 'node:os'
import { basisOf } from './basis.js'
import type { PresetName } from './contract.js'
import { learnDictionary } from './dictionary.js'
import { argMax, labelsOf, priorOf } from './evidence.js'
import { featuresOf } from './features.js'
import { lookThroughGate, type GateDecision, type GateState } from './gate/pseudo-label-gate.js'
import { dictionaryFeatures } from './model/dictionary.js'
import { presets } from './model/presets.js'
import { spreadLabels, together } from './neighbours.js'
import type { Recipe } from './recipe.js'
import type { RoundImages } from './round.js'
import { fitShortcut, logitsOf } from './shortcut.js'

/** Strength of the penalty on the shortcut's weights: with labels alone, and with many frames beside them. */
const penalty = { labels: 1e-5, frames: 1e-5 }
/** Numbers by which neighbours are told, and images that tell which numbers those are. */
const basis = { length: 256, images: 1500 }
/** Frames that the second fit takes at most, evenly spaced: more say the same. */
const mostFrames = 10_000
/** What the labels of a class weigh at least against its frames. */
const labelShare = 0.5

/** The words and the linear classifier on them, flat, as the parameter table has them. */
export interface Fitted {
  dictionary: Float32Array
  shortcut: Float32Array
}

export interface Prepared extends Fitted {
  /** What its neighbours say of each image of the pool: log-probabilities [images, C], flat; null: nobody asks them. */
  neighbours: Float32Array | null
  /** The look at the gate split that said whether frames may teach the classifier; null: none was taken. */
  decision: GateDecision | null
}

export interface PrepareOptions {
  recipe: Recipe
  preset: PresetName
  seed: number
  /** Before the first look. */
  gate: GateState
  /** What a round that goes on had fitted; null: it begins. */
  former: Fitted | null
  signal: AbortSignal
}

/** Errors: what `signal` was aborted with. */
export async function prepare(data: RoundImages, { recipe, preset, seed, gate, former, signal }: PrepareOptions): Promise<Prepared> {
  const options = { preset: presets[preset], signal }
  const learnedFrom = [...data.labeled.pixels, ...data.unlabeled.pixels]
  const dictionary = former?.dictionary ?? await learnDictionary({ ...options, images: learnedFrom, seed })
  const describe = (images: readonly Uint8Array[]) => featuresOf(images, { ...options, dictionary })
  const labels = labelsOf(data.labeled.items, data.classes)
  const prior = priorOf(labels, data.classes.length)

  const asked = recipe.neighbours && recipe.gate !== 'never' && hasFrames(data, preset)
  const neighbours = asked ? await heard() : null
  if (former) return { ...former, neighbours, decision: null }

  const labeled = { features: await describe(data.labeled.pixels), labels }
  const shortcut = await fitToLabels(labeled, prior, signal)
  if (!neighbours) return { dictionary, shortcut, neighbours, decision: null }
  const classCount = data.classes.length
  const wordAt = (id: number) => neighbours.subarray(id * classCount, (id + 1) * classCount)
  const judge = (features: Float32Array, ids: readonly number[]) => ids.map((id, row) =>
    together(logitsOf(shortcut, features.subarray(row * dictionaryFeatures, (row + 1) * dictionaryFeatures), classCount), wordAt(id)))

  const gateIds = data.gate.pixels.map((_, index) => labels.length + index)
  const decision = lookThroughGate(recipe.gate, gate, {
    step: 0, classes: data.classes, probabilities: judge(await describe(data.gate.pixels), gateIds), labels: labelsOf(data.gate.items, data.classes),
  })
  if (decision.look.threshold === null) return { dictionary, shortcut, neighbours, decision }
  const places = evenlySpaced(data.unlabeled.pixels.length, mostFrames)
  const features = await describe(places.map(place => data.unlabeled.pixels[place] as Uint8Array))
  const judged = judge(features, places.map(place => labels.length + gateIds.length + place))
  const taught = await fitToFrames({ labeled, frames: { features, judged }, prior, decision, softTargets: recipe.softTargets, signal })
  return { dictionary, shortcut: taught ?? shortcut, neighbours, decision }

  async function heard(): Promise<Float32Array> {
    const sample = evenlySpaced(learnedFrom.length, basis.images).map(place => learnedFrom[place] as Uint8Array)
    const columns = await basisOf(await describe(sample), { length: Math.min(basis.length, Math.ceil(sample.length / 4)), seed, signal })
    const images = [data.labeled, data.gate, data.unlabeled].flatMap(({ pixels }) => pixels)
    const features = await featuresOf(images, { ...options, dictionary, basis: columns })
    // The gate split counts as frames here: its labels must not reach what it judges.
    const known = [...labels, ...new Array<number>(images.length - labels.length).fill(-1)]
    return spreadLabels({ features, labels: known, prior, threads: availableParallelism(), signal })
  }
}

/** A first round may begin before the camera has seen much: then there are only labels to learn from. */
export function hasFrames(data: RoundImages, preset: PresetName): boolean {
  return data.unlabeled.items.length >= presets[preset].labeled
}

interface LabeledFeatures {
  /** [n, F], flat. */
  features: Float32Array
  labels: readonly number[]
}

function fitToLabels({ features, labels }: LabeledFeatures, prior: readonly number[], signal: AbortSignal): Promise<Float32Array> {
  const targets = Float32Array.from(labels.flatMap(label => certain(label, prior.length)))
  return fitShortcut({ features, targets, classCount: prior.length, penalty: penalty.labels, signal })
}

export interface FrameExamples {
  labeled: LabeledFeatures
  /** Features [m, F], flat, and the judge's probabilities [m][C]. */
  frames: { features: Float32Array; judged: readonly (readonly number[])[] }
  /** The share that each class has [C]. */
  prior: readonly number[]
  decision: GateDecision
  softTargets: boolean
  signal: AbortSignal
}

/**
 * The linear classifier on the labels and on the frames that the gate lets teach; null where those are so few that they would only stand for a
 * weaker penalty on the labels.
 */
export async function fitToFrames(
  { labeled, frames, prior, decision: { look: { threshold }, classWeights }, softTargets, signal }: FrameExamples,
): Promise<Float32Array | null> {
  const teaching = frames.judged.flatMap((judged, row) => {
    const label = argMax(judged)
    const counts = threshold !== null && classWeights[label] === 1 && (softTargets || (judged[label] ?? 0) >= threshold)
    return counts ? [{ row, label, word: softTargets ? sharpened(judged) : certain(label, prior.length) }] : []
  })
  if (teaching.length < labeled.labels.length) return null
  // Every class weighs what it should, also one whose frames the gate kept back: then its labels speak for it.
  const weights = prior.map((share, label) => {
    const [human, frame] = [labeled.labels.filter(other => other === label).length, teaching.filter(other => other.label === label).length]
    const each = Math.max(1, (labelShare * frame) / Math.max(human, 1))
    const total = human * each + frame
    return { human: (share * each) / total, frame: share / total }
  })
  const features = new Float32Array((labeled.labels.length + teaching.length) * dictionaryFeatures)
  features.set(labeled.features)
  teaching.forEach(({ row }, index) => {
    features.set(frames.features.subarray(row * dictionaryFeatures, (row + 1) * dictionaryFeatures), (labeled.labels.length + index) * dictionaryFeatures)
  })
  const targets = Float32Array.from([
    ...labeled.labels.map(label => certain(label, prior.length).map(share => share * (weights[label]?.human ?? 0))),
    ...teaching.map(({ label, word }) => word.map(share => share * (weights[label]?.frame ?? 0))),
  ].flat())
  return fitShortcut({ features, targets, classCount: prior.length, penalty: penalty.frames, signal })
}

function certain(label: number, classCount: number): number[] {
  return Array.from({ length: classCount }, (_, other) => (other === label ? 1 : 0))
}

/** At half the temperature, as the step takes soft targets. */
function sharpened(probabilities: readonly number[]): number[] {
  const sum = probabilities.reduce((total, value) => total + value ** 2, 0)
  return probabilities.map(value => value ** 2 / sum)
}

/** At most `most` places among `count`. */
function evenlySpaced(count: number, most: number): number[] {
  const stride = Math.max(1, count / most)
  return Array.from({ length: Math.min(count, most) }, (_, index) => Math.floor(index * stride))
}
