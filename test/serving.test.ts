/** Which model serves: after a start that did not go well, and while the agent ends. Real models, processes and files. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { ClassifierPool, type PoolOptions } from '../agent/classifier/pool.js'
import { systemClock } from '../agent/lib/clock.js'
import { Registry } from '../agent/registry/registry.js'
import { Serving } from '../agent/serving.js'
import { untrainedModel } from '../trainer/index.js'
import { challenger } from './challenger.js'

const waiting = { timeout: 60_000, interval: 20 }
/** Well below what a load that hangs would take. */
const soonMs = 15_000
let bytes = Buffer.alloc(0)
let data = ''
let problems: string[] = []
let active: number[] = []
let modes: unknown[] = []
const cleanups: (() => Promise<unknown>)[] = []

beforeAll(async () => { bytes = Buffer.from(await untrainedModel('nano')) })
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'pawl-serving-'))
  problems = []
  active = []
  modes = []
})
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(data, { recursive: true, force: true })
})

async function registryOf(): Promise<Registry> {
  const registry = new Registry({ data, clock: systemClock, onProblem: error => { problems.push(error.message) } })
  await registry.start()
  return registry
}

/** A registered model with a real file. `passed`: the gate, so that it is to serve. */
async function add(registry: Registry, name: string, { passed = false } = {}): Promise<number> {
  const made = await challenger(data, name)
  await writeFile(join(made.folder, 'model.onnx'), bytes)
  const { files } = made.card
  const card = { ...made.card, files: { ...files, 'model.onnx': createHash('sha256').update(bytes).digest('hex') } }
  const champion = registry.active()?.version ?? null
  return (await registry.register({ ...made, card, decision: version => ({ ...made.decision(version), champion, promoted: passed }) })).version
}

/** The file of a model never comes to its end, as on a disk that hangs. */
async function hang(registry: Registry, version: number): Promise<void> {
  const path = join(registry.folderOf(registry.find(version)), 'model.onnx')
  await rm(path)
  execFileSync('mkfifo', [path])
}

function servingOf(registry: Registry, { loadMs = 30_000 } = {}) {
  const ending = new AbortController()
  const options: PoolOptions = { threads: 1, loadMs, signal: ending.signal, onProblem: message => { problems.push(message) } }
  const classifier = new ClassifierPool(options)
  const serving = new Serving({
    classifier, registry, onProbation: false, retryMs: 50, signal: ending.signal,
    onActive: ({ version }) => {
      active.push(version)
      return Promise.resolve()
    },
    onMode: mode => { modes.push(mode) },
    onProblem: message => { problems.push(message) },
  })
  const stop = async () => {
    ending.abort()
    await serving.stop()
    await classifier.stop()
    await registry.stop()
  }
  cleanups.push(stop)
  return { serving, classifier, options, stop }
}

describe('a model in service that does not load at the start', () => {
  it('is tried again until it does, and told once; until then it is known to be away', async () => {
    const registry = await registryOf()
    await registry.promote(await add(registry, 'one'), { why: 'test' })
    const { serving, classifier, options } = servingOf(registry, { loadMs: 1 })
    await serving.start()
    expect(serving.away).toContain('model 1 is in service, but has not loaded since the start')
    await new Promise(resolve => setTimeout(resolve, 1000))
    expect([classifier.version, active, problems]).toEqual([null, [], [expect.stringContaining('within 1 ms')]])
    options.loadMs = 30_000
    await vi.waitFor(() => { expect(active).toEqual([1]) }, waiting)
    expect([classifier.version, serving.away, problems.length]).toEqual([1, null, 1])
  })

  it('makes way for one that a person puts in service, and for the one before it where it is damaged by then', async () => {
    const registry = await registryOf()
    for (const name of ['one', 'two']) await registry.promote(await add(registry, name), { why: 'test' })
    const { serving, options } = servingOf(registry, { loadMs: 1 })
    await serving.start()
    await writeFile(join(registry.folderOf(registry.find(2)), 'model.onnx'), 'rotten')
    options.loadMs = 30_000
    await vi.waitFor(() => { expect(active).toEqual([1]) }, waiting)
    expect((await serving.put(1, 'test')).version).toBe(1)
    expect(serving.away).toBeNull()
  })

  it('is none where there is none: a new box is well', async () => {
    const { serving } = servingOf(await registryOf())
    await serving.start()
    expect([serving.away, problems]).toEqual([null, []])
  })
})

describe('what a person asks for', () => {
  async function threeServed() {
    const registry = await registryOf()
    for (const name of ['one', 'two', 'three']) await registry.promote(await add(registry, name), { why: 'test', onProbation: name === 'three' })
    const made = servingOf(registry)
    await made.serving.start()
    return { registry, ...made }
  }

  it('holds though a model on probation fails meanwhile', async () => {
    const { registry, serving } = await threeServed()
    await Promise.all([serving.put(1, 'a person asked for it'), serving.fallBack(3, 'it is less sure')])
    expect([registry.active()?.version, active]).toEqual([1, [3, 1]])
    await serving.fallBack(1, 'it is less sure')
    expect(registry.active()?.version).toBe(3)
  })

  it('pins what serves once its turn has come, and is on probation no more', async () => {
    const { registry, serving } = await threeServed()
    expect(registry.probation()).not.toBeNull()
    await Promise.all([serving.put(2, 'test'), serving.pin(null, 'test')])
    expect([registry.mode, modes]).toEqual([{ kind: 'pin', version: 2 }, [{ kind: 'pin', version: 2 }]])
    await serving.setMode({ kind: 'follow' }, 'test')
    await registry.promote(3, { why: 'test', onProbation: true })
    await serving.pin(null, 'test')
    expect(registry.probation()).toBeNull()
  })

  it('takes a pin along, and everybody hears of it', async () => {
    const { registry, serving } = await threeServed()
    await serving.pin(null, 'test')
    await serving.put(1, 'test')
    await serving.rollback('test')
    expect(modes).toEqual([3, 1, 3].map(version => ({ kind: 'pin', version })))
    expect(registry.mode).toEqual(modes.at(-1))
  })

  it('goes back past what is damaged', async () => {
    const { registry, serving } = await threeServed()
    await writeFile(join(registry.folderOf(registry.find(2)), 'model.onnx'), 'rotten')
    expect((await serving.rollback('test')).version).toBe(1)
    await expect(serving.rollback('test')).rejects.toThrow(/no model was in service before/)
  })
})

describe('the end of the agent', () => {
  it('gives up a command that is under way, and nothing is written afterwards', async () => {
    const registry = await registryOf()
    await registry.promote(await add(registry, 'one'), { why: 'test' })
    const two = await add(registry, 'two')
    await hang(registry, two)
    const { serving, stop } = servingOf(registry)
    await serving.start()
    const [put, queued] = [serving.put(two, 'test'), serving.setMode({ kind: 'pause' }, 'test')]
    const refused = Promise.all([
      expect(put).rejects.toMatchObject({ code: 'MODEL_INVALID' }), expect(queued).rejects.toMatchObject({ code: 'COMMAND_INTERRUPTED' }),
    ])
    await new Promise(resolve => setTimeout(resolve, 500))
    const beganMs = performance.now()
    await stop()
    expect(performance.now() - beganMs).toBeLessThan(soonMs)
    await refused
    const written = await readFile(join(data, 'state.json'), 'utf8')
    await expect(serving.put(1, 'late')).rejects.toMatchObject({ code: 'COMMAND_INTERRUPTED' })
    expect(await readFile(join(data, 'state.json'), 'utf8')).toBe(written)
    expect([(await registryOf()).active()?.version, problems]).toEqual([1, []])
  })

  it('is no refusal of a challenger: the next start puts it in service', async () => {
    const registry = await registryOf()
    await registry.promote(await add(registry, 'one'), { why: 'test' })
    const { serving, stop } = servingOf(registry)
    await serving.start()
    const two = await add(registry, 'two', { passed: true })
    await hang(registry, two)
    const entered = serving.promote(registry.find(two))
    await new Promise(resolve => setTimeout(resolve, 500))
    await stop()
    expect([await entered, problems]).toEqual([null, []])
    const path = join(registry.folderOf(registry.find(two)), 'model.onnx')
    await rm(path)
    await writeFile(path, bytes)
    const next = await registryOf()
    await servingOf(next).serving.start()
    expect([active, next.active()?.version, next.decisions().at(-1)?.promoted]).toEqual([[1, two], two, true])
  })
})
