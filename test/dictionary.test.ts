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
import { closedGate, type GateDecision } from '../trainer/gate/pseudo-label-gate.js'
import { described, featureCountOf, flatVariance, wordCount, wordSide } from '../trainer/model/dictionary.js'
import { presets } from '../trainer/model/presets.js'
import { whatFramesTeach } from '../trainer/prepare.js'
import { fitShortcut, shortcutLogits } from '../trainer/shortcut.js'
import { Turns } from '../trainer/turns.js'
import { draw, on } from './both-backends.js'
import { undisturbed as turns } from './ordinary.js'

registerOnnxRuntimeBackend()
beforeEach(async () => { await tf.setBackend(backendName) })

const preset = presets.nano
const side = preset.size
const dictionaryFeatures = featureCountOf(preset)

describe('what a picture is described by', () => {
  const weights = () => ({ 'dictionary.weight': draw([wordSide, wordSide, 1, wordCount], 3), 'dictionary.bias': draw([wordCount], 4) })

  it.each(['nano', 'micro'] as const)('%s: is how much each word agrees with the windows of each patch, as a plain loop counts it', async name => {
    const { size, patch } = presets[name]
    const [across, ratio] = [size / patch, patch / 4]
    const image = draw([1, across ** 2, patch ** 2 * 3], 5)
    const { features = [], pixels = [], weight = [], bias = [] } = await on(backendName, () => {
      const given = weights()
      return { features: described(given, image as tf.Tensor3D, presets[name]), pixels: image, weight: given['dictionary.weight'], bias: given['dictionary.bias'] }
    })
    const inside = (at: number) => Math.min(4 * across - 1, Math.max(0, at))
    /** A pixel of the picture is the mean of as many pixels of the image as are shrunk to it. */
    const grey = (row: number, column: number) => {
      const values = Array.from({ length: ratio ** 2 * 3 }, (_, at) => {
        const [y, x] = [inside(row) * ratio + Math.floor(at / 3 / ratio), inside(column) * ratio + (Math.floor(at / 3) % ratio)]
        const place = Math.floor(y / patch) * across + Math.floor(x / patch)
        return pixels[(place * patch ** 2 + (y % patch) * patch + (x % patch)) * 3 + (at % 3)]!
      })
      return values.reduce((sum, value) => sum + value, 0) / values.length
    }
    const agreement = (row: number, column: number, word: number) => {
      const window = Array.from({ length: wordSide ** 2 }, (_, at) => grey(row + Math.floor(at / wordSide) - 2, column + (at % wordSide) - 2))
      const mean = window.reduce((sum, value) => sum + value, 0) / window.length
      const variance = window.reduce((sum, value) => sum + (value - mean) ** 2, 0) / window.length
      const product = window.reduce((sum, value, at) => sum + value * weight[at * wordCount + word]!, 0)
      return Math.max(0, product / Math.sqrt(variance + flatVariance) + bias[word]!)
    }
    for (const [row, column, word] of [[0, 0, 0], [0, across - 1, 63], [3, 4, 17], [across - 1, across - 1, 40]] as const) {
      const cell = Array.from({ length: 16 }, (_, at) => agreement(row * 4 + Math.floor(at / 4), column * 4 + (at % 4), word))
      expect(features[(row * across + column) * wordCount + word]).toBeCloseTo(cell.reduce((sum, value) => sum + value, 0) / 16, 3)
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
    pixels = (await loadImages(all, ({ path }) => path, side, turns)).pixels
    truth = all.map(({ label }) => label)
  })
  const learn = (images: readonly Uint8Array[], seed = 1) => learnDictionary({ images, preset, seed, turns })
  const featuresIn = (images: readonly Uint8Array[], dictionary: Float32Array) => featuresOf(images, { preset, dictionary, turns })

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
    await expect(learnDictionary({ images: pixels, preset, seed: 1, turns: new Turns({ signal: AbortSignal.abort() }) })).rejects.toThrow()
  })

  it('few numbers tell most of how pictures differ', async () => {
    const dictionary = await learn(pixels)
    const features = await featuresIn(pixels, dictionary)
    const length = 30
    const basis = await basisOf(features, { count: pixels.length, length, seed: 1, turns })
    // A picture's nearest neighbour among 30 numbers is nearly always of its own class, as it is among all 3,136.
    const few = await featuresOf(pixels, { preset, dictionary, columns: basis, turns })
    const agreeing = (rows: Float32Array, size: number) => truth.filter((label, row) => {
      const distances = truth.map((_, other) => (other === row ? Infinity
        : rows.subarray(row * size, (row + 1) * size).reduce((sum, value, at) => sum + (value - rows[other * size + at]!) ** 2, 0)))
      return truth[distances.indexOf(Math.min(...distances))] === label
    }).length / truth.length
    expect(agreeing(features, dictionaryFeatures)).toBeGreaterThan(0.9)
    expect(agreeing(few, length)).toBeGreaterThan(0.9)
    // At unit variance, the strongest directions have more of the variance than as many others would; half whitened they show its root.
    const spread = Array.from({ length }, (_, column) => {
      const values = truth.map((__, row) => few[row * length + column]!)
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length
      return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
    })
    expect(spread.reduce((sum, value) => sum + value ** 2, 0) / dictionaryFeatures).toBeGreaterThan(0.4)
  })

  describe('the shortcut', () => {
    let features: Float32Array
    beforeAll(async () => { features = await featuresIn(pixels, await learn(pixels)) })
    const rowsOf = (places: readonly number[]) => {
      const rows = new Float32Array(places.length * dictionaryFeatures)
      places.forEach((place, index) => {
        rows.set(features.subarray(place * dictionaryFeatures, (place + 1) * dictionaryFeatures), index * dictionaryFeatures)
      })
      return rows
    }
    const certain = (label: number) => [0, 1].map(other => (other === label ? 1 : 0))
    /** Two of each class are labeled, all others are frames; of some it is said what they are. Gives how many pictures of all are named rightly. */
    const rightAfter = async (said: (row: number) => number[] | null) => {
      const known = [0, 1].flatMap(label => truth.flatMap((own, row) => (own === label ? [row] : [])).slice(0, 2))
      const taught = truth.flatMap((_, row) => (known.includes(row) || !said(row) ? [] : [row]))
      const flat = await fitShortcut({
        labeled: { features: rowsOf(known), targets: known.map(row => certain(truth[row]!)) },
        frames: { features: rowsOf(taught), targets: taught.map(row => said(row)!) }, prior: [0.5, 0.5], seed: 1, limitMs: null, turns,
      })
      const named = (await shortcutLogits(flat, features, { count: truth.length, classCount: 2 })).map(argMax)
      return named.filter((label, row) => label === truth[row]).length / truth.length
    }

    it('learns from labels alone, and from the word of frames', async () => {
      expect(await rightAfter(() => null)).toBeGreaterThan(0.8)
      expect(await rightAfter(row => (truth[row] === 0 ? [0.95, 0.05] : [0.05, 0.95]))).toBeGreaterThan(0.97)
      expect(await rightAfter(row => certain(1 - truth[row]!))).toBeLessThan(0.5)
    })

    it('is not carried away where all frames that teach are of one class: the labels of the others stand for theirs', async () => {
      expect(await rightAfter(row => (truth[row] === 0 ? [0.95, 0.05] : null))).toBeGreaterThan(0.8)
    })

    it('is there in time, however short that is', async () => {
      const labeled = { features: rowsOf([0, 119]), targets: [[1, 0], [0, 1]] }
      const frames = { features: new Float32Array(), targets: [] }
      const flat = await fitShortcut({ labeled, frames, prior: [0.5, 0.5], seed: 1, limitMs: 1, turns })
      expect(flat.every(Number.isFinite)).toBe(true)
    })

    it('is fitted no further once the round is stopped', async () => {
      const labeled = { features: rowsOf([0]), targets: [[1, 0]] }
      const options = { prior: [0.5, 0.5], seed: 1, limitMs: null, turns: new Turns({ signal: AbortSignal.abort() }) }
      await expect(fitShortcut({ labeled, frames: labeled, ...options })).rejects.toThrow()
    })
  })
})

describe('what frames teach', () => {
  const decision = (threshold: number | null, classWeights: number[]): GateDecision => ({
    look: { step: 0, open: true, threshold, accepted: 0, correct: 0, precisionLowerBound: 0, vetoed: [], accuracy: 0 },
    next: closedGate(1), classWeights,
  })
  const judged = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]

  it('is nothing while the gate is closed', () => {
    expect(whatFramesTeach(judged, decision(null, [1, 1]), { softTargets: true })).toEqual([])
  })

  it('is the judge\'s sharpened word of all frames', () => {
    const taught = whatFramesTeach(judged, decision(0.8, [1, 1]), { softTargets: true })
    expect(taught.map(({ row, sure }) => [row, sure])).toEqual([[0, true], [1, false], [2, true]])
    expect(taught[1]!.target[0]).toBeCloseTo(0.36 / (0.36 + 0.16), 9)
  })

  it('is the class of the surest ones where targets are hard', () => {
    expect(whatFramesTeach(judged, decision(0.8, [1, 1]), { softTargets: false }))
      .toEqual([{ row: 0, target: [1, 0], sure: true }, { row: 2, target: [0, 1], sure: true }])
  })

  it('is nothing of a vetoed class', () => {
    expect(whatFramesTeach(judged, decision(0.8, [0, 1]), { softTargets: true }).map(({ row }) => row)).toEqual([2])
  })
})
