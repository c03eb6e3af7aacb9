/** The first reports: the simple guesses err by what they must, pictures keep what was visible, counts and gaps are those of known cases. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { Random } from '../trainer/data/random.js'
import { presets, type Preset } from '../trainer/model/presets.js'
import { counted } from './learning/consistency.js'
import { fills, meanOf, type FillName } from './learning/fills.js'
import { renderedFirst, type FirstResult } from './learning/first-tables.js'
import { gapsTable, keysOf } from './learning/fractions.js'
import { drawMask, errorOn, patchesOf, type Mask } from '../trainer/pictures/masking.js'
import { picture, rowsOf } from '../trainer/pictures/rows.js'
import type { RunResult } from './learning/run.js'
import { linesOf } from './learning/script.js'

/** Four patches of four pixels. */
const tiny: Preset = { ...presets.nano, size: 4, patch: 2 }

/** uint8 [S, S, 3], grey as `of` says of row and column. */
function grey(preset: Preset, of: (row: number, column: number) => number): Uint8Array {
  return Uint8Array.from({ length: preset.size ** 2 * 3 }, (_, index) => {
    const pixel = Math.floor(index / 3)
    return of(Math.floor(pixel / preset.size), pixel % preset.size)
  })
}

function maskOf(keep: readonly number[], drop: readonly number[]): Mask {
  return { keepIds: Int32Array.from(keep), dropIds: Int32Array.from(drop) }
}

describe('simple guesses at hidden patches', () => {
  // Patches of one brightness each: 0 and 1 above, .2 and .4 below.
  const patches = patchesOf(grey(tiny, (row, column) => ([[0, 255], [51, 102]][row >> 1] ?? [])[column >> 1] ?? 0), tiny)
  const meanImage = meanOf([grey(tiny, () => 0), grey(tiny, () => 255)], tiny)
  const errors = (mask: Mask) => Object.fromEntries(Object.entries(fills).map(([name, fill]) =>
    [name, errorOn(patches, mask, fill({ patches, mask, preset: tiny, meanImage }), tiny)])) as Record<FillName, number>

  it('err by what is hidden where one patch is visible', () => {
    const found = errors(maskOf([0], [1, 2, 3]))
    expect(found['mean patch']).toBeCloseTo((0.5 ** 2 + 0.3 ** 2 + 0.1 ** 2) / 3, 5)
    for (const name of ['mean of the visible patches', 'nearest visible patch', 'smooth fill'] as const) {
      expect(found[name]).toBeCloseTo((1 + 0.2 ** 2 + 0.4 ** 2) / 3, 5)
    }
  })

  it('take the nearest of two visible patches, or their mean', () => {
    const found = errors(maskOf([1, 0], [3, 2]))
    expect(found['mean of the visible patches']).toBeCloseTo((0.3 ** 2 + 0.1 ** 2) / 2, 5)
    expect(found['nearest visible patch']).toBeCloseTo((0.2 ** 2 + 0.6 ** 2) / 2, 5)
  })

  it('fill a ramp smoothly without an error', () => {
    const ramp: Preset = { ...tiny, size: 6 }
    const image = patchesOf(grey(ramp, (_, column) => 51 * column), ramp)
    const mask = maskOf([0, 2, 3, 5, 6, 8], [1, 4, 7])
    expect(errorOn(image, mask, fills['smooth fill']({ patches: image, mask, preset: ramp, meanImage: image }), ramp)).toBeLessThan(1e-9)
  })
})

describe('the picture of a reconstruction', () => {
  const { nano } = presets

  it('keeps the visible patches as they were, and hides all others in the second row', () => {
    fc.assert(fc.property(fc.nat(1000), seed => {
      const random = Random.of(seed)
      const image = grey(nano, () => random.below(256))
      const [patches, mask] = [patchesOf(image, nano), drawMask(nano, 0.75, random)]
      const guess = new Float32Array(mask.dropIds.length * nano.patch ** 2 * 3).fill(9)
      const [[original], [masked], [reconstructed]] = rowsOf([{ patches, mask, guess }], nano) as [Uint8Array[], Uint8Array[], Uint8Array[]]
      expect(original).toEqual(image)
      image.forEach((value, index) => {
        const [row, column] = [Math.floor(index / 3 / nano.size), Math.floor(index / 3) % nano.size]
        const visible = mask.keepIds.includes(Math.floor(row / nano.patch) * (nano.size / nano.patch) + Math.floor(column / nano.patch))
        const hidden = [70, 90, 140][index % 3]
        if (masked?.[index] !== (visible ? value : hidden) || reconstructed?.[index] !== (visible ? value : 255)) throw new Error(`pixel ${String(index)}`)
      })
    }), { numRuns: 20 })
  })

  it('has every photograph four times its size', async () => {
    const white = grey(nano, () => 255)
    const { width, height } = await sharp(await picture([[white, white], [white, white], [white, white]], nano.size)).metadata()
    expect([width, height]).toEqual([6 + 2 * (4 * 28 + 6), 6 + 3 * (4 * 28 + 6)])
  })
})

it('consistency counts pairs by the confidence of the weak view, and what each rule would accept', () => {
  const [sure, rather, other] = [[0.97, 0.03], [0.6, 0.4], [0.02, 0.98]] as const
  const { bins, rules } = counted([
    { truth: 0, pairs: [{ weak: sure, strong: sure }, { weak: sure, strong: rather }] },
    { truth: 0, pairs: [{ weak: sure, strong: sure }, { weak: sure, strong: other }] },
    { truth: 1, pairs: [{ weak: rather, strong: other }, { weak: sure, strong: sure }] },
  ])
  expect(bins.filter(({ pairs }) => pairs > 0)).toEqual([
    { from: 0.5, pairs: 1, agreeing: 0, rightAgreeing: 0, rightDisagreeing: 0 },
    { from: 0.95, pairs: 5, agreeing: 4, rightAgreeing: 3, rightDisagreeing: 1 },
  ])
  expect(Object.fromEntries(rules.map(({ rule, accepted, right }) => [rule, [accepted, right]]))).toEqual({
    'every view': [6, 4],
    'the views agree': [4, 3],
    'they disagree': [2, 1],
    'all views of the image agree': [2, 2],
    'weak view above .95': [5, 4],
    'weak view above .95, they disagree': [1, 1],
    'the paper: both above .95 and agreeing': [3, 2],
  })
})

describe('shares of labels', () => {
  const length = { steps: 100, minutes: null, validation: 600, choose: true } as const

  it('are so many labels of each class', () => {
    const keys = keysOf({ percents: [1, 5, 10, 25], seeds: [1], methods: ['supervised'], ...length })
    expect(keys.map(({ perClass }) => perClass)).toEqual([60, 300, 600, 1500])
  })

  it('are compared seed by seed', () => {
    const run = (method: RunResult['method'], seed: number, framesAccuracy: number): RunResult => ({
      method, seed, perClass: 60, frames: null, switches: {}, recipe: null, ...length, accuracy: null, framesAccuracy, validationAccuracy: 0.1,
      seconds: 1, stepsTaken: 100, ece: 0, looks: [], pseudoLabels: [],
    })
    const [, , row] = gapsTable([run('supervised', 1, 0.6), run('supervised', 2, 0.7), run('paper', 1, 0.65), run('paper', 2, 0.73), run('paper', 3, 0.9)])
    expect(row).toBe('| 1 % (600) | 100 steps | frames | 3 | 65.0 ± 7.1 | 76.0 ± 12.8 | +4.0 ± 1.4 |')
  })
})

it('the page shows what the results tell', async () => {
  const page = await readFile(join(import.meta.dirname, '..', 'trainer', 'learning.md'), 'utf8')
  const results = join(import.meta.dirname, 'learning')
  const first = await linesOf<FirstResult>(join(results, 'first.jsonl'))
  expect(first.length).toBeGreaterThan(0)
  for (const result of first) expect(page).toContain(renderedFirst([result]).join('\n'))
  const runs = await linesOf<RunResult>(join(results, 'fractions.jsonl'))
  expect(runs.length).toBeGreaterThan(0)
  expect(page).toContain(gapsTable(runs).join('\n'))
})
