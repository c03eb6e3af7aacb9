import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { beginFrom, beginningFrom, type Champion } from '../trainer/champion.js'
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

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength)

describe('a round that begins with the weights in service', () => {
  const names = fc.uniqueArray(fc.constantFrom('bag', 'boot', 'coat', 'dress', 'sandal', 'shirt'), { minLength: 2 }).map(classes => classes.sort())

  it('has of each class what the champion knew of it by its name, nothing of one that is new, and all of the encoder', () => {
    fc.assert(fc.property(names, names, fc.constantFrom(null, 0.05, 0.5, 1), (former, classes, trainedShare) => {
      const table = parameterTable(preset, classes.length, recipe)
      const before = champion(former, { trainedShare })
      const { weights: flat, named } = beginningFrom(before, { recipe, table, classes, pictures: 3000 })!
      expect(named).toEqual(classes.map(label => former.includes(label)))
      const known = columns(['head.weight', 'head.bias'].flatMap(name => [...before.tensors.get(name)?.data ?? []]), former)
      for (const [label, column] of columns([...partOf(table, flat, 'head.')], classes)) {
        const wanted = known.get(label)?.map(value => value / (trainedShare ?? 1)) ?? column.map(() => 0)
        expect(Math.max(...column.map((value, row) => Math.abs(value - (wanted[row] ?? NaN))))).toBeLessThan(0.01)
      }
      for (const name of ['embedding.weight', 'encoder.3.mlp.expand.weight', 'readout.weight', 'decoder.pixels.bias', 'dictionary.weight']) {
        expect(Buffer.compare(bytesOf(partOf(table, flat, name)), bytesOf(before.tensors.get(name)!.data))).toBe(0)
      }
    }), { numRuns: 30 })
  })

  it('has nothing of a head that did not count, or that reads otherwise, and begins from scratch where there are better words', () => {
    const classes = ['bag', 'boot']
    const table = parameterTable(preset, classes.length, recipe)
    const from = (given: Champion, pictures = 3000) => beginningFrom(given, { recipe, table, classes, pictures })
    const other = champion(classes)
    other.tensors.set('head.weight', { shape: [2, 2], data: new Float32Array(4).fill(1) })
    for (const given of [champion(classes, { trainedShare: 0 }), other]) {
      const { weights } = from(given)!
      expect([...partOf(table, weights, 'head.')].filter(value => value !== 0)).toEqual([])
      expect(partOf(table, weights, 'embedding.weight')[5]).toBe(given.tensors.get('embedding.weight')?.data[5])
    }
    expect(from(champion(classes, { pictures: 200 }))).toBeNull()
    expect(from(champion(classes, { pictures: 200 }), 200)).not.toBeNull()
    expect(from({ ...champion(classes), card: null })).toBeNull()
    const sick = champion(classes)
    sick.tensors.get('decoder.pixels.bias')!.data[0] = NaN
    expect(from(sick)).toBeNull()
    const { card } = champion(classes)
    expect(from({ ...champion(classes), card: { ...card!, recipe: { ...recipe, activation: 'gelu' } } })).toBeNull()
    // A card that names none is of a time when there was but one.
    expect(from({ ...champion(classes), card: { ...card!, recipe: {} } })).not.toBeNull()
  })

  const classes = ['bag', 'boot', 'coat']
  const table = parameterTable(preset, classes.length, recipe)
  const balanced = Array.from({ length: 60 }, (_, index) => index % 3)
  /** What becomes of a head of `sure`, in a learner that is as sure of `said` as its head is large, and whose own weights are ones. */
  async function kept(said: (index: number) => number, { sure = 3, labels = balanced, named = [true, true, true] } = {}) {
    const weights = new Float32Array(table.size)
    partOf(table, weights, 'head.').fill(sure)
    let own = new Float32Array(table.size).fill(1)
    const size = () => partOf(table, own, 'head.bias')[0] ?? NaN
    const goesOn = await beginFrom({ weights, named }, {
      table, result: () => Promise.resolve(own.slice()), adopt: given => { own = given.slice(); return Promise.resolve() },
      logitsOf: () => Promise.resolve(labels.map((_, index) => classes.map((__, label) => (label === said(index) ? size() : 0)))),
    }, labels)
    expect(goesOn).toBe(partOf(table, own, 'embedding.weight')[0] === 0)
    return { head: size(), encoder: partOf(table, own, 'embedding.weight')[0] }
  }
  const scratch = { head: 1, encoder: 1 }

  it('keeps all of a head that is right about its labels, however little it says, and less of one that errs', async () => {
    expect(await kept(index => index % 3)).toEqual({ head: 3, encoder: 0 })
    expect(await kept(index => index % 3, { sure: 0.25 })).toEqual({ head: 0.25, encoder: 0 })
    expect(await kept(index => index % 3, { sure: 0 })).toEqual({ head: 0, encoder: 0 })
    // Right about 40 of 60: as sure as that is ln 4.
    const erring = await kept(index => (index < 20 ? index + 1 : index) % 3)
    expect(erring.encoder).toBe(0)
    expect(erring.head).toBeCloseTo(Math.log(4), 3)
  })

  it('begins from scratch beside one that is sure of what is wrong, right as chance is, or knows no more than which class is usual', async () => {
    expect(await kept(index => (index + 1) % 3)).toEqual(scratch)
    expect(await kept(index => (index < 22 ? index : index + 1) % 3)).toEqual(scratch)
    expect(await kept(() => 0, { labels: balanced.map((_, index) => (index < 56 ? 0 : 1 + index % 2)) })).toEqual(scratch)
  })

  it('holds no class against a champion that it could not name', async () => {
    const ofKnown = (index: number) => (index % 3 === 2 ? index % 2 : index % 3)
    const labels = balanced.map((label, index) => (index < 50 ? 2 : label))
    expect((await kept(index => (labels[index] === 2 ? index % 2 : ofKnown(index)), { labels, named: [true, true, false] })).encoder).toBe(0)
    expect(await kept(index => (labels[index] === 2 ? index % 2 : ofKnown(index)), { labels })).toEqual(scratch)
  })
})
