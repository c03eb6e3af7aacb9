import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as web from 'onnxruntime-web'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundled } from '../agent/config.js'
import { decodeImage, ModelFile, train, type LabeledImage } from '../trainer/index.js'
import { summaryOf } from './onnx-summary.js'

const classes = ['ankle-boot', 'bag', 'trouser']
let folder = ''
/** A model of a short round. */
let model = Buffer.alloc(0)
/** Validation images that it never saw, uint8 [28, 28, 3]. */
let images: Uint8Array[] = []

async function someOf(part: 'labeled' | 'validation', from: number, count: number): Promise<LabeledImage[]> {
  const each = await Promise.all(classes.map(async label => {
    const names = (await readdir(join(bundled(part), label))).sort().slice(from, from + count)
    return names.map(name => ({ path: join(bundled(part), label, name), label }))
  }))
  return each.flat()
}

const worstOf = (a: Float32Array, b: Float32Array) => Math.max(...a.map((value, index) => Math.abs(value - (b[index] ?? NaN))))

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-export-'))
  await train({
    labeled: await someOf('labeled', 0, 8), gate: await someOf('validation', 0, 6), promotion: [], unlabeled: [],
    out: join(folder, 'model'), preset: 'nano', method: 'ssmae', seed: 5, steps: 8, minutes: null, backend: 'onnxruntime', device: 'cpu',
    champion: null, lanes: 1,
  }, { signal: new AbortController().signal, onEvent: () => undefined })
  model = await readFile(join(folder, 'model', 'model.onnx'))
  images = await Promise.all((await someOf('validation', 6, 5)).map(({ path }) => decodeImage(path, 28)))
})

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
    web.env.wasm.numThreads = 1
    const other = await web.InferenceSession.create(model, { executionProviders: ['wasm'] })
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
