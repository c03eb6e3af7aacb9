/** The dictionary: what a picture is described by, how its words are learned, and what is fitted on it. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { bundled } from '../agent/config.js'
import { backendName, registerOnnxRuntimeBackend } from '../trainer/backend/backend.js'
import * as tf from '../trainer/backend/tf.js'
import { basisOf } from '../trainer/basis.js'
import { loadImages } from '../trainer/data/load.js'
import { learnDictionary } from '../trainer/dictionary.js'
import { argMax } from '../trainer/evidence.js'
import { featuresOf } from '../trainer/features.js'
import { closedGate } from '../trainer/gate/pseudo-label-gate.js'
import { described, dictionaryFeatures, flatVariance, wordCount, wordSide } from '../trainer/model/dictionary.js'
import { presets } from '../trainer/model/presets.js'
import { fitToFrames } from '../trainer/prepare.js'
import { logitsOf } from '../trainer/shortcut.js'
import { draw, on } from './both-backends.js'

registerOnnxRuntimeBackend()
beforeEach(async () => { await tf.setBackend(backendName) })

const { signal } = new AbortController()
const preset = presets.nano
/** One patch that is the whole picture: its pixels then lie row by row. */
const whole = { ...preset, patch: preset.size }
const side = preset.size

describe('what a picture is described by', () => {
  const weights = () => ({ 'dictionary.weight': draw([wordSide, wordSide, 1, wordCount], 3), 'dictionary.bias': draw([wordCount], 4) })

  it('is how much each word agrees with the windows of each cell, as a plain loop counts it', async () => {
    const image = draw([1, 1, side * side * 3], 5)
    const { features = [], pixels = [], weight = [], bias = [] } = await on(backendName, () => {
      const given = weights()
      return { features: described(given, image as tf.Tensor3D, whole), pixels: image, weight: given['dictionary.weight'], bias: given['dictionary.bias'] }
    })
    const inside = (at: number) => Math.min(side - 1, Math.max(0, at))
    const grey = (row: number, column: number) => [0, 1, 2].reduce((sum, channel) => sum + pixels[(inside(row) * side + inside(column)) * 3 + channel]! / 3, 0)
    const agreement = (row: number, column: number, word: number) => {
      const window = Array.from({ length: wordSide ** 2 }, (_, at) => grey(row + Math.floor(at / wordSide) - 2, column + (at % wordSide) - 2))
      const mean = window.reduce((sum, value) => sum + value, 0) / window.length
      const variance = window.reduce((sum, value) => sum + (value - mean) ** 2, 0) / window.length
      const product = window.reduce((sum, value, at) => sum + value * weight[at * wordCount + word]!, 0)
      return Math.max(0, product / Math.sqrt(variance + flatVariance) + bias[word]!)
    }
    for (const [row, column, word] of [[0, 0, 0], [0, 6, 63], [3, 4, 17], [6, 6, 40]] as const) {
      const cell = Array.from({ length: 16 }, (_, at) => agreement(row * 4 + Math.floor(at / 4), column * 4 + (at % 4), word))
      expect(features[(row * 7 + column) * wordCount + word]).toBeCloseTo(cell.reduce((sum, value) => sum + value, 0) / 16, 3)
    }
  })
})

describe('words', () => {
  const classes = ['bag', 'trouser']
  let pixels: Uint8Array[]
  let truth: number[]
  beforeAll(async () => {
    const all = (await Promise.all(classes.map(async (name, label) => (await readdir(join(bundled('validation'), name))).sort()
      .map(file => ({ path: join(bundled('validation'), name, file), label }))))).flat()
    pixels = (await loadImages(all, ({ path }) => path, side, signal)).pixels
    truth = all.map(({ label }) => label)
  })
  const learn = (images: readonly Uint8Array[], seed = 1) => learnDictionary({ images, preset, seed, signal })
  const featuresIn = (images: readonly Uint8Array[], dictionary: Float32Array) => featuresOf(images, { preset, dictionary, signal })

  it('are the same for the same pictures and seed, and describe a picture alike under any lamp', async () => {
    const dictionary = await learn(pixels)
    expect(await learn(pixels)).toEqual(dictionary)
    expect(await learn(pixels, 2)).not.toEqual(dictionary)
    const dim = pixels.map(image => image.map(value => 20 + value * 0.6))
    const [bright, dark] = [await featuresIn(pixels, dictionary), await featuresIn(dim, dictionary)]
    const length = Math.hypot(...bright.subarray(0, dictionaryFeatures))
    expect(length).toBeGreaterThan(0.5)
    expect(Math.hypot(...bright.subarray(0, dictionaryFeatures).map((value, at) => value - dark[at]!)) / length).toBeLessThan(0.3)
  })

  it.each([['that show nothing', () => [new Uint8Array(side * side * 3).fill(90)]], ['of which there is one', () => pixels.slice(0, 1)]] as const)(
    'of pictures %s are numbers all the same', async (_, images) => {
      const dictionary = await learn(images())
      expect([...dictionary, ...await featuresIn(images(), dictionary)].every(Number.isFinite)).toBe(true)
    })

  it('are not learned once the round is stopped', async () => {
    await expect(learnDictionary({ images: pixels, preset, seed: 1, signal: AbortSignal.abort() })).rejects.toThrow()
  })

  it('few numbers tell most of how pictures differ', async () => {
    const dictionary = await learn(pixels)
    const features = await featuresIn(pixels, dictionary)
    const length = 30
    const basis = await basisOf(features, { length, seed: 1, signal })
    // A picture's nearest neighbour among 30 numbers is nearly always of its own class, as it is among all 3,136.
    const few = await featuresOf(pixels, { preset, dictionary, basis, signal })
    const agreeing = (rows: Float32Array, size: number) => truth.filter((label, row) => {
      const distances = truth.map((_, other) => (other === row ? Infinity
        : rows.subarray(row * size, (row + 1) * size).reduce((sum, value, at) => sum + (value - rows[other * size + at]!) ** 2, 0)))
      return truth[distances.indexOf(Math.min(...distances))] === label
    }).length / truth.length
    expect(agreeing(features, dictionaryFeatures)).toBeGreaterThan(0.9)
    expect(agreeing(few, length)).toBeGreaterThan(0.9)
    // At unit variance, the strongest directions have more of the variance than as many others would.
    const spread = few.reduce((sum, value, at) => sum + (value - few.filter((_, other) => other % length === at % length).reduce((total, other) => total + other, 0) / truth.length) ** 2, 0)
    expect(spread / truth.length / dictionaryFeatures).toBeGreaterThan(0.4)
  })

  describe('the classifier fitted to labels and frames', () => {
    let features: Float32Array
    beforeAll(async () => { features = await featuresIn(pixels, await learn(pixels)) })
    const rowOf = (row: number) => features.subarray(row * dictionaryFeatures, (row + 1) * dictionaryFeatures)
    const rows = (places: readonly number[]) => {
      const chosen = new Float32Array(places.length * dictionaryFeatures)
      places.forEach((place, index) => { chosen.set(rowOf(place), index * dictionaryFeatures) })
      return chosen
    }
    /** The first of each class is labeled; all others are frames, of which `judged` says what they are. */
    const fit = (judged: (row: number) => number[], { classWeights = [1, 1], threshold = 0.8 as number | null, softTargets = true } = {}) => {
      const known = classes.map((_, label) => truth.indexOf(label))
      const frames = truth.flatMap((_, row) => (known.includes(row) ? [] : [row]))
      const look = { step: 0, open: true, threshold, accepted: 0, correct: 0, precisionLowerBound: 0, vetoed: [], accuracy: 0 }
      return fitToFrames({
        labeled: { features: rows(known), labels: [0, 1] }, frames: { features: rows(frames), judged: frames.map(judged) },
        prior: [0.5, 0.5], decision: { look, next: closedGate(1), classWeights }, softTargets, signal,
      })
    }
    const right = (flat: Float32Array) => truth.filter((label, row) => argMax([...logitsOf(flat, rowOf(row), 2)]) === label).length / truth.length
    const knowing = (row: number) => (truth[row] === 0 ? [0.9, 0.1] : [0.1, 0.9])

    it('takes the word of the frames', async () => {
      expect(right((await fit(knowing))!)).toBeGreaterThan(0.97)
      expect(right((await fit(row => knowing(row).toReversed()))!)).toBeLessThan(0.5)
    })

    it('is not fitted where the gate is closed, no frame is sure enough, or every class is vetoed', async () => {
      expect(await fit(knowing, { threshold: null })).toBeNull()
      expect(await fit(knowing, { threshold: 0.95, softTargets: false })).toBeNull()
      expect(await fit(knowing, { classWeights: [0, 0] })).toBeNull()
    })

    it('learns nothing from frames of a vetoed class: its label speaks for it', async () => {
      // Every frame claims to be a bag, and bags are vetoed.
      expect(await fit(() => [0.9, 0.1], { classWeights: [0, 1] })).toBeNull()
      const half = (row: number) => (row % 2 === 0 ? [0.9, 0.1] : knowing(row))
      const vetoed = (await fit(half, { classWeights: [0, 1] }))!
      const bags = truth.flatMap((label, row) => (label === 0 ? [row] : []))
      expect(bags.filter(row => argMax([...logitsOf(vetoed, rowOf(row), 2)]) === 0).length / bags.length).toBeGreaterThan(0.5)
    })
  })
})
