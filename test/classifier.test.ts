import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import sharp from 'sharp'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { evaluateModel, openModel, timeInference } from '../agent/classifier/evaluate.js'
import { ClassifierPool, type Answer, type ServedModel } from '../agent/classifier/pool.js'
import { sideBySide } from '../agent/classifier/side-by-side.js'
import { bundled } from '../agent/config.js'
import { fitImage, ModelFile, untrainedModel, type FittedImage } from '../trainer/index.js'

const waiting = { timeout: 60_000, interval: 20 }
let folder = ''
let model = Buffer.alloc(0)
let jpeg = Buffer.alloc(0)
let fitted: FittedImage
let problems: string[] = []
let pools: ClassifierPool[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-classifier-'))
  model = Buffer.from(await untrainedModel('nano'))
  jpeg = await sharp({ create: { width: 100, height: 80, channels: 3, background: '#a64' } }).jpeg().toBuffer()
  fitted = await fitImage(jpeg, 28)
})

afterAll(() => rm(folder, { recursive: true, force: true }))

afterEach(async () => {
  await Promise.all(pools.map(pool => pool.stop()))
  pools = []
  problems = []
})

const hashOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

async function stored(version: number, bytes: Uint8Array, sha256 = hashOf(bytes)): Promise<ServedModel> {
  const path = join(folder, `${String(version)}.onnx`)
  await writeFile(path, bytes)
  return { version, path, sha256 }
}

/** The model with some of its bytes changed for as many others. */
function changed(from: string, to: string): Buffer {
  const bytes = Buffer.from(model)
  const at = bytes.indexOf(from)
  if (at < 0 || from.length !== to.length) throw new Error(`"${from}" cannot become "${to}"`)
  bytes.write(to, at)
  return bytes
}

/** A model whose file never comes to its end: a disk that hangs, say. */
function endless(version: number): ServedModel {
  const path = join(folder, `${String(version)}.endless`)
  execFileSync('mkfifo', [path])
  return { version, path, sha256: '' }
}

/** Well below what each of these would take, well above what it should. */
const soonMs = 9000

/** Gives how long it took to settle. */
async function settled(work: Promise<unknown>): Promise<number> {
  const beganMs = performance.now()
  await work.catch(() => undefined)
  return performance.now() - beganMs
}

function newPool(loadMs = 30_000, signal?: AbortSignal): ClassifierPool {
  const pool = new ClassifierPool({ threads: 1, loadMs, onProblem: message => { problems.push(message) }, ...signal && { signal } })
  pools.push(pool)
  return pool
}

async function poolWith(version: number): Promise<ClassifierPool> {
  const pool = newPool()
  await pool.swap(await stored(version, model))
  return pool
}

describe('classifier pool', () => {
  it('answers with a class, calibrated probabilities and the version of the model, and refuses what is no image', async () => {
    const pool = newPool()
    expect(pool.version).toBeNull()
    await expect(pool.classify(jpeg)).rejects.toMatchObject({ code: 'MODEL_INVALID' })
    await pool.swap(await stored(7, model))
    const answer = await pool.classify(jpeg)
    expect(answer).toMatchObject({ version: 7, label: expect.stringMatching(/^class-\d$/) as string })
    expect(answer.confidence).toBe(answer.probabilities[answer.label])
    expect(Object.values(answer.probabilities).reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 4)
    expect([answer.embedding.length, answer.embedding.every(Number.isFinite)]).toEqual([128, true])
    expect(await pool.classify(Buffer.from('not looked at'), fitted)).toEqual(answer)
    expect(await pool.classify(jpeg, await fitImage(jpeg, 96))).toEqual(answer)
    await expect(pool.classify(Buffer.from('no image'))).rejects.toThrow(/image/)
    expect((await pool.classify(jpeg)).version).toBe(7)
  })

  it('loses no frame while models change under load, and never goes back to a former one', async () => {
    const pool = await poolWith(1)
    const answers: Promise<Answer>[] = []
    let busy = true
    const load = (async () => {
      while (busy) {
        for (let count = 0; count < 4; count++) answers.push(pool.classify(jpeg, fitted))
        await answers.at(-1)
      }
    })()
    const pids = new Set([pool.pid])
    for (const version of [2, 3]) {
      await pool.swap(await stored(version, model))
      pids.add(pool.pid)
      await sleep(100)
    }
    busy = false
    await load
    const versions = (await Promise.all(answers)).map(({ version }) => version)
    expect(new Set(versions)).toEqual(new Set([1, 2, 3]))
    expect(versions).toEqual(versions.toSorted((a, b) => a - b))
    expect(pids.size).toBe(3)
    expect(problems).toEqual([])
  })

  it('refuses the oldest frame when more wait than it can answer soon', async () => {
    const pool = await poolWith(1)
    const results = await Promise.allSettled(Array.from({ length: 100 }, () => pool.classify(jpeg, fitted)))
    const refused = results.map(({ status }) => status === 'rejected')
    expect(refused.filter(Boolean)).toHaveLength(36)
    expect(refused.slice(-64)).not.toContain(true)
  })

  const bad: { name: string; make: () => Promise<ServedModel>; reason: string }[] = [
    { name: 'is cut off', make: () => stored(2, model.subarray(0, model.length / 2)), reason: 'cut off' },
    { name: 'is no model', make: () => stored(2, Buffer.from('a text')), reason: 'not an ONNX model' },
    { name: 'is empty', make: () => stored(2, Buffer.alloc(0)), reason: 'not pawl' },
    { name: 'is not what its card says', make: () => stored(2, model, hashOf(Buffer.from('another'))), reason: 'SHA-256' },
    { name: 'is another program\'s', make: () => stored(2, changed('pawl.classes', 'else.classes')), reason: 'not pawl' },
    { name: 'has other classes than it answers', make: () => stored(2, changed('"class-8","class-9"', '"class-8 + class-9"')), reason: '9 classes' },
    { name: 'is missing', make: () => Promise.resolve({ version: 2, path: join(folder, 'none.onnx'), sha256: '' }), reason: 'none.onnx' },
  ]
  it(`refuses a model file that ${bad.map(({ name }) => name).join(', ')}; the former model still answers`, async () => {
    const pool = await poolWith(1)
    const { pid } = pool
    for (const { make, reason } of bad) {
      const error = await pool.swap(await make()).catch((cause: unknown) => cause)
      expect(error).toMatchObject({ code: 'MODEL_INVALID', message: expect.stringContaining(reason) as string })
      expect(error).toMatchObject({ message: expect.stringContaining('model 1 stays in service') as string })
      expect((await pool.classify(jpeg)).version).toBe(1)
    }
    expect([pool.pid, problems]).toEqual([pid, []])
  })

  it('gives up a model that does not load in time', async () => {
    await expect(newPool(1).swap(await stored(1, model))).rejects.toThrow('within 1 ms; no model is in service')
  })

  it('has the same model back after its process was killed, and answers or refuses every frame of the meantime', async () => {
    const pool = await poolWith(5)
    const pid = pool.pid ?? 0
    const underWay = Promise.allSettled(Array.from({ length: 8 }, () => pool.classify(jpeg)))
    process.kill(pid, 'SIGKILL')
    expect(await underWay).toHaveLength(8)
    const settled: string[] = []
    await vi.waitFor(async () => {
      await pool.classify(jpeg).then(() => settled.push('answered'), () => settled.push('refused'))
      expect(settled.at(-1)).toBe('answered')
    }, waiting)
    expect(settled).toContain('refused')
    expect(pool.pid).not.toBe(pid)
    expect((await pool.classify(jpeg)).version).toBe(5)
    expect(problems).toEqual(['the classifier of model 5 ended; starting it again'])
  })

  it('takes longer from restart to restart of a process that ends again and again', async () => {
    const pool = await poolWith(1)
    const tookMs: number[] = []
    for (let death = 0; death < 4; death++) {
      const { pid } = pool
      tookMs.push(await settled((async () => {
        process.kill(pid!, 'SIGKILL')
        await vi.waitFor(() => { expect(pool.pid).not.toBe(pid) }, waiting)
      })()))
    }
    const [first = 0, ...others] = tookMs
    expect(others.map((ms, restart) => ms >= 1000 * 2 ** restart), String(tookMs)).toEqual([true, true, true])
    expect(first).toBeLessThan(others[2]!)
    expect(problems).toHaveLength(4)
  })

  it('tries again when the killed process cannot be replaced at once', async () => {
    const served = await stored(6, model)
    const pool = newPool()
    await pool.swap(served)
    await rm(served.path)
    process.kill(pool.pid ?? 0, 'SIGKILL')
    await vi.waitFor(() => { expect(problems).toEqual([expect.any(String), expect.stringContaining('6.onnx')]) }, waiting)
    await writeFile(served.path, model)
    await vi.waitFor(async () => { expect((await pool.classify(jpeg)).version).toBe(6) }, waiting)
  })
})

describe('the end of the agent', () => {
  it('ends what loads: nothing comes into service after it, and no child is left', async () => {
    const pool = await poolWith(1)
    const swap = pool.swap(endless(9))
    const refused = expect(swap).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringContaining('the agent ends') as string })
    expect(await settled(Promise.all([pool.stop(), swap]))).toBeLessThan(soonMs)
    await refused
    // One that would load: as the stop comes, and after it.
    const next = await poolWith(2)
    const late = expect(next.swap(await stored(3, model))).rejects.toThrow('the agent ends')
    await next.stop()
    await late
    await expect(next.swap(await stored(4, model))).rejects.toThrow('the agent ends')
    expect([pool.version, next.version, next.pid]).toEqual([null, null, undefined])
  })

  it('does not wait for a child that hangs, and lets one answer that does not', async () => {
    const ending = new AbortController()
    const pool = newPool(30_000, ending.signal)
    await pool.swap(await stored(1, model))
    process.kill(pool.pid ?? 0, 'SIGSTOP')
    const before = pool.classify(jpeg, fitted)
    ending.abort()
    const after = pool.classify(jpeg, fitted)
    expect(await settled(Promise.allSettled([before, after]))).toBeLessThan(soonMs)
    await expect(before).rejects.toThrow('SIGKILL')
    expect(await settled(pool.stop())).toBeLessThan(soonMs)
    expect(problems).toEqual([])

    const well = newPool(30_000, new AbortController().signal)
    await well.swap(await stored(1, model))
    const answers = Promise.all(Array.from({ length: 20 }, () => well.classify(jpeg, fitted)))
    await Promise.all([well.stop(), answers])
    expect(await answers).toHaveLength(20)
  })
})

describe('two models side by side', () => {
  const running = () => new AbortController().signal

  it('answer the same images, from memory and from files; null for what cannot be read', async () => {
    const path = join(folder, 'image.jpg')
    await writeFile(path, jpeg)
    const [former, now] = [await stored(1, model), await stored(2, model)]
    const pairs = await sideBySide([jpeg, path, join(folder, 'gone.jpg'), Buffer.from('no image')], { former, now, signal: running() })
    expect(pairs).toEqual([0, 1, null, null].map(one => (one === null ? null : { former: 'class-0', now: 'class-0', gain: 0 })))
    await expect(sideBySide([jpeg], { former: { ...former, sha256: 'x' }, now, signal: running() })).rejects.toMatchObject({ code: 'MODEL_INVALID' })
  })

  it('are given up when the agent ends, while they load and while they answer', async () => {
    const [former, loads] = [await stored(1, model), new AbortController()]
    const loading = sideBySide([jpeg], { former, now: endless(8), signal: loads.signal })
    setTimeout(() => { loads.abort() }, 1500)
    expect(await settled(loading)).toBeLessThan(1500 + soonMs)
    const answers = new AbortController()
    const answering = sideBySide(Array.from({ length: 100_000 }, () => jpeg), { former, now: former, signal: answers.signal })
    setTimeout(() => { answers.abort() }, 1500)
    expect(await settled(answering)).toBeLessThan(1500 + soonMs)
    await expect(answering).rejects.toThrow()
  })
})

describe('evaluation', () => {
  it('counts what is right class by class, and leaves out by name what cannot be read', async () => {
    // Fresh weights answer every picture with all classes alike, and so always with the first.
    const file = await ModelFile.open(model)
    const names = ['bag', 'sandal']
    const images = (await Promise.all(names.map(async (name, label) => {
      const own = join(bundled('test'), name)
      return (await readdir(own)).sort().slice(0, label === 0 ? 6 : 4).map(image => ({ path: join(own, image), label: `class-${String(label)}` }))
    }))).flat()
    const unreadable = { path: join(folder, 'cut.png'), label: 'class-0' }
    await writeFile(unreadable.path, 'x')
    const result = await evaluateModel(file, [...images, unreadable])
    expect(result).toMatchObject({ images: 10, correct: 6, accuracy: 0.6, quarantined: [{ path: unreadable.path }] })
    expect(result.perClass.slice(0, 3).map(row => [row.images, row.correct, row.accuracy])).toEqual([[6, 6, 1], [4, 0, 0], [0, 0, 0]])
    expect(result.confusion.map(row => row[0])).toEqual([6, 4, 0, 0, 0, 0, 0, 0, 0, 0])
    expect(result.nll).toBeCloseTo(Math.log(10), 4)
    expect(result.ece).toBeCloseTo(0.5, 4)
    await expect(evaluateModel(file, [{ path: 'x', label: 'hat' }])).rejects.toMatchObject({ code: 'MODEL_INVALID' })
  })

  it('times decoding and session', async () => {
    const path = join(folder, 'timed.onnx')
    await writeFile(path, model)
    const times = await timeInference(await openModel(path), [jpeg], 30)
    expect(times.images).toBe(30)
    expect(times.sessionP50Ms).toBeGreaterThan(0)
    expect(times.p50Ms).toBeGreaterThan(times.sessionP50Ms)
    expect(times.p99Ms).toBeGreaterThanOrEqual(times.p50Ms)
    expect(times.framesPerSecond).toBeGreaterThan(500 / times.p99Ms)
    await expect(openModel(folder)).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringContaining(folder) as string })
  })
})
