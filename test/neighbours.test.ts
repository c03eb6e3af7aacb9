/** What pictures say of each other, and what becomes of it beside a classifier. */
import { describe, expect, it } from 'vitest'
import { Random } from '../trainer/data/random.js'
import { argMax } from '../trainer/evidence.js'
import { spreadLabels, together } from '../trainer/neighbours.js'
import { fitLinear } from '../trainer/linear.js'
import { Turns } from '../trainer/turns.js'
import { undisturbed as turns } from './ordinary.js'

/** Rows of probabilities [n][C]. */
function rowsOf(flat: Float32Array, classes: number): number[][] {
  return Array.from({ length: flat.length / classes }, (_, row) => [...flat.subarray(row * classes, (row + 1) * classes)])
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
    const rows = rowsOf(await spreadLabels({ features, labels, prior: uniform(3), turns }), 3)
    expect(rows.map(argMax)).toEqual(truth)
    for (const row of rows) expect(row.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 4)
  })

  it('give nothing to an image that no label reaches', async () => {
    const { features, truth } = clouds(40, 2)
    const rows = rowsOf(await spreadLabels({ features, labels: truth.map((_, row) => (row === 0 ? 0 : -1)), prior: [0.8, 0.2], turns }), 2)
    // The second cloud hangs together with itself alone.
    for (const [row, cloud] of truth.entries()) expect(rows[row]).toEqual(cloud === 0 ? [1, 0] : [0, 0])
  })

  it('are not spread once the round is stopped, nor any further', async () => {
    const { features, truth } = clouds(40, 2)
    const controller = new AbortController()
    const spreading = spreadLabels({ features, labels: truth, prior: [0.5, 0.5], turns: new Turns({ signal: controller.signal }) })
    setImmediate(() => { controller.abort() })
    await expect(spreading).rejects.toThrow('aborted')
  })

  it('stand for fewer images than an image has neighbours', async () => {
    const { features } = clouds(2, 2)
    const rows = rowsOf(await spreadLabels({ features, labels: [0, 1, -1, -1], prior: uniform(2), turns }), 2)
    expect(rows.flat().every(Number.isFinite)).toBe(true)
  })
})

describe('the judge', () => {
  const logits = Float32Array.of(2, 0, 0, 2)

  it('is as sure as the classifier and the neighbours together', () => {
    const [row] = rowsOf(together(logits, Float32Array.of(0.9, 0.1, 0.5, 0.5), 2).map(Math.exp), 2)
    // Odds of the geometric mean, in which the neighbours count three times.
    expect(row![0]! / row![1]!).toBeCloseTo(Math.exp(2) ** (1 / 4) * 9 ** (3 / 4), 3)
  })

  it('is the classifier alone where no label reaches', () => {
    const alone = rowsOf(together(logits, Float32Array.of(0.9, 0.1, 0, 0), 2).map(Math.exp), 2)[1]
    expect(alone![1]! / alone![0]!).toBeCloseTo(Math.exp(2), 3)
  })
})

const width = 50

it('a row of the linear fit counts as much as its weight says', async () => {
  // One picture twice, once as each class: all that can be said of it are the odds of the two weights.
  const random = new Random(3)
  const one = Float32Array.from({ length: width }, () => random.float() / Math.sqrt(width))
  const both = new Float32Array([...one, ...one])
  const flat = await fitLinear({ features: both, targets: Float32Array.of(9, 0, 0, 1), classCount: 2, penalty: 1e-9, turns })
  const logit = (label: number) => one.reduce((sum, value, at) => sum + value * flat[at * 2 + label]!, flat[width * 2 + label]!)
  expect(logit(0) - logit(1)).toBeCloseTo(Math.log(9), 1)
})
