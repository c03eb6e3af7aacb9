/**
 * What a round knows before its transformer learns: the words of the dictionary, what a linear classifier on them and the neighbours say together
 * of every image, and the shortcut, fitted to the labels and, where the gate trusts that word, to the frames that it lets teach.
 */
import { availableParallelism } from 'node:os'
import { basisOf } from './basis.js'
import type { PresetName } from './contract.js'
import { learnDictionary } from './dictionary.js'
import { fitLinear } from './linear.js'
import { argMax, labelsOf, priorOf } from './evidence.js'
import { featuresOf } from './features.js'
import { lookThroughGate, type GateDecision, type GateState } from './gate/pseudo-label-gate.js'
import { dictionaryFeatures } from './model/dictionary.js'
import { presets } from './model/presets.js'
import { logProbabilities, spreadLabels, together } from './neighbours.js'
import type { Recipe } from './recipe.js'
import type { RoundImages } from './round.js'
import { fitShortcut, type Examples } from './shortcut.js'

/** Strength of the penalty on the weights of the linear classifier. */
const penalty = 1e-5
/** Numbers by which neighbours are told, and images that tell which numbers those are. */
const basis = { length: 256, images: 1500 }
/** Frames that the second fit takes at most, evenly spaced: more say the same. */
const mostFrames = 10_000

export interface Prepared {
  /** The images that it was made from, by their hash. */
  images: string
  /** `dictionary.*` and `shortcut.*`, flat, as the parameter table has them. */
  dictionary: Float32Array
  shortcut: Float32Array
  /** What classifier and neighbours say together of each image of the pool: log-probabilities [images, C], flat; empty: no frames are asked about. */
  words: Float32Array
  /** The look at the gate split that said whether frames may teach the classifier; null: none was taken. */
  decision: GateDecision | null
}

export interface PrepareOptions {
  recipe: Recipe
  preset: PresetName
  seed: number
  /** Before the first look. */
  gate: GateState
  /** Milliseconds that the fit of the shortcut may take; null: as many as it takes. */
  limitMs: number | null
  signal: AbortSignal
}

/** The same for the same images and options, unless time was short. Errors: what `signal` was aborted with. */
export async function prepare(data: RoundImages, { recipe, preset, seed, gate, limitMs, signal }: PrepareOptions): Promise<Prepared> {
  const { classes, labeled, unlabeled, sha256: hash } = data
  const options = { preset: presets[preset], signal }
  const dictionary = await learnDictionary({ ...options, images: [...labeled.pixels, ...unlabeled.pixels], seed })
  const describe = (images: readonly Uint8Array[], columns?: Float32Array) =>
    featuresOf(images, { ...options, dictionary, ...columns && { basis: columns } })
  const labels = labelsOf(labeled.items, classes)
  const prior = priorOf(labels, classes.length)
  const known = { features: await describe(labeled.pixels), targets: labels.map(label => certain(label, classes.length)) }
  const fit = (frames: Examples) => fitShortcut({ labeled: known, frames, prior, seed, limitMs, signal })
  const none = { features: new Float32Array(), targets: [] }
  if (recipe.gate === 'never' || !hasFrames(data, preset)) {
    return { images: hash, dictionary, shortcut: await fit(none), words: new Float32Array(), decision: null }
  }

  const images = [labeled, data.gate, unlabeled].flatMap(({ pixels }) => pixels)
  const targets = Float32Array.from(known.targets.flat())
  const linear = await fitLinear({ features: known.features, targets, classCount: classes.length, penalty, signal })
  const split = linear.length - classes.length
  const [weight, bias] = [linear.subarray(0, split), linear.subarray(split)]
  const logits = (await describe(images, weight)).map((value, index) => value + (bias[index % classes.length] ?? 0))
  const words = recipe.neighbours ? together(logits, await heard(), classes.length) : logProbabilities(logits, classes.length)
  const judged = (first: number, places: readonly number[]) => places.map(place =>
    [...words.subarray((first + place) * classes.length, (first + place + 1) * classes.length)].map(Math.exp))

  const decision = lookThroughGate(recipe.gate, gate, {
    step: 0, classes, probabilities: judged(labels.length, [...data.gate.pixels.keys()]), labels: labelsOf(data.gate.items, classes),
  })
  const places = evenlySpaced(unlabeled.pixels.length, mostFrames)
  const allowed = whatFramesTeach(judged(images.length - unlabeled.pixels.length, places), decision, recipe)
  // A handful would be seen far too often.
  const teaching = allowed.length < labels.length ? [] : allowed
  const frames = teaching.map(({ row }) => unlabeled.pixels[places[row] ?? 0] as Uint8Array)
  const shortcut = await fit({ features: await describe(frames), targets: teaching.map(({ target }) => target) })
  return { images: hash, dictionary, shortcut, words, decision }

  async function heard(): Promise<Float32Array> {
    const sample = await describe(evenlySpaced(images.length, basis.images).map(place => images[place] as Uint8Array))
    const length = Math.min(basis.length, Math.ceil(sample.length / dictionaryFeatures / 4))
    const features = await describe(images, await basisOf(sample, { length, seed, signal }))
    // The gate split counts as frames here: its labels must not reach what it judges.
    const told = [...labels, ...new Array<number>(images.length - labels.length).fill(-1)]
    return spreadLabels({ features, labels: told, prior, threads: availableParallelism(), signal })
  }
}

/** A first round may begin before the camera has seen much: then there are only labels to learn from. */
export function hasFrames(data: RoundImages, preset: PresetName): boolean {
  return data.unlabeled.items.length >= presets[preset].labeled
}

/** Of frames with these probabilities [m][C], those that the gate lets teach: their rows, and what they are to be classified as [C]. */
export function whatFramesTeach(
  judged: readonly (readonly number[])[], { look: { threshold }, classWeights }: GateDecision, { softTargets }: Pick<Recipe, 'softTargets'>,
): { row: number; target: number[] }[] {
  return judged.flatMap((row, index) => {
    const label = argMax(row)
    const counts = threshold !== null && classWeights[label] === 1 && (softTargets || (row[label] ?? 0) >= threshold)
    return counts ? [{ row: index, target: softTargets ? sharpened(row) : certain(label, row.length) }] : []
  })
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
