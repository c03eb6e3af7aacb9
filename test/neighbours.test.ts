/** What the frames say of each other, and what a round makes of it before its transformer learns. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { bundled } from '../agent/config.js'
import { loadImages } from '../trainer/data/load.js'
import { Random } from '../trainer/data/random.js'
import { argMax } from '../trainer/evidence.js'
import { featuresOf } from '../trainer/features.js'
import { learnDictionary } from '../trainer/dictionary.js'
import { dictionaryFeatures } from '../trainer/model/dictionary.js'
import { presets } from '../trainer/model/presets.js'
import { spreadLabels } from '../trainer/neighbours.js'
import { fitLinear } from '../trainer/linear.js'

const { signal } = new AbortController()

/** Rows of probabilities [n][C]. */
function rowsOf(words: Float32Array, classes: number): number[][] {
  return Array.from({ length: words.length / classes }, (_, row) => [...words.subarray(row * classes, (row + 1) * classes)].map(Math.exp))
}

describe('labels spread over neighbours', () => {
  const dimensions = 60
  /** Clouds of points, each about its own direction of the feature space. */
  function clouds(each: number, count: number): { features: Float32Array; truth: number[] } {
    const features = new Float32Array(each * count * dimensions)
    const truth = Array.from({ length: each * count }, (_, row) => row % count)
    const random = new Random(5)
    truth.forEach((cloud, row) => {
      for (let at = 0; at < dimensions; at++) features[row * dimensions + at] = random.normal() * 0.1 + (at % count === cloud ? 1 : 0)
    })
    return { features, truth }
  }
  const uniform = (classes: number) => new Array<number>(classes).fill(1 / classes)

  it('reach every image of a cloud from one label in each', async () => {
    const { features, truth } = clouds(40, 3)
    const labels = truth.map((cloud, row) => (row < 3 ? cloud : -1))
    const rows = rowsOf(await spreadLabels({ features, labels, prior: uniform(3), threads: 1, signal }), 3)
    expect(rows.map(argMax)).toEqual(truth)
    for (const row of rows) expect(row.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 4)
  })

  it('give nothing to an image that no label reaches but what the labels say of all', async () => {
    const { features, truth } = clouds(40, 2)
    const prior = [0.8, 0.2]
    const rows = rowsOf(await spreadLabels({ features, labels: truth.map((_, row) => (row === 0 ? 0 : -1)), prior, threads: 1, signal }), 2)
    // The second cloud hangs together with itself alone.
    for (const [row, cloud] of truth.entries()) expect(rows[row]![0]).toBeCloseTo(cloud === 0 ? 1 : prior[0]!, 2)
  })

  it('stand for fewer images than an image has neighbours', async () => {
    const { features } = clouds(2, 2)
    const rows = rowsOf(await spreadLabels({ features, labels: [0, 1, -1, -1], prior: uniform(2), threads: 1, signal }), 2)
    expect(rows.flat().every(Number.isFinite)).toBe(true)
  })
})

describe('on photographs', () => {
  const classes = ['ankle-boot', 'bag', 'dress', 'pullover', 'trouser']
  const folderOf = (name: string) => join(bundled('validation'), name)
  const rowOf = (row: number) => features.subarray(row * dictionaryFeatures, (row + 1) * dictionaryFeatures)
  let features: Float32Array
  let truth: number[]
  /** Ten of each class are labeled, the others are not. */
  let labels: number[]
  beforeAll(async () => {
    const all = (await Promise.all(classes.map(async (name, label) => (await readdir(folderOf(name))).sort()
      .map((file, place) => ({ path: join(folderOf(name), file), label, known: place < 10 }))))).flat()
    const { pixels } = await loadImages(all, ({ path }) => path, presets.nano.size, signal)
    const dictionary = await learnDictionary({ images: pixels, preset: presets.nano, seed: 1, signal })
    features = await featuresOf(pixels, { preset: presets.nano, dictionary, signal })
    truth = all.map(({ label }) => label)
    labels = all.map(({ label, known }) => (known ? label : -1))
  })
  const right = (judged: readonly number[]) => judged.filter((label, row) => labels[row] === -1 && label === truth[row]).length
  const unknown = () => labels.filter(label => label === -1).length

  it('neighbours and the linear classifier together are no worse than the worse of the two, and both are far from guessing', async () => {
    const words = await spreadLabels({ features, labels, prior: classes.map(() => 1 / classes.length), threads: 1, signal })
    const rows = labels.flatMap((label, row) => (label >= 0 ? [row] : []))
    const known = new Float32Array(rows.length * dictionaryFeatures)
    rows.forEach((row, index) => { known.set(rowOf(row), index * dictionaryFeatures) })
    const targets = Float32Array.from(rows.flatMap(row => classes.map((_, label) => (label === labels[row] ? 1 : 0))))
    const flat = await fitLinear({ features: known, targets, classCount: classes.length, penalty: 1e-5, signal })
    const logits = truth.map((_, row) => classes.map((__, label) => rowOf(row)
      .reduce((sum, value, at) => sum + value * flat[at * classes.length + label]!, flat[dictionaryFeatures * classes.length + label]!)))
    const linear = right(logits.map(argMax))
    const neighbours = right(rowsOf(words, classes.length).map(argMax))
    const both = right(logits.map((row, image) => argMax(row.map((value, label) => value + words[image * classes.length + label]!))))
    expect(Math.min(linear, neighbours)).toBeGreaterThan(0.8 * unknown())
    expect(both).toBeGreaterThanOrEqual(Math.min(linear, neighbours))
  })

  it('a row of the linear fit counts as much as its weight says', async () => {
    // One photograph twice, once as each class: all that can be said of it are the odds of the two weights.
    const one = features.slice(0, dictionaryFeatures)
    const both = new Float32Array([...one, ...one])
    const flat = await fitLinear({ features: both, targets: Float32Array.of(9, 0, 0, 1), classCount: 2, penalty: 1e-9, signal })
    const logit = (label: number) => one.reduce((sum, value, at) => sum + value * flat[at * 2 + label]!, flat[dictionaryFeatures * 2 + label]!)
    expect(logit(0) - logit(1)).toBeCloseTo(Math.log(9), 1)
  })
})
