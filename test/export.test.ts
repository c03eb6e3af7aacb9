import { createHash } from 'node:crypto'
import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as web from 'onnxruntime-web'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { quantiseModel, type QuantiseOptions } from '../agent/classifier/quantise.js'
import { bundled } from '../agent/config.js'
import { problemOf } from '../agent/registry/model-files.js'
import { ModelCardSchema } from '../agent/schemas.js'
import { decodeImage, ModelFile, presets, rebuiltModel, train, type LabeledImage, type MethodName } from '../trainer/index.js'
import { readSafetensors, writeSafetensors } from '../trainer/export/safetensors.js'
import { modelTable } from '../trainer/model/parameters.js'
import { recipes } from '../trainer/recipe.js'
import { ordinary } from './ordinary.js'
import { summaryOf } from './onnx-summary.js'

/** Element types in ONNX. */
const [floatType, int8Type] = [1, 3]
// Threads in WebAssembly would be workers.
web.env.wasm.numThreads = 1
/** Of two sessions at a higher level, 1.17.3 in WebAssembly breaks the second, whatever the models. */
const otherRuntime = { executionProviders: ['wasm'], graphOptimizationLevel: 'basic' } as const

const classes = ['ankle-boot', 'bag', 'trouser']
let folder = ''
/** A model of a short round. */
let model = Buffer.alloc(0)
/** Validation images that it never saw, uint8 [28, 28, 3]. */
let images: Uint8Array[] = []

async function someOf(part: 'labeled' | 'validation' | 'test', from: number, count: number): Promise<LabeledImage[]> {
  const each = await Promise.all(classes.map(async label => {
    const names = (await readdir(join(bundled(part), label))).sort().slice(from, from + count)
    return names.map(name => ({ path: join(bundled(part), label, name), label }))
  }))
  return each.flat()
}

const at = (...names: string[]) => join(folder, ...names)
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const worstOf = (a: Float32Array, b: Float32Array) => Math.max(...a.map((value, index) => Math.abs(value - (b[index] ?? NaN))))

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-export-'))
  await trainTo(at('model'), 'pawl', 8)
  model = await readFile(at('model', 'model.onnx'))
  images = await Promise.all((await someOf('validation', 6, 5)).map(async ({ path }) => decodeImage(await readFile(path), 28)))
})

async function trainTo(out: string, method: MethodName, steps: number): Promise<void> {
  await train({
    ...ordinary, labeled: await someOf('labeled', 0, 8), gate: await someOf('validation', 0, 6), promotion: [], unlabeled: [],
    out, method, seed: 5, steps, lanes: 1,
  }, { signal: new AbortController().signal, onEvent: () => undefined })
}

afterAll(() => rm(folder, { recursive: true, force: true }))

describe('the exported model', () => {
  it('is of standard operations alone, and old enough for runtimes that are not', () => {
    const { irVersion, opsets, domains } = summaryOf(model)
    expect(domains).toEqual([''])
    expect(Object.keys(opsets)).toEqual([''])
    expect(opsets['']).toBeLessThanOrEqual(17)
    expect(irVersion).toBeLessThanOrEqual(8)
  })

  it('gives the same logits in another runtime, ONNX Runtime 1.17 in WebAssembly, for any number of images', async () => {
    expect(web.env.versions.web).toBe('1.17.3')
    const other = await web.InferenceSession.create(model, otherRuntime)
    const own = await ModelFile.open(model)
    for (const count of [1, 2, 7]) {
      const pixels = new Uint8Array(Buffer.concat(images.slice(0, count)))
      const { logits } = await other.run({ image: new web.Tensor('uint8', pixels, [count, 28, 28, 3]) })
      expect(logits?.dims).toEqual([count, 3])
      const expected = (await own.run(pixels)).logits
      expect(Math.max(...expected.map(Math.abs))).toBeGreaterThan(0.5)
      expect(worstOf(expected, logits?.data as Float32Array)).toBeLessThan(1e-3)
    }
    await other.release()
    await own.release()
  })
})

describe('the int8 model', () => {
  let int8 = Buffer.alloc(0)
  beforeAll(async () => {
    int8 = Buffer.from(await rebuiltModel({ ...await files(at('model')), int8: true }))
  })

  it('is made from the card and the weights, which give the float model again to the byte', async () => {
    expect(Buffer.compare(await rebuiltModel({ ...await files(at('model')), int8: false }), model)).toBe(0)
    const { card, weights } = await files(at('model'))
    await expect(rebuiltModel({ card: { ...card, recipe: { activation: 'swish' } }, weights, int8: false })).rejects.toThrow('"swish", expected one of squared-relu, gelu')
    await expect(rebuiltModel({ card: { ...card, preset: 'micro' }, weights, int8: true })).rejects.toThrow(/"embedding.weight" is \[48, 128\].*micro.*\[192, 192\]/)
  })

  it('knows the activation from the card: the paper\'s recipe has GELU', async () => {
    await trainTo(at('paper'), 'paper', 2)
    const paper = await readFile(at('paper', 'model.onnx'))
    expect([summaryOf(paper).operations.Erf, summaryOf(model).operations.Erf]).toEqual([presets.nano.depth, undefined])
    expect(Buffer.compare(await rebuiltModel({ ...await files(at('paper')), int8: false }), paper)).toBe(0)
  })

  it('has every product with weights in int8, in less than two fifths of the bytes, and is of standard operations too', () => {
    const [before, after] = [summaryOf(model), summaryOf(int8)]
    const { specs } = modelTable(presets.nano, classes.length, recipes.pawl)
    const products = specs.filter(({ name, shape }) => shape.length === 2 && !name.startsWith('decoder.'))
    expect(after.operations.MatMulInteger).toBe(products.length)
    expect(after.matrixBytes[int8Type]).toBe(products.reduce((sum, { size }) => sum + size, 0))
    expect((before.matrixBytes[floatType] ?? 0) - (after.matrixBytes[floatType] ?? 0)).toBe(4 * (after.matrixBytes[int8Type] ?? 0))
    expect(model.length / int8.length).toBeGreaterThan(2.5)
    expect(after).toMatchObject({ irVersion: 8, opsets: { '': 17 }, domains: [''] })
  })

  it('answers nearly as the float model does, in both runtimes, and says of itself the same', async () => {
    const [float, small] = [await ModelFile.open(model), await ModelFile.open(int8)]
    expect(small.metadata).toEqual(float.metadata)
    const other = await web.InferenceSession.create(int8, otherRuntime)
    for (const count of [1, 2, 7]) {
      const pixels = new Uint8Array(Buffer.concat(images.slice(0, count)))
      const [expected, found] = [(await float.run(pixels)).logits, (await small.run(pixels)).logits]
      const { logits } = await other.run({ image: new web.Tensor('uint8', pixels, [count, 28, 28, 3]) })
      expect(worstOf(expected, found)).toBeLessThan(0.05 * (Math.max(...expected) - Math.min(...expected)))
      expect(worstOf(expected, found)).toBeGreaterThan(0)
      expect(worstOf(found, logits?.data as Float32Array)).toBeLessThan(0.05)
    }
    await Promise.all([float.release(), small.release(), other.release()])
  })
})

describe('quantising', () => {
  let judges: LabeledImage[] = []
  beforeAll(async () => { judges = await someOf('test', 0, 100) })

  const quantised = (folder: string, out: string, changes: Partial<QuantiseOptions> = {}) =>
    quantiseModel({ folder: at(folder), out: at(out), images: judges, tolerance: 0.01, repeats: 5, ...changes })

  it('writes the int8 model, its weights and an amended card when it is surely not worse', async () => {
    const report = await quantised('model', 'int8')
    expect(report).toMatchObject({ kept: true, quarantined: [], before: { images: 300 }, int8: { images: 300 } })
    const { comparison, before, int8 } = report
    expect(comparison.wins - comparison.losses).toBe(int8.correct - before.correct)
    expect(comparison.gainLowerBound).toBeGreaterThan(-0.01)
    expect(before.fileBytes / int8.fileBytes).toBeGreaterThan(2.5)
    expect([before.times.sessionP50Ms, int8.times.sessionP50Ms].every(ms => ms > 0)).toBe(true)
    const { card } = await files(at('model'))
    const amended = ModelCardSchema.parse(JSON.parse(await readFile(at('int8', 'card.json'), 'utf8')))
    expect(amended).toEqual({ ...card, quantisation: comparison, files: { ...card.files, 'model.onnx': sha256(await readFile(at('int8', 'model.onnx'))) } })
    expect(await problemOf(at('int8'), amended)).toBeNull()
    await expect(quantised('int8', 'twice')).rejects.toThrow(/int8: the model is quantised already.*give the folder of the one/)
  })

  it('refuses what too few images show, though nothing is lost', async () => {
    const report = await quantised('model', 'few', { images: judges.slice(0, 200) })
    expect(report).toMatchObject({ kept: false, comparison: { images: 200 } })
    await expect(readdir(at('few'))).rejects.toThrow('ENOENT')
  })

  it('refuses a model that eight bits ruin, with the evidence', async () => {
    await ruined(at('ruined'))
    const report = await quantised('ruined', 'refused', { tolerance: 0.05 })
    expect(report.before.accuracy).toBeGreaterThan(0.8)
    expect(report.int8.accuracy).toBeLessThan(0.6)
    expect(report).toMatchObject({ kept: false, comparison: { images: 300, leastGain: -0.05 } })
    expect(report.comparison.losses).toBeGreaterThan(60)
    await expect(readdir(at('refused'))).rejects.toThrow('ENOENT')
  })

  it('says which path is wrong, and what to do', async () => {
    await cp(at('model'), at('damaged'), { recursive: true })
    await writeFile(at('damaged', 'weights.safetensors'), 'rotten')
    await cp(at('model'), at('no-card'), { recursive: true })
    await writeFile(at('no-card', 'card.json'), '{}')
    const hats = judges.slice(0, 3).map(({ path }) => ({ path, label: 'hat' }))
    const broken = [{ path: at('damaged', 'weights.safetensors'), label: 'bag' }]
    const wrong: [string, string, RegExp, Partial<QuantiseOptions>?][] = [
      ['nowhere', 'x', /nowhere\/card\.json: .*give the folder of a finished model/],
      ['damaged', 'x', /damaged\/weights\.safetensors: its sha256 is not the one on card\.json/],
      ['no-card', 'x', /no-card\/card\.json: it is not a model card.*give the folder/],
      ['model', 'model', /model: the int8 model would overwrite.*another folder/],
      ['model', 'x', /test\/ankle-boot: the class "hat" is not one of the model's: ankle-boot, bag, trouser/, { images: hats }],
      ['model', 'x', /weights\.safetensors: .*none of 1 images can be read.*JPEG, PNG or WebP/, { images: broken }],
    ]
    for (const [from, out, says, changes] of wrong) await expect(quantised(from, out, changes)).rejects.toThrow(says)
  })
})

/** Card and weights of a finished model. */
async function files(path: string) {
  return { card: ModelCardSchema.parse(JSON.parse(await readFile(join(path, 'card.json'), 'utf8'))), weights: await readFile(join(path, 'weights.safetensors')) }
}

/**
 * The same classifier, from weights that eight bits cannot hold: one row of the shortcut is larger by as much for every class, which
 * shifts all logits alike and leaves nothing of the other rows after rounding.
 */
async function ruined(path: string): Promise<void> {
  const { card, weights } = await files(at('model'))
  const table = modelTable(presets.nano, classes.length, recipes.pawl)
  const flat = new Float32Array(table.size)
  for (const { name, offset } of table.specs) flat.set(readSafetensors(weights).get(name)?.data ?? [], offset)
  const shortcut = table.specs.find(({ name }) => name === 'shortcut.weight')!
  flat.subarray(shortcut.offset, shortcut.offset + classes.length).forEach((value, column, row) => { row[column] = value + 1000 })
  const spoilt = writeSafetensors(table, flat, {})
  const onnx = await rebuiltModel({ card, weights: spoilt, int8: false })
  await mkdir(path)
  await writeFile(join(path, 'weights.safetensors'), spoilt)
  await writeFile(join(path, 'model.onnx'), onnx)
  await writeFile(join(path, 'card.json'), JSON.stringify({ ...card, files: { 'model.onnx': sha256(onnx), 'weights.safetensors': sha256(spoilt) } }))
}
