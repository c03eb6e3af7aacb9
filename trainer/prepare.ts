/**
 * What a round knows before its transformer learns: the dictionary ► what the judge believes of every image ► whether the gate trusts that ►
 * the shortcut, fitted to the labels and to the frames that the gate lets teach.
 */
import type { PresetName } from './contract.js'
import { learnDictionary } from './dictionary.js'
import { argMax, labelsOf, priorOf } from './evidence.js'
import { featuresOf } from './features.js'
import { lookThroughGate, type GateDecision, type GateState } from './gate/pseudo-label-gate.js'
import { evenlySpaced, judge } from './judge.js'
import { featureCountOf } from './model/dictionary.js'
import { presets, type Preset } from './model/presets.js'
import type { Recipe } from './recipe.js'
import type { RoundImages, RoundOptions } from './round.js'
import { fewestFrames, fitShortcut, type Examples } from './shortcut.js'
import type { Turns } from './turns.js'

export interface Preparation {
  /** Paths of the frames that it was made from. */
  frames: readonly string[]
  /** `dictionary.*` and `shortcut.*`, flat, as their tables have them; empty where the recipe has none. */
  dictionary: Float32Array
  shortcut: Float32Array
  /** Of each labeled image, each of the gate split and each frame: log-probabilities [images, C], flat; empty: no frames are asked about. */
  beliefs: Float32Array
  /** The look at the gate split that said whether frames may teach the shortcut; null: none was taken. */
  decision: GateDecision | null
  /** Frames that taught it. */
  taught: number
}

export interface Prepared extends Preparation {
  /** Fingerprints of all images of the round, and of the model that it goes on from, as the weights carry them; null: too many. */
  learned: string | null
}

export interface PrepareOptions extends Pick<RoundOptions, 'onEvent' | 'onPseudoLabels'> {
  recipe: Recipe
  preset: PresetName
  seed: number
  /** Before the first look. */
  gate: GateState
  /** `dictionary.*` of a champion whose transformer goes on learning; null: the words are learned. */
  dictionary: Float32Array | null
  /** Milliseconds that the fit of the shortcut may take; null: as many as it takes. */
  limitMs: number | null
  turns: Turns
}

/** The same for the same images and options, unless time was short. Errors: what its turns raise. */
export async function prepare(data: RoundImages, options: PrepareOptions): Promise<Preparation> {
  const { recipe, preset, seed, gate, limitMs, turns, onEvent, onPseudoLabels } = options
  const { classes, labeled, unlabeled } = data
  const [frames, none] = [unlabeled.items, new Float32Array()]
  const nothing = { frames, dictionary: none, shortcut: none, beliefs: none, decision: null, taught: 0 }
  if (!recipe.stem && !recipe.shortcut) return nothing
  const learned = () => learnDictionary({ images: [...labeled.pixels, ...unlabeled.pixels], preset: presets[preset], seed, turns })
  const dictionary = options.dictionary ?? await learned()
  if (!recipe.shortcut) return { ...nothing, dictionary }
  const describe = (images: readonly Uint8Array[], columns?: Float32Array) =>
    featuresOf(images, { preset: presets[preset], dictionary, columns, turns })
  const labels = labelsOf(labeled.items, classes)
  const prior = priorOf(labels, classes.length)
  const known: Examples = { features: await describe(labeled.pixels), targets: labels.map(label => certain(label, classes.length)) }
  const fit = (frames: Examples) => fitShortcut({ labeled: known, frames, prior, seed, limitMs, turns })
  if (recipe.gate === 'never' || !hasFrames(data, preset)) {
    return { ...nothing, dictionary, shortcut: await fit({ features: new Float32Array(), targets: [] }) }
  }

  const paths = unlabeled.items
  const images = [labeled, data.gate, unlabeled].flatMap(({ pixels }) => pixels)
  const beliefs = await judge({ known: known.features, labels, prior, neighbours: recipe.neighbours, images, describe, seed, turns })
  const believed = (first: number, places: Iterable<number>) => Array.from(places, place =>
    [...beliefs.subarray((first + place) * classes.length, (first + place + 1) * classes.length)].map(Math.exp))

  const decision = lookThroughGate(recipe.gate, gate, {
    step: 0, classes, probabilities: believed(labels.length, data.gate.pixels.keys()), labels: labelsOf(data.gate.items, classes),
  })
  onEvent({ type: 'gate', look: decision.look })
  const places = evenlySpaced(paths.length, mostFramesOf(presets[preset]))
  const allowed = whatFramesTeach(believed(images.length - paths.length, places), decision, recipe)
  const teaching = allowed.length < fewestFrames ? [] : allowed
  const placeOf = ({ row }: { row: number }) => places[row] ?? 0
  onPseudoLabels?.(0, teaching
    .filter(({ sure }) => sure).map(frame => [paths[placeOf(frame)] ?? '', classes[argMax(frame.target)] ?? '']))
  const shortcut = await fit({
    features: await describe(teaching.map(frame => unlabeled.pixels[placeOf(frame)] as Uint8Array)), targets: teaching.map(({ target }) => target),
  })
  return { frames: paths, dictionary, shortcut, beliefs, decision, taught: teaching.length }
}

/**
 * What an interrupted round goes on with: what was prepared, and of its frames those that are still there. Frames that came since wait for the
 * next round, and the gate split is not looked at again for them.
 */
export function remaining(prepared: Prepared, data: RoundImages): { prepared: Prepared; data: RoundImages } {
  const { unlabeled, labeled, gate } = data
  const at = new Map(unlabeled.items.map((path, index) => [path, index]))
  const kept = prepared.frames.flatMap((path, index) => (at.has(path) ? [{ path, index, place: at.get(path) ?? 0 }] : []))
  const before = labeled.items.length + gate.items.length
  const width = prepared.beliefs.length / (before + prepared.frames.length)
  const beliefs = new Float32Array((before + kept.length) * width)
  beliefs.set(prepared.beliefs.subarray(0, before * width))
  kept.forEach(({ index }, row) => {
    beliefs.set(prepared.beliefs.subarray((before + index) * width, (before + index + 1) * width), (before + row) * width)
  })
  const frames = kept.map(({ path }) => path)
  const pixels = kept.map(({ place }) => unlabeled.pixels[place] as Uint8Array)
  return { prepared: { ...prepared, frames, beliefs }, data: { ...data, unlabeled: { ...unlabeled, items: frames, pixels } } }
}

/** A first round may begin before the camera has seen much: then there are only labels to learn from. */
export function hasFrames(data: RoundImages, preset: PresetName): boolean {
  return data.unlabeled.items.length >= presets[preset].labeled
}

/**
 * Of frames with these probabilities [m][C], those that the gate lets teach: their rows, what they are to be classified as [C], and whether they
 * count as pseudo-labels.
 */
export function whatFramesTeach(
  judged: readonly (readonly number[])[], { look: { threshold }, classWeights }: GateDecision, { softTargets }: Pick<Recipe, 'softTargets'>,
): { row: number; target: number[]; sure: boolean }[] {
  return judged.flatMap((row, index) => {
    const label = argMax(row)
    if (threshold === null || classWeights[label] !== 1) return []
    const sure = (row[label] ?? 0) >= threshold
    return softTargets || sure ? [{ row: index, target: softTargets ? sharpened(row) : certain(label, row.length), sure }] : []
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

/** Frames that the shortcut is fitted to at most, evenly spaced: more say the same, and their features stay within 128 MiB. */
function mostFramesOf(preset: Preset): number {
  return Math.min(10_000, Math.floor(2 ** 27 / (4 * featureCountOf(preset))))
}
