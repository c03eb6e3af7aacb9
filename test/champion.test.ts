import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { adopt, weightsFrom, type Champion } from '../trainer/champion.js'
import { parameterTable, partOf } from '../trainer/model/parameters.js'
import { presets } from '../trainer/model/presets.js'
import { recipes } from '../trainer/recipe.js'

const { pawl: recipe } = recipes
const preset = presets.nano

/** A champion whose every weight tells its place, and whose head counts for `trainedShare` in its files. */
function champion(classes: string[], { trainedShare = null, pictures = 3000 }: { trainedShare?: number | null; pictures?: number } = {}): Champion {
  const table = parameterTable(preset, classes.length, recipe)
  const flat = new Float32Array(table.size).map((_, index) => index % 251)
  const head = partOf(table, flat, 'head.')
  head.set(head.map((_, index) => (trainedShare ?? 1) * (index + 1)))
  const tensors = new Map(table.specs.map(({ name, shape, offset, size }) => [name, { shape, data: flat.slice(offset, offset + size) }]))
  const data = { labeled: 100, unlabeled: pictures - 100 } as NonNullable<Champion['card']>['data']
  return { version: 1, sha256: '', card: { recipe: { ...recipe }, data, files: { 'model.onnx': '', 'weights.safetensors': '' }, classes, trainedShare }, learned: [], foreign: [], tensors }
}

/** Of each class the column of the head [rows + 1], the bias last. */
function columns(head: readonly number[], classes: readonly string[]): Map<string, number[]> {
  return new Map(classes.map((label, column) => [label, head.filter((_, index) => index % classes.length === column)]))
}

describe('a round that begins with the weights in service', () => {
  const names = fc.uniqueArray(fc.constantFrom('bag', 'boot', 'coat', 'dress', 'sandal', 'shirt'), { minLength: 2 }).map(classes => classes.sort())

  it('has of each class what the champion knew of it by its name, nothing of one that is new, and all of the encoder', () => {
    fc.assert(fc.property(names, names, fc.constantFrom(null, 0.05, 0.5, 1), (former, classes, trainedShare) => {
      const table = parameterTable(preset, classes.length, recipe)
      const before = champion(former, { trainedShare })
      const flat = weightsFrom(before, { recipe, table, classes, pictures: 3000 }) ?? new Float32Array()
      const known = columns(['head.weight', 'head.bias'].flatMap(name => [...before.tensors.get(name)?.data ?? []]), former)
      for (const [label, column] of columns([...partOf(table, flat, 'head.')], classes)) {
        const wanted = known.get(label)?.map(value => value / (trainedShare ?? 1)) ?? column.map(() => 0)
        expect(Math.max(...column.map((value, row) => Math.abs(value - (wanted[row] ?? NaN))))).toBeLessThan(0.01)
      }
      for (const name of ['embedding.weight', 'encoder.3.mlp.expand.weight', 'readout.weight', 'decoder.pixels.bias', 'dictionary.weight']) {
        expect(Buffer.from(partOf(table, flat, name)).equals(Buffer.from(before.tensors.get(name)?.data ?? []))).toBe(true)
      }
    }), { numRuns: 30 })
  })

  it('has nothing of a head that did not count, and begins from scratch where there are better words', () => {
    const classes = ['bag', 'boot']
    const table = parameterTable(preset, classes.length, recipe)
    const flat = weightsFrom(champion(classes, { trainedShare: 0 }), { recipe, table, classes, pictures: 3000 }) ?? new Float32Array()
    expect(partOf(table, flat, 'head.').every(value => value === 0)).toBe(true)
    expect(weightsFrom(champion(classes, { pictures: 200 }), { recipe, table, classes, pictures: 3000 })).toBeNull()
    expect(weightsFrom(champion(classes, { pictures: 200 }), { recipe, table, classes, pictures: 200 })).not.toBeNull()
    expect(weightsFrom({ ...champion(classes), card: null }, { recipe, table, classes, pictures: 3000 })).toBeNull()
  })

  it('keeps all of a head that is right about its labels, less of one that errs, and begins from scratch beside one that is sure of what is wrong', async () => {
    const classes = ['bag', 'boot', 'coat']
    const table = parameterTable(preset, classes.length, recipe)
    const labels = Array.from({ length: 60 }, (_, index) => index % 3)
    /** What becomes of a head of `sure`, in a learner that is as sure of `said` as its head is large, and whose own weights are ones. */
    const kept = async (said: (index: number) => number, sure = 3) => {
      const given = new Float32Array(table.size)
      partOf(table, given, 'head.').fill(sure)
      let own = new Float32Array(table.size).fill(1)
      const size = () => partOf(table, own, 'head.bias')[0] ?? NaN
      await adopt({
        table, result: () => Promise.resolve(own.slice()), adopt: weights => { own = weights.slice(); return Promise.resolve() },
        logitsOf: () => Promise.resolve(labels.map((_, index) => classes.map((__, label) => (label === said(index) ? size() : 0)))),
      }, given, labels)
      return { head: size(), encoder: partOf(table, own, 'embedding.weight')[0] }
    }
    expect(await kept(index => index % 3)).toEqual({ head: 3, encoder: 0 })
    expect(await kept(index => (index + 1) % 3)).toEqual({ head: 1, encoder: 1 })
    // It had little time, but was right.
    expect(await kept(index => index % 3, 0.25)).toEqual({ head: 0.25, encoder: 0 })
    // It is right about some, as chance is.
    expect(await kept(index => (index < 22 ? index : index + 1) % 3)).toEqual({ head: 1, encoder: 1 })
    // Right about 40 of 60: as sure as that is ln 4.
    const erring = await kept(index => (index < 20 ? index + 1 : index) % 3)
    expect(erring.encoder).toBe(0)
    expect(erring.head).toBeCloseTo(Math.log(4), 3)
  })
})
