import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cp, mkdtemp, readFile, readdir, rm, writeFile, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { InferenceSession, Tensor } from '../trainer/backend/onnxruntime.js'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { bundled } from '../agent/config.js'
import {
  decodeImage, metricsOf, ModelFile, presets, train, type LabeledImage, type MethodName, type RoundEvent, type RoundResult, type RoundSpec,
} from '../trainer/index.js'
import { learnDictionary } from '../trainer/dictionary.js'
import { readSafetensors } from '../trainer/export/safetensors.js'
import { modelTable } from '../trainer/model/parameters.js'
import { recipes } from '../trainer/recipe.js'
import type { RoundOptions } from '../trainer/round.js'
import { ordinary, undisturbed } from './ordinary.js'

const execute = promisify(execFile)
const python = '/usr/bin/python3'
const checker = await execute(python, ['-c', 'import onnx.checker']).then(() => true, () => false)
if (!checker && process.env.CI) throw new Error(`${python} with the package onnx is missing; in CI this test may not be skipped`)

const classes = ['ankle-boot', 'bag', 'trouser']
let folder = ''
let data: Pick<RoundSpec, 'labeled' | 'gate' | 'promotion' | 'unlabeled'> = { labeled: [], gate: [], promotion: [], unlabeled: [] }
/** The round that most tests look at, and what it told. */
let out = ''
let result: RoundResult
const told: RoundEvent[] = []

async function someOf(part: 'labeled' | 'validation', from: number, count: number): Promise<LabeledImage[]> {
  const each = await Promise.all(classes.map(async label => {
    const names = (await readdir(join(bundled(part), label))).sort().slice(from, from + count)
    return names.map(name => ({ path: join(bundled(part), label, name), label }))
  }))
  return each.flat()
}

/** Without what is fitted before the first step, where only what comes then is looked at: that takes longer than a few steps. */
const stepsAlone = { lanes: 1, switches: { shortcut: false, neighbours: false } } as const

/** A short round; what it learns does not matter here. */
function round(name: string, changes: Partial<RoundSpec> = {}, options: Partial<RoundOptions> = {}): Promise<RoundResult> {
  return train({
    ...ordinary, ...data, out: join(folder, name), seed: 5, steps: 3, lanes: 2, ...changes,
  }, { signal: new AbortController().signal, onEvent: () => undefined, ...options })
}

type Weights = Awaited<ReturnType<typeof weightsIn>>
const weightsIn = async (path: string) => readSafetensors(await readFile(join(path, 'weights.safetensors')))
/** How far the number of a weight that moved most lies from where it was; NaN where it is missing. */
function moved(before: Weights, after: Weights, name: string): number {
  return Math.max(...after.get(name)?.data.map((value, index) => Math.abs(value - (before.get(name)?.data[index] ?? NaN))) ?? [NaN])
}
const sha256 = async (path: string) => createHash('sha256').update(await readFile(path)).digest('hex')

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-round-'))
  const stream = (await readdir(bundled('unlabeled'))).sort().slice(0, 60).map(name => join(bundled('unlabeled'), name))
  data = { labeled: await someOf('labeled', 0, 8), gate: await someOf('validation', 0, 6), promotion: await someOf('validation', 6, 6), unlabeled: stream }
  const broken = ['labeled.png', 'frame.jpg', 'promotion.png'].map(name => join(folder, name))
  for (const path of broken) await writeFile(path, 'no image')
  const [label = '', frame = '', judge = ''] = broken
  out = join(folder, 'first')
  result = await round('first', {
    labeled: [...data.labeled, { path: label, label: 'bag' }],
    unlabeled: [...data.unlabeled, frame],
    promotion: [...data.promotion, { path: judge, label: 'bag' }],
  }, { onEvent: event => { told.push(event) } })
})

afterAll(() => rm(folder, { recursive: true, force: true }))

describe('round', () => {
  it('tells its phases in order, its steps and its looks at the gate', () => {
    expect(told.flatMap(event => (event.type === 'phase' ? [event.phase] : [])))
      .toEqual(['load', 'prepare', 'semi-supervised', 'export', 'evidence'])
    const progress = told.filter(event => event.type === 'progress')
    expect(progress.map(({ step }) => step)).toEqual([1, 2, 3])
    expect(progress.at(-1)).toMatchObject({ fraction: 1, steps: 3, secondsLeft: 0 })
    expect(progress.every(({ losses }) => Object.values(losses).every(Number.isFinite))).toBe(true)
    expect(told.flatMap(event => (event.type === 'gate' ? [event.look] : []))).toEqual(result.card.gate)
    expect(result.card.gate.length).toBeGreaterThan(0)
  })

  it('names each unreadable image, with the reason, and goes on without it', () => {
    const names = ['labeled.png', 'frame.jpg', 'promotion.png']
    expect(result.quarantined.map(({ path }) => basename(path))).toEqual(names)
    expect(told.flatMap(event => (event.type === 'quarantine' ? [basename(event.path)] : []))).toEqual(names)
    for (const { reason } of result.quarantined) expect(reason).toMatch(/unsupported image format/)
    expect(result.card.data).toMatchObject({ labeled: 24, unlabeled: 60, gate: 18, quarantined: 2 })
    expect(result.evidence.labels).toHaveLength(18)
  })

  it('writes a card that is true to its files', async () => {
    const { card } = result
    expect(JSON.parse(await readFile(join(out, 'card.json'), 'utf8'))).toEqual(card)
    const recipe = { ...recipes.pawl }
    expect(card).toMatchObject({ method: 'pawl', preset: 'nano', seed: 5, steps: 3, classes, parent: null, start: 'scratch', recipe })
    for (const name of ['model.onnx', 'weights.safetensors'] as const) expect(card.files[name]).toBe(await sha256(join(out, name)))
    expect(card.validation).toMatchObject({ images: 18, accuracy: card.validation.correct / 18 })
    expect(card.trainedShare).toBeGreaterThanOrEqual(0)
    // The weights that were balanced are those of the file: what the card says of the gate images is what the file says of them.
    const model = await ModelFile.open(await readFile(join(out, 'model.onnx')))
    const rowOf = async (path: string) => [...(await model.run(await decodeImage(await readFile(path), 28))).probabilities]
    const rows = await Promise.all(data.gate.map(({ path }) => rowOf(path)))
    const { nll, correct } = metricsOf(rows, data.gate.map(({ label }) => classes.indexOf(label)))
    expect([Math.abs(nll - card.validation.nll) < 1e-3, correct]).toEqual([true, card.validation.correct])
  })

  it('writes weights that other programs can read: every name, shape and number', async () => {
    const tensors = await weightsIn(out)
    const { specs, size } = modelTable(presets.nano, classes.length, recipes.pawl)
    expect([...tensors].map(([name, { shape }]) => [name, shape])).toEqual(specs.map(({ name, shape }) => [name, shape]))
    expect([...tensors.values()].reduce((sum, { data: values }) => sum + values.length, 0)).toBe(size)
    expect([...tensors.values()].every(({ data: values }) => values.every(Number.isFinite))).toBe(true)
    expect(result.card.parameters).toBe(size)
  })

  it('exports a model that says what it is and answers alike for any number of images', async () => {
    const bytes = await readFile(join(out, 'model.onnx'))
    const model = await ModelFile.open(bytes)
    expect(model.metadata).toEqual({ classes, size: 28, preprocessing: 'contain-rgb-1' })
    const images = await Promise.all(data.promotion.map(async ({ path }) => decodeImage(await readFile(path), 28)))
    const alone = await Promise.all(images.map(async image => [...(await model.run(image)).probabilities]))
    const session = await InferenceSession.create(bytes)
    for (const count of [1, 2, 7, images.length]) {
      const pixels = new Uint8Array(Buffer.concat(images.slice(0, count)))
      const { probabilities } = await session.run({ image: new Tensor('uint8', pixels, [count, 28, 28, 3]) })
      expect(probabilities?.dims).toEqual([count, 3])
      const values = probabilities?.data as Float32Array
      alone.slice(0, count).flat().forEach((value, index) => { expect(values[index]).toBeCloseTo(value, 4) })
    }
    const own = alone.map(row => row.indexOf(Math.max(...row)))
    expect(result.evidence.challenger.predicted).toEqual(own)
    const labels = data.promotion.map(({ label }) => classes.indexOf(label))
    expect(metricsOf(alone, labels).correct).toBe(own.filter((label, index) => label === labels[index]).length)
  })

  // Skipped only where Python's onnx is not installed; CI throws above.
  it.skipIf(!checker)('exports a model that the checker of ONNX accepts in full, of standard operations only', async () => {
    const { stdout } = await execute(python, ['-c', [
      'import json, onnx, sys',
      'model = onnx.load(sys.argv[1])',
      'onnx.checker.check_model(model, full_check=True)',
      'dims = lambda value: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]',
      'print(json.dumps({"domains": sorted({node.domain for node in model.graph.node}),',
      '  "inputs": {v.name: dims(v) for v in model.graph.input}, "outputs": {v.name: dims(v) for v in model.graph.output}}))',
    ].join('\n'), join(out, 'model.onnx')])
    expect(JSON.parse(stdout)).toEqual({
      domains: [''],
      inputs: { image: ['batch', 28, 28, 3] },
      outputs: { logits: ['batch', 3], probabilities: ['batch', 3], embedding: ['batch', 128] },
    })
  })

  it('gives the same weights to the byte for the same seed and steps', async () => {
    const again = await round('again')
    expect(again.card.files).toEqual(result.card.files)
    expect({ ...again.card.data, quarantined: 2, promotion: 19 }).toEqual(result.card.data)
  })

  it('starts from the champion where there is one, and compares with it on the same images', async () => {
    const { card, evidence } = await round('second', { steps: 1, lanes: 1, seed: 77, champion: { version: 4, folder: out } })
    expect(card.parent).toEqual({ version: 4, sha256: result.card.files['model.onnx'] })
    const [before, after] = [await weightsIn(out), await weightsIn(join(folder, 'second'))]
    for (const name of ['embedding.weight', 'encoder.3.mlp.expand.weight', 'decoder.pixels.bias']) expect(moved(before, after, name)).toBeLessThan(2e-3)
    expect(evidence.champion).toEqual(result.evidence.challenger)
    expect(evidence.challenger.predicted).toHaveLength(18)
    expect(card.files['weights.safetensors']).not.toBe(result.card.files['weights.safetensors'])
  })

  it('takes nothing from a champion whose weights a disk has damaged, and compares with it all the same', async () => {
    const damaged = join(folder, 'damaged')
    await cp(out, damaged, { recursive: true })
    await truncate(join(damaged, 'weights.safetensors'), 1000)
    const champion = { version: 4, folder: damaged }
    const { evidence } = await round('beside-damaged', { ...stepsAlone, steps: 1, seed: 77, champion })
    expect(evidence.champion).toEqual(result.evidence.challenger)
    const [before, after] = [await weightsIn(out), await weightsIn(join(folder, 'beside-damaged'))]
    expect(moved(before, after, 'embedding.weight')).toBeGreaterThan(0.01)
  })

  it('takes nothing from a champion whose weights are no numbers', async () => {
    const sick = join(folder, 'sick')
    await cp(out, sick, { recursive: true })
    const weights = await readFile(join(sick, 'weights.safetensors'))
    weights.writeFloatLE(NaN, 8 + Number(weights.readBigUInt64LE()))
    await writeFile(join(sick, 'weights.safetensors'), weights)
    // As it would be had the champion itself been made so.
    const { card } = result
    await writeFile(join(sick, 'card.json'), JSON.stringify({ ...card, files: { ...card.files, 'weights.safetensors': await sha256(join(sick, 'weights.safetensors')) } }))
    const { card: anew } = await round('beside-sick', { ...stepsAlone, steps: 1, seed: 77, champion: { version: 4, folder: sick } })
    expect(anew).toMatchObject({ start: 'scratch', parent: { version: 4 } })
    const [before, after] = [await weightsIn(out), await weightsIn(join(folder, 'beside-sick'))]
    expect(moved(before, after, 'encoder.3.mlp.expand.weight')).toBeGreaterThan(0.01)
  })

  it('keeps what a champion has learned of the other classes where one is taken away, and where one comes, and is compared on those of today', async () => {
    const [gone = '', ...others] = classes
    const rest = (images: LabeledImage[]) => images.filter(({ label }) => label !== gone)
    // Long enough to know something: else nothing of it would be taken.
    const fewer = await round('fewer', {
      ...stepsAlone, steps: 8, seed: 81, champion: { version: 4, folder: out },
      labeled: rest(data.labeled), gate: rest(data.gate), promotion: rest(data.promotion),
    })
    expect([fewer.card.classes, fewer.evidence.classes]).toEqual([others, others])
    // What the champion takes for the class that is gone is wrong now; the rest is as it was.
    const before = result.evidence.challenger.predicted.filter((_, index) => result.evidence.labels[index] !== 0)
    expect(fewer.evidence.champion?.predicted).toEqual(before.map(label => label - 1))
    expect(fewer.evidence.champion?.unnamed).toBeUndefined()

    // No more pictures than before: of more there would be better words, and nothing would be taken.
    const more = await round('more', {
      ...stepsAlone, steps: 1, seed: 82, unlabeled: data.unlabeled.slice(0, 40), champion: { version: 6, folder: join(folder, 'fewer') },
    })
    expect([more.card.classes, more.card.start, more.evidence.champion?.unnamed]).toEqual([classes, 'champion', [0]])

    const [second, third] = [await weightsIn(join(folder, 'fewer')), await weightsIn(join(folder, 'more'))]
    expect(moved(await weightsIn(out), second, 'encoder.3.mlp.expand.weight')).toBeLessThan(0.05)
    expect(moved(second, third, 'encoder.3.mlp.expand.weight')).toBeLessThan(2e-3)

    // Had it taken its classes for each other, no more than its words would be taken.
    const muddled = join(folder, 'muddled')
    await cp(join(folder, 'fewer'), muddled, { recursive: true })
    await writeFile(join(muddled, 'card.json'), JSON.stringify({ ...fewer.card, classes: others.toReversed() }))
    const { card: anew } = await round('beside-muddled', {
      ...stepsAlone, steps: 1, seed: 83, unlabeled: data.unlabeled.slice(0, 40), champion: { version: 7, folder: muddled },
    })
    expect(anew).toMatchObject({ start: 'words', parent: { version: 7 } })
    const fourth = await weightsIn(join(folder, 'beside-muddled'))
    expect(fourth.get('dictionary.weight')).toEqual(second.get('dictionary.weight'))
    expect(moved(second, fourth, 'encoder.3.mlp.expand.weight')).toBeGreaterThan(0.01)
  })

  it('takes what a champion without a shortcut has', async () => {
    await round('transformer', { steps: 6, lanes: 1, seed: 78, method: 'supervised' })
    await round('third', { steps: 1, lanes: 1, seed: 79, unlabeled: [], champion: { version: 5, folder: join(folder, 'transformer') } })
    const [before, after] = [await weightsIn(join(folder, 'transformer')), await weightsIn(join(folder, 'third'))]
    expect([before.has('shortcut.weight'), after.has('shortcut.weight')]).toEqual([false, true])
    // Its patches know the words of its own dictionary.
    expect(after.get('dictionary.weight')).toEqual(before.get('dictionary.weight'))
    expect(moved(before, after, 'embedding.weight')).toBeLessThan(2e-3)
    // Of more pictures there are better words: then nothing is taken.
    await round('fourth', { ...stepsAlone, steps: 1, seed: 79, champion: { version: 5, folder: join(folder, 'transformer') } })
    expect((await weightsIn(join(folder, 'fourth'))).get('dictionary.weight')).not.toEqual(before.get('dictionary.weight'))
  })

  it('trains beside the words that were learned, and leaves them as they are', async () => {
    await round('words', { steps: 1, lanes: 1, seed: 80, method: 'supervised' })
    const images = await Promise.all(data.labeled.map(async ({ path }) => decodeImage(await readFile(path), 28)))
    const learned = await learnDictionary({ images, preset: presets.nano, seed: 80, turns: undisturbed })
    const weights = await weightsIn(join(folder, 'words'))
    expect(new Float32Array(['dictionary.weight', 'dictionary.bias'].flatMap(name => [...weights.get(name)?.data ?? []]))).toEqual(learned)
  })

  it('lets no pseudo-label count when told so, and learns from labels and reconstruction all the same', async () => {
    const told: RoundEvent[] = []
    const { card } = await round('closed', { method: 'ungated', ...stepsAlone, switches: { ...stepsAlone.switches, gate: 'never' } }, { onEvent: event => { told.push(event) } })
    expect(card).toMatchObject({ steps: 3, gate: [], recipe: { gate: 'never' }, pseudoLabels: { used: 0, gateOpenings: 0, lastThreshold: null } })
    expect(told.flatMap(event => (event.type === 'phase' ? [event.phase] : []))).toContain('semi-supervised')
    const losses = told.flatMap(event => (event.type === 'progress' ? [event.losses] : []))
    expect(losses.every(({ reconstruction, unlabeled }) => reconstruction > 0 && unlabeled === 0)).toBe(true)
    expect(losses.at(-1)?.labeled).toBeGreaterThan(0)
  })

  const methods: { method: MethodName; looks: boolean; reconstructs: boolean }[] = [
    { method: 'supervised', looks: false, reconstructs: false },
    { method: 'mae-finetune', looks: false, reconstructs: true },
    { method: 'ungated', looks: true, reconstructs: true },
    { method: 'paper', looks: true, reconstructs: true },
  ]
  for (const { method, looks, reconstructs } of methods) {
    it(`makes a model by the method ${method} too`, async () => {
      const losses: number[] = []
      const { card } = await round(method, { method, steps: 2, lanes: 1 }, {
        onEvent: event => { if (event.type === 'progress') losses.push(event.losses.reconstruction) },
      })
      expect(card).toMatchObject({ method, steps: 2, classes, data: { unlabeled: reconstructs ? 60 : 0 } })
      expect([card.gate.length > 0, losses.every(loss => loss > 0)]).toEqual([looks, reconstructs])
      if (method === 'ungated') expect(card.pseudoLabels.used).toBeGreaterThan(0)
      await ModelFile.open(await readFile(join(folder, method, 'model.onnx')))
    })
  }

  it('gives the same weights to the byte with and without the rule that both views agree, while the gate stays closed', async () => {
    const { card } = await round('agreeing', { method: 'paper', steps: 4, lanes: 1 })
    const { card: other } = await round('not-agreeing', { method: 'paper', steps: 4, lanes: 1, switches: { agreement: false } })
    expect(card.gate.length).toBeGreaterThan(2)
    expect(card.gate.some(({ open }) => open)).toBe(false)
    expect(other.files).toEqual(card.files)
    expect([card.recipe.agreement, other.recipe.agreement]).toEqual([true, false])
  })
})

describe('a round without a model', () => {
  afterEach(() => { vi.unstubAllEnvs() })
  const refused = async (name: string, changes: Partial<RoundSpec>, options: Partial<RoundOptions> = {}) => {
    const error = await round(name, { ...stepsAlone, ...changes }, options).then(() => 'a model', (cause: unknown) => cause)
    await expect(readFile(join(folder, name, 'model.onnx'))).rejects.toThrow('ENOENT')
    return error
  }

  it('says "labels" when they show one class only, or nothing is there to judge by', async () => {
    const one = data.labeled.filter(({ label }) => label === 'bag')
    expect(await refused('one-class', { labeled: one })).toMatchObject({ name: 'RoundError', reason: 'labels', message: expect.stringContaining('only "bag"') as string })
    expect(await refused('no-labels', { labeled: [] })).toMatchObject({ reason: 'labels', message: expect.stringContaining('none') as string })
    const unreadable = [{ path: join(folder, 'labeled.png'), label: 'bag' }]
    for (const gate of [[], unreadable]) expect(await refused('no-gate', { gate })).toMatchObject({ reason: 'labels', message: expect.stringContaining('validation') as string })
  })

  it('says "diverged" when the losses are no numbers', async () => {
    expect(await refused('diverged', { switches: { ...stepsAlone.switches, learningRate: 1e30 } })).toMatchObject({
      reason: 'diverged', message: expect.stringContaining('step') as string,
    })
  })

  it('says "stopped" when it is told to, at once', async () => {
    expect(await refused('early', {}, { signal: AbortSignal.abort() })).toMatchObject({ reason: 'stopped' })
    const controller = new AbortController()
    let atMs = 0
    const error = await refused('stopped', { steps: 10_000 }, {
      signal: controller.signal,
      onEvent: event => {
        if (event.type !== 'progress' || event.step !== 2) return
        atMs = performance.now()
        controller.abort()
      },
    })
    expect(error).toMatchObject({ reason: 'stopped' })
    expect(performance.now() - atMs).toBeLessThan(10_000)
  })

  it('says once what fails of a device that was asked for', async () => {
    // No other test of this file opens a GPU: a driver that was found stays.
    vi.stubEnv('VK_ICD_FILENAMES', join(folder, 'no-driver.json'))
    const failing = 'training on webgpu, as was asked for, fails here; "pawl doctor --verify-device" tells which devices work: '
    expect(await refused('webgpu', { device: 'webgpu' })).toMatchObject({ reason: 'crashed', message: expect.stringMatching(RegExp(`^${failing}(?!.*asked for)`)) as string })
  })

  it('says "out-of-time" when it is given no time', async () => {
    expect(await refused('no-time', { steps: null, minutes: 0 })).toMatchObject({ reason: 'out-of-time' })
  })
})
