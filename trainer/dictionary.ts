/** Learns the words of the dictionary from pictures that nobody labeled: windows at even contrast, whitened, and their k means. */
import { CholeskyDecomposition, inverse, Matrix } from 'ml-matrix'
import type * as tf from './backend/tf.js'
import { embedded, useEngine } from './backend/choose.js'
import { jit } from './backend/jit.js'
import { deviationsOf } from './columns.js'
import { Random } from './data/random.js'
import { featuresOf, inChunks } from './features.js'
import { featureCountOf, flatVariance, pictures, pictureSideOf, wordCount, wordSide } from './model/dictionary.js'
import type { Preset } from './model/presets.js'
import type { Turns } from './turns.js'

/** Pictures that windows are taken from at random: with as many, a dictionary is as good as it gets. */
export const picturesForWords = 1500

const learning = {
  /** Windows for each picture. */
  windows: 20,
  /** Deviation below which a window shows nothing, where the brightness ranges over 4. */
  leastDeviation: 0.05,
  /** Added to the variances before whitening: faint directions are mostly noise. */
  noise: 0.1,
  rounds: 15,
  /** Share of the mean deviation that a word has at least: one that is hardly ever seen must not shout when it is. */
  steady: 0.1,
} as const

const pixels = wordSide ** 2

export interface DictionaryOptions {
  /** Decoded images, uint8 [S, S, 3] each. */
  images: readonly Uint8Array[]
  preset: Preset
  seed: number
  turns: Turns
}

/**
 * `dictionary.weight` [side, side, 1, words] and `dictionary.bias` [words], flat, such that the features of an image are about of length 1. All
 * zeros where the pictures show nothing. Errors: what its turns raise.
 */
export async function learnDictionary({ images, preset, seed, turns }: DictionaryOptions): Promise<Float32Array> {
  const random = Random.of(seed, 6)
  const chosen = random.permutation(images.length).slice(0, picturesForWords)
  const sample = [...chosen].map(index => images[index] as Uint8Array)
  const side = pictureSideOf(preset)
  const windows = contrasted(windowsOf(await picturesOf(sample, preset, turns), side, random))
  if (windows.rows === 0) return new Float32Array((pixels + 1) * wordCount)

  const mean = windows.mean('column')
  const centred = windows.subRowVector(mean)
  const covariance = centred.transpose().mmul(centred).div(centred.rows).add(Matrix.eye(pixels).mul(learning.noise))
  // Distances are the same under every square root of the inverse.
  const whitening = inverse(new CholeskyDecomposition(covariance).lowerTriangularMatrix)
  const words = await kMeans(centred.mmul(whitening.transpose()), random, turns)
  const flat = nearness(words, whitening, mean)

  const features = await featuresOf(sample, { preset, dictionary: flat, turns })
  const deviations = deviationsOf(features, wordCount)
  const least = learning.steady * (deviations.reduce((sum, value) => sum + value, 0) / wordCount) + 1e-6
  const length = Math.sqrt(featureCountOf(preset))
  return flat.map((value, index) => value / (length * Math.max(deviations[index % wordCount] ?? 0, least)))
}

/** Grey pictures [n, S, S], flat. */
async function picturesOf(images: readonly Uint8Array[], preset: Preset, turns: Turns): Promise<Float32Array> {
  await useEngine(embedded)
  await using shrink = jit<[tf.Tensor3D], tf.Tensor4D>(patches => pictures(patches, preset), { name: 'pictures', threads: 1 })
  return await inChunks(images, { preset, length: pictureSideOf(preset) ** 2, turns }, shrink)
}

/** Windows at random places [n, pixels]. */
function windowsOf(all: Float32Array, side: number, random: Random): Matrix {
  const count = all.length / side ** 2
  return new Matrix(Array.from({ length: count * learning.windows }, () => {
    const [picture, top, left] = [random.below(count), random.below(side - wordSide + 1), random.below(side - wordSide + 1)]
    return Array.from({ length: pixels }, (_, pixel) =>
      all[(picture * side + top + Math.floor(pixel / wordSide)) * side + left + (pixel % wordSide)] ?? 0)
  }))
}

/** Each window that shows something at zero mean and unit variance, as the model has it. */
function contrasted(windows: Matrix): Matrix {
  return new Matrix(windows.to2DArray().flatMap(row => {
    const mean = row.reduce((sum, value) => sum + value, 0) / pixels
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / pixels
    return variance < learning.leastDeviation ** 2 ? [] : [row.map(value => (value - mean) / Math.sqrt(variance + flatVariance))]
  }))
}

/** Lloyd's algorithm from random rows [n, D]; a mean that no row is nearest to stays. Gives [words, D]. */
async function kMeans(rows: Matrix, random: Random, turns: Turns): Promise<Matrix> {
  const points = rows.to2DArray().map(row => Float64Array.from(row))
  let means = Array.from({ length: wordCount }, () => points[random.below(points.length)] as Float64Array)
  for (let round = 0; round < learning.rounds; round++) {
    await turns.next()
    const sums = means.map(({ length }) => new Float64Array(length))
    const counts = new Array<number>(wordCount).fill(0)
    for (const point of points) {
      const word = nearestOf(means, point)
      counts[word] = (counts[word] ?? 0) + 1
      const sum = sums[word]
      if (sum) point.forEach((value, at) => { sum[at] = (sum[at] ?? 0) + value })
    }
    means = means.map((mean, word) => (counts[word] ? (sums[word] ?? mean).map(sum => sum / (counts[word] ?? 1)) : mean))
  }
  return new Matrix(means.map(mean => [...mean]))
}

function nearestOf(means: readonly Float64Array[], point: Float64Array): number {
  let [nearest, least] = [0, Infinity]
  means.forEach((mean, word) => {
    let distance = 0
    for (let at = 0; at < point.length && distance < least; at++) distance += ((point[at] ?? 0) - (mean[at] ?? 0)) ** 2
    if (distance < least) [nearest, least] = [word, distance]
  })
  return nearest
}

/**
 * What a window at even contrast, x, is multiplied with and what is added, so that relu gives by how much it is nearer to word k than to all words
 * in the mean: mean_j |z − w_j|² − |z − w_k|² with z = L⁻¹ (x − μ), which is linear in x.
 */
function nearness(words: Matrix, whitening: Matrix, mean: readonly number[]): Float32Array {
  const squares = words.to2DArray().map(row => row.reduce((sum, value) => sum + value * value, 0))
  const square = squares.reduce((sum, value) => sum + value, 0) / wordCount
  const apart = words.clone().subRowVector(words.mean('column')).mmul(whitening).mul(2) // [words, pixels]
  const flat = new Float32Array((pixels + 1) * wordCount)
  apart.to2DArray().forEach((row, word) => {
    const own = row.reduce((sum, value) => sum + value, 0) / pixels
    row.forEach((value, pixel) => { flat[pixel * wordCount + word] = value - own })
    const shift = row.reduce((sum, value, pixel) => sum + value * (mean[pixel] ?? 0), 0)
    flat[pixels * wordCount + word] = square - (squares[word] ?? 0) - shift
  })
  return flat
}
