import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { systemClock } from '../agent/lib/clock.js'
import type { Ledger } from '../agent/registry/ledger.js'
import { Registry } from '../agent/registry/registry.js'
import { challenger, record } from './challenger.js'
import { compiled } from './compiled.js'

let data = ''
let problems: string[] = []

beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'pawl-registry-'))
  problems = []
})

afterEach(async () => {
  await rm(data, { recursive: true, force: true })
})

async function open(keepModels = 8): Promise<Registry> {
  const registry = new Registry({
    data, keepModels, clock: systemClock, onProblem: error => { problems.push(error.message) },
  })
  await registry.start()
  return registry
}

const statePath = () => join(data, 'state.json')

describe('registry', () => {
  it('remembers models, decisions, attempts and runs over a restart', async () => {
    const registry = await open()
    const one = await registry.register(await challenger(data, 'one'))
    await registry.promote(one.version, { why: 'test' })
    expect(await registry.beginRound()).toBe(1)
    expect(await registry.countAttempt('set')).toBe(1)
    expect(await registry.countAttempt('set')).toBe(2)
    await registry.setLastRun('round')
    await registry.recordDecision({ ...record(2), promoted: false, reason: 'diverged' })
    const again = await open()
    expect(again.active()).toEqual({ ...one, status: 'champion' })
    expect(again.decisions().map(({ reason }) => reason)).toEqual(['better', 'diverged'])
    expect(again.attempts('set')).toBe(2)
    expect(again.lastRunAtMs('round')).toBeGreaterThan(0)
    expect(await again.beginRound()).toBe(2)
    expect(await readdir(again.folderOf(one))).toHaveLength(2)
    expect(problems).toEqual([])
  })

  it('puts the model before back in service, and refuses where there is none', async () => {
    const registry = await open()
    for (const name of ['one', 'two']) await registry.promote((await registry.register(await challenger(data, name))).version, { why: 'test' })
    expect(registry.list().map(({ status }) => status)).toEqual(['former', 'champion'])
    expect((await registry.rollback({ why: 'test' })).version).toBe(1)
    expect(registry.list().map(({ status }) => status)).toEqual(['champion', 'refused'])
    await expect(registry.rollback({ why: 'test' })).rejects.toMatchObject({ code: 'MODEL_INVALID' })
    expect(registry.active()?.version).toBe(1)
  })

  it('refuses a model whose file differs from its card, at registration and at promotion', async () => {
    const registry = await open()
    const bad = await challenger(data, 'bad')
    await writeFile(join(bad.folder, 'model.onnx'), 'changed')
    await expect(registry.register(bad)).rejects.toMatchObject({ code: 'MODEL_INVALID' })
    const good = await registry.register(await challenger(data, 'good'))
    await writeFile(join(registry.folderOf(good), 'model.onnx'), 'rotten')
    await expect(registry.promote(good.version, { why: 'test' })).rejects.toMatchObject({ code: 'MODEL_INVALID' })
    expect(registry.active()).toBeNull()
    expect(await registry.verify()).toMatchObject([{ version: 1, ok: false }])
  })

  it('has a new model registered though the old ones could not be removed, which the next one does', async () => {
    const registry = await open(1)
    for (const name of ['one', 'two', 'three']) await registry.promote((await registry.register(await challenger(data, name))).version, { why: 'test' })
    const { ledger } = registry as unknown as { ledger: Ledger }
    const write = ledger.write.bind(ledger)
    vi.spyOn(ledger, 'write').mockImplementationOnce(write).mockRejectedValueOnce(new Error('no space left'))
    expect(await registry.register(await challenger(data, 'four'))).toMatchObject({ version: 4 })
    expect([registry.unserved()?.version, problems]).toEqual([4, ['old models take room still: they could not be removed (no space left)']])
    await registry.register(await challenger(data, 'five'))
    expect(registry.list().map(({ version }) => version)).not.toContain(1)
    expect(problems).toHaveLength(1)
  })

  it('keeps a bounded number of models, the one in service and the one before it among them', async () => {
    const registry = await open(1)
    for (const name of ['one', 'two']) await registry.promote((await registry.register(await challenger(data, name))).version, { why: 'test' })
    for (const name of ['three', 'four', 'five']) await registry.register(await challenger(data, name))
    expect(registry.list().map(({ version }) => version)).toEqual([1, 2, 4, 5])
    expect(await readdir(join(data, 'models'))).toHaveLength(4)
  })

  it('keeps changes apart that are asked for at once', async () => {
    const registry = await open()
    const rounds = await Promise.all(Array.from({ length: 10 }, () => registry.beginRound()))
    expect(rounds).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  })

  it('writes nothing once it is stopped: another agent may hold the folder by then', async () => {
    const former = await open()
    await former.register(await challenger(data, 'one'))
    await former.stop()
    const next = await open()
    await next.setMode({ kind: 'pause' }, { why: 'test' })
    await expect(former.promote(1, { why: 'late' })).rejects.toMatchObject({ code: 'DATA_LOCKED' })
    expect(await next.verifyLineage()).toMatchObject({ ok: true, entries: 2 })
    expect((await open()).active()).toBeNull()
    expect(problems).toEqual([])
  })

  it('refuses to write what it could not read again', async () => {
    const registry = await open()
    await expect(registry.recordDecision({ ...record(1), accuracyChampion: NaN })).rejects.toThrow()
    expect(registry.decisions()).toEqual([])
    expect((await open()).decisions()).toEqual([])
  })
})

describe('registry file', () => {
  const damages: Record<string, () => Promise<void>> = {
    truncated: () => truncate(statePath(), 40),
    empty: () => writeFile(statePath(), ''),
    missing: () => rm(statePath()),
    unreadable: async () => {
      // As any other error than that there is none.
      await rm(statePath())
      await mkdir(statePath())
    },
    changed: async () => { await writeFile(statePath(), (await readFile(statePath(), 'utf8')).replace('"nextRound":3', '"nextRound":9')) },
  }
  for (const [name, damage] of Object.entries(damages)) {
    it(`is restored from the newest good backup when it is ${name}, and says so`, async () => {
      const registry = await open()
      await registry.promote((await registry.register(await challenger(data, 'one'))).version, { why: 'test' })
      await registry.beginRound()
      await registry.beginRound()
      await damage()
      const again = await open()
      expect(problems).toEqual([expect.stringContaining('restored from')])
      expect((await readdir(data)).filter(file => /^state\.json\.\d{5,}$/.test(file))).toHaveLength(name === 'missing' ? 0 : 1)
      expect(again.active()?.version).toBe(1)
      expect(await again.beginRound()).toBe(2)
      problems = []
      await open()
      expect(problems).toEqual([])
    })
  }

  it('is refused when it is gone, backups too, while models exist', async () => {
    const registry = await open()
    for (const name of ['one', 'two']) await registry.promote((await registry.register(await challenger(data, name))).version, { why: 'test' })
    for (const name of await readdir(data)) if (name.startsWith('state.json')) await rm(join(data, name))
    await expect(open()).rejects.toMatchObject({ code: 'REGISTRY_CORRUPT' })
  })

  it('is refused, and left alone, when it comes from a newer version or nothing in it is usable', async () => {
    const newer = '{"schemaVersion":99,"sha256":"","data":{}}'
    await writeFile(statePath(), newer)
    await expect(open()).rejects.toThrow('newer')
    expect(await readFile(statePath(), 'utf8')).toBe(newer)
    await writeFile(statePath(), '{')
    await expect(open()).rejects.toMatchObject({ code: 'REGISTRY_CORRUPT' })
  })

  it('never reuses the number of a model folder that a power cut left behind', async () => {
    await (await open()).beginRound()
    await mkdir(join(data, 'models', '1-0123abcd'), { recursive: true })
    const registry = await open()
    expect(problems).toEqual([expect.stringContaining('1-0123abcd')])
    expect((await registry.register(await challenger(data, 'one'))).version).toBe(2)
  })

  it('refuses to begin anew where a model shows that its file is lost', async () => {
    await mkdir(join(data, 'models', '1-0123abcd'), { recursive: true })
    await expect(open()).rejects.toThrow(/REGISTRY_CORRUPT|state\.json knows no model/)
  })

  it('remembers a proven model that a power cut kept from service, until it serves or a person goes back', async () => {
    const registry = await open()
    const first = await registry.register(await challenger(data, 'one'))
    expect((await open()).unserved()?.version ?? null).toBe(first.decision.promoted ? 1 : null)
    await registry.promote(1, { why: 'test' })
    expect((await open()).unserved()).toBeNull()
    await registry.retire()
    const later = await open()
    expect([later.active(), later.unserved()]).toEqual([null, null])
  })

  it('is whole after kill -9 at any moment, and never older than what was reported as written', { timeout: 240_000 }, async () => {
    const program = await compiled('registry-child')
    let reported = 0
    for (let kill = 0; kill < 20; kill++) {
      const child = spawn(process.execPath, [program, data])
      let output = ''
      let errors = ''
      child.stderr.on('data', (bytes: Buffer) => { errors += bytes.toString() })
      child.stdout.on('data', (bytes: Buffer) => {
        if (!output) setTimeout(() => child.kill('SIGKILL'), (kill * 37) % 101)
        output += bytes.toString()
      })
      await new Promise(resolve => child.once('close', resolve))
      expect(errors).toBe('')
      expect(output).not.toContain('problem')
      reported = Number(output.split('\n').at(-2) ?? reported)
      const registry = await open()
      expect(problems).toEqual([])
      const next = await registry.beginRound()
      // The write under way when the signal came may have succeeded.
      expect([reported + 1, reported + 2]).toContain(next)
    }
    expect(reported).toBeGreaterThan(20)
  })
})
