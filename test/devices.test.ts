/** One trainer, many engines: they agree with each other, and the choice among them says why. */
import '@tensorflow/tfjs-backend-cpu'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { registerOnnxRuntimeBackend } from '../trainer/backend/backend.js'
import type { Verification } from '../trainer/contract.js'
import { chooseEngine, rememberFailure, verifiedEngines } from '../trainer/engines.js'
import { small, trainOn, worstDifference, type Training } from './training.js'

registerOnnxRuntimeBackend()

const swiftshader = process.env.VK_ICD_FILENAMES ?? '/usr/lib/chromium/vk_swiftshader_icd.json'
const softwareGpu = existsSync(swiftshader)
if (!softwareGpu && process.env.CI) throw new Error(`${swiftshader} is missing (Debian's package chromium); in CI this test may not be skipped`)
process.env.VK_ICD_FILENAMES = swiftshader

describe('two hundred steps from one seed', () => {
  const steps = 200
  let ours: Training
  beforeAll(async () => { ours = await trainOn('shared', small, steps) })

  it('follow tfjs\'s own cpu backend: every loss within a thousandth', async () => {
    const reference = await trainOn('cpu', small, steps)
    expect(worstDifference(reference.losses.flat(), ours.losses.flat())).toBeLessThan(1e-3)
    const [first = [], last = []] = [ours.losses[0], ours.losses.at(-1)]
    expect(last[1]).toBeLessThan(0.9 * (first[1] ?? 0))
  }, 300_000)

  it('give the same weights bit for bit when they are taken again', async () => {
    expect(Buffer.from((await trainOn('shared', small, steps)).weights.buffer).equals(Buffer.from(ours.weights.buffer))).toBe(true)
  }, 120_000)

  it('leave no tensor behind', () => {
    expect(new Set(ours.tensors.slice(2)).size).toBe(1)
  })
})

it.skipIf(!softwareGpu)('on a GPU (here SwiftShader) the state stays there from step to step, and the weights come out as on the processor', async () => {
  const [gpu, cpu] = [await trainOn('webgpu', small, 5), await trainOn('shared', small, 5)]
  expect(gpu.resident).toBe(true)
  expect(new Set(gpu.tensors.slice(1)).size).toBe(1)
  expect(worstDifference(cpu.losses.flat(), gpu.losses.flat())).toBeLessThan(1e-4)
  // AdamW turns the rounding of a gradient near zero into a step of its own size: five steps of a thousandth bound the difference.
  expect(worstDifference(cpu.weights, gpu.weights)).toBeLessThan(1e-2)
}, 300_000)

describe('the choice of an engine', () => {
  let folder = ''
  let memory = ''
  let verified: Verification[] = []
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pawl-engines-'))
    memory = join(folder, 'inner', 'engines.json')
    process.env.VK_ICD_FILENAMES = join(folder, 'no-driver.json')
    verified = await verifiedEngines({ preset: 'nano', memory })
  }, 300_000)
  afterAll(() => rm(folder, { recursive: true }))

  const auto = { backend: 'auto', device: 'auto', preset: 'nano' } as const
  const rewrite = async (change: (verification: Verification) => Verification) => {
    const [key = ''] = Object.keys(JSON.parse(await readFile(memory, 'utf8')) as object)
    await writeFile(memory, JSON.stringify({ [key]: verified.map(change) }))
  }

  it('verifies each: the embedded one passes with parity and a speed, a missing driver or package is named', () => {
    const [cpu, ...others] = verified
    expect(cpu).toMatchObject({ engine: { backend: 'onnxruntime', device: 'cpu' }, ok: true, reason: null })
    expect(cpu?.gradientDifference).toBeLessThan(1e-4)
    expect(cpu?.imagesPerSecond).toBeGreaterThan(1)
    for (const { ok, reason } of others.filter(other => !other.ok)) {
      expect(ok).toBe(false)
      expect(reason).toMatch(/adapter|shared library|not installed|no GPU|CUDA/i)
    }
  })

  it('takes the fastest that passes, from memory, and tells the reasons of the others', async () => {
    await rewrite(verification => (verification.engine.device === 'webgpu' ? { ...verification, ok: true, reason: null, imagesPerSecond: 1e6 } : verification))
    const { engine, reason } = await chooseEngine({ ...auto, memory })
    expect(engine).toEqual({ backend: 'onnxruntime', device: 'webgpu' })
    expect(reason).toMatch(/onnxruntime on webgpu: 1000000.0 images\/s; .*tensorflow on cuda: /)
  })

  it('leaves an engine alone that failed in a round, and says so', async () => {
    await rememberFailure(memory, 'nano', { backend: 'onnxruntime', device: 'webgpu' }, 'the device was lost\nmore')
    const { engine, reason } = await chooseEngine({ ...auto, memory })
    expect(engine).toEqual({ backend: 'onnxruntime', device: 'cpu' })
    expect(reason).toContain('onnxruntime on webgpu: failed in a round: the device was lost;')
  })

  it('takes what is asked for by name without a check, and refuses a backend of which nothing passes', async () => {
    expect((await chooseEngine({ ...auto, backend: 'onnxruntime', device: 'webgpu', memory: null })).engine.device).toBe('webgpu')
    expect((await chooseEngine({ ...auto, backend: 'onnxruntime', memory: null })).engine.device).toBe('cpu')
    await expect(chooseEngine({ ...auto, backend: 'tensorflow', memory })).rejects.toThrow(/does not train here: .*--backend onnxruntime/)
  })

  it('passes over an engine that takes too long, says so, and does not remember it', async () => {
    const fresh = join(folder, 'fresh.json')
    const wanted = [{ backend: 'onnxruntime', device: 'cpu' }] as const
    const [cpu] = await verifiedEngines({ preset: 'nano', memory: fresh, wanted, limitMs: 50 })
    expect(cpu).toMatchObject({ ok: false, reason: 'its self-check took longer than 0 s' })
    expect(Object.values(JSON.parse(await readFile(fresh, 'utf8')) as object)).toEqual([[]])
  })

  it('measures anew where the memory cannot be read', async () => {
    await writeFile(memory, '{ broken')
    const [cpu] = await verifiedEngines({ preset: 'nano', memory, wanted: [{ backend: 'onnxruntime', device: 'cpu' }] })
    expect(cpu?.ok).toBe(true)
    expect(Object.values(JSON.parse(await readFile(memory, 'utf8')) as object)).toEqual([[cpu]])
  }, 60_000)
})
