/** One trainer, many engines: they agree with each other, and the choice among them says why. */
import '@tensorflow/tfjs-backend-cpu'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { registerOnnxRuntimeBackend } from '../trainer/backend/backend.js'
import type { Verification } from '../trainer/contract.js'
import { chooseEngine, onTrial, remembered, verifiedEngines } from '../trainer/engines.js'
import { Lanes } from '../trainer/lanes/lanes.js'
import { allocate } from '../trainer/lanes/shared.js'
import { parameterTable } from '../trainer/model/parameters.js'
import { recipes } from '../trainer/recipe.js'
import { small, trainOn, worstDifference, type Training } from './training.js'

registerOnnxRuntimeBackend()

const swiftshader = process.env.VK_ICD_FILENAMES ?? '/usr/lib/chromium/vk_swiftshader_icd.json'
const softwareGpu = existsSync(swiftshader)
if (!softwareGpu && process.env.CI) throw new Error(`${swiftshader} is missing (Debian's package chromium); in CI this test may not be skipped`)
process.env.VK_ICD_FILENAMES = swiftshader

describe('fifty steps from one seed', () => {
  const steps = 50
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
  })

  it('leave no tensor behind', () => {
    expect(new Set(ours.tensors.slice(2)).size).toBe(1)
  })
})

it.skipIf(!softwareGpu)('on a GPU (here SwiftShader) the state stays there from step to step, and the weights come out as on the processor', async () => {
  const [gpu, cpu] = [await trainOn('webgpu', small, 5), await trainOn('shared', small, 5)]
  expect(gpu.resident).toBe(true)
  expect(new Set(gpu.tensors.slice(1)).size).toBe(1)
  expect(worstDifference(cpu.losses.flat(), gpu.losses.flat())).toBeLessThan(1e-4)
  expect(cpu.losses.every(([, , unlabeled = 0]) => unlabeled > 0)).toBe(true)
  // AdamW turns the rounding of a gradient near zero into a step of its own size: a few weights may differ, nearly all agree.
  const differences = Array.from(cpu.weights, (weight, index) => Math.abs(weight - (gpu.weights[index] ?? NaN))).sort((a, b) => a - b)
  expect(differences[Math.floor(0.99 * differences.length)]).toBeLessThan(1e-5)
  expect(worstDifference(cpu.start, cpu.weights)).toBeGreaterThan(1e-3)
}, 300_000)

it('lanes that cannot start say why, and stop', async () => {
  const [recipe, engine] = [recipes.pawl, { backend: 'tensorflow', device: 'cuda' } as const]
  const buffers = allocate(parameterTable(small, 3, recipe), 2, 5 * small.size ** 2 * 3)
  const lanes = new Lanes({ preset: small, classCount: 3, recipe, seed: 1, engine, buffers })
  await expect(lanes.start()).rejects.toThrow(/tfjs-node-gpu (is not installed|loads, but finds no GPU)|tfjs_binding.node\) can not be found/)
  await lanes.stop()
})

describe('the choice of an engine', () => {
  const gpu = { backend: 'onnxruntime', device: 'webgpu' } as const
  let folder = ''
  let memory = ''
  let verified: Verification[] = []
  let trial = { memory, preset: 'nano' as const, engine: gpu }
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pawl-engines-'))
    memory = join(folder, 'inner', 'engines.json')
    trial = { ...trial, memory }
    process.env.VK_ICD_FILENAMES = join(folder, 'no-driver.json')
    verified = await verifiedEngines({ preset: 'nano', memory })
  }, 300_000)
  afterAll(() => rm(folder, { recursive: true }))

  const auto = { backend: 'auto', device: 'auto', preset: 'nano' } as const
  const fastGpu = (verification: Verification): Verification =>
    (verification.engine.device === 'webgpu' ? { ...verification, ok: true, reason: null, imagesPerSecond: 1e6 } : verification)
  const rewrite = async (change: (verification: Verification) => Verification) => {
    const [key = ''] = Object.keys(JSON.parse(await readFile(memory, 'utf8')) as object)
    await writeFile(memory, JSON.stringify({ [key]: verified.map(change) }))
  }

  it('verifies each: the embedded one passes with parity and a speed, a missing driver or package is named', () => {
    const [cpu, ...others] = verified
    expect(cpu).toMatchObject({ engine: { backend: 'onnxruntime', device: 'cpu' }, ok: true, reason: null })
    expect(cpu?.gradientDifference).toBeLessThan(1e-4)
    expect(cpu?.imagesPerSecond).toBeGreaterThan(1)
    const failures = new Map(others.filter(({ ok }) => !ok).map(({ engine, reason }) => [`${engine.backend} on ${engine.device}`, reason]))
    expect(failures.get('onnxruntime on webgpu')).toMatch(/adapter/i)
    for (const reason of failures.values()) expect(reason).toMatch(/adapter|shared library|not installed|can not be found|no GPU|CUDA/i)
  })

  it('takes the fastest that passes, from memory, and tells the reasons of the others', async () => {
    await rewrite(fastGpu)
    const { engine, reason } = await chooseEngine({ ...auto, memory })
    expect(engine).toEqual({ backend: 'onnxruntime', device: 'webgpu' })
    expect(reason).toMatch(/onnxruntime on webgpu: 1000000.0 images\/s; .*tensorflow on cuda: /)
  })

  it('leaves an engine alone that failed in a round, and says so', async () => {
    const lost = () => Promise.reject(new Error('the device was lost\nmore'))
    await expect(onTrial({ ...trial, blames: () => true }, lost)).rejects.toThrow('the device was lost')
    const { engine, reason } = await chooseEngine({ ...auto, memory })
    expect(engine).toEqual({ backend: 'onnxruntime', device: 'cpu' })
    expect(reason).toContain('onnxruntime on webgpu: failed in a round: the device was lost;')
  })

  it('holds nothing against it that is not its fault, and everything that ends the process without a word', async () => {
    await rewrite(fastGpu)
    await expect(onTrial({ ...trial, blames: () => false }, () => Promise.reject(new Error('the disk is full')))).rejects.toThrow('the disk is full')
    expect((await chooseEngine({ ...auto, memory })).engine.device).toBe('webgpu')
    await onTrial({ ...trial, blames: () => true }, async () => {
      const { reason } = await chooseEngine({ ...auto, memory })
      expect(reason).toContain('onnxruntime on webgpu: the last round with it ended without a word')
    })
    expect((await chooseEngine({ ...auto, memory })).engine.device).toBe('webgpu')
  })

  it('clears an engine that a power cut left without a word once it has trained a round, but none that computes something else', async () => {
    for (const [reason, device] of [['the last round with it ended without a word', 'webgpu'], ['computes something else', 'cpu']] as const) {
      await rewrite(verification => (verification.engine.device === 'webgpu' ? { ...fastGpu(verification), ok: false, reason } : verification))
      await onTrial({ ...trial, blames: () => true }, () => Promise.resolve())
      expect((await chooseEngine({ ...auto, memory })).engine.device).toBe(device)
    }
  })

  it('takes what is asked for by name without a check, and refuses a backend of which nothing passes', async () => {
    expect((await chooseEngine({ ...auto, backend: 'onnxruntime', device: 'webgpu', memory: null })).engine.device).toBe('webgpu')
    expect((await chooseEngine({ ...auto, backend: 'onnxruntime', memory: null })).engine.device).toBe('cpu')
    await expect(chooseEngine({ ...auto, backend: 'tensorflow', memory })).rejects.toThrow(/tensorflow backend does not train here: .*--backend onnxruntime/)
    await expect(chooseEngine({ ...auto, device: 'cuda', memory })).rejects.toMatchObject({
      // Which a round tells as it is.
      name: 'RoundError', reason: 'crashed', message: expect.stringMatching(/^the device cuda does not train here: .*--device auto/) as string,
    })
    await expect(chooseEngine({ ...auto, backend: 'tensorflow', device: 'webgpu', memory })).rejects.toThrow('there is no tensorflow on webgpu')
  })

  it('passes over an engine that takes too long, says so, and does not remember it', async () => {
    const fresh = join(folder, 'fresh.json')
    const wanted = [{ backend: 'onnxruntime', device: 'cpu' }] as const
    const [cpu] = await verifiedEngines({ preset: 'nano', memory: fresh, wanted, limitMs: 50 })
    expect(cpu).toMatchObject({ ok: false, reason: 'its self-check took longer than 0 s' })
    expect(Object.values(JSON.parse(await readFile(fresh, 'utf8')) as object)).toEqual([[]])
  })

  it.each(['{ broken', 'null', '{ "x": [null] }'])('takes a memory of %s for none', async content => {
    await writeFile(memory, content)
    expect(await remembered(memory, 'nano')).toEqual([])
    // Too short a time to measure in: what is there by then was written anew.
    await verifiedEngines({ preset: 'nano', memory, wanted: [{ backend: 'onnxruntime', device: 'cpu' }], limitMs: 50 })
    expect(Object.values(JSON.parse(await readFile(memory, 'utf8')) as object)).toEqual([[]])
  })
})
