/** The signed history of the models, read by whoever doubts it. */
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { appendFile, copyFile, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../agent/lib/clock.js'
import { headOf, type SignedEntry } from '../agent/registry/lineage.js'
import { Registry } from '../agent/registry/registry.js'
import { challenger, record } from './challenger.js'

let data = ''
let problems: string[] = []

beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'pawl-lineage-'))
  problems = []
})

afterEach(async () => {
  await rm(data, { recursive: true, force: true })
})

async function open(): Promise<Registry> {
  const registry = new Registry({ data, clock: systemClock, onProblem: error => { problems.push(error.message) } })
  await registry.start()
  return registry
}

const path = () => join(data, 'lineage.jsonl')
const lines = async () => (await readFile(path(), 'utf8')).trimEnd().split('\n')
const entries = async () => (await lines()).map(line => (JSON.parse(line) as SignedEntry).entry)
const why = 'test'

/** Two models made, the second in service, then taken back; a decision revised; one pinned. */
async function lived(): Promise<Registry> {
  const registry = await open()
  for (const name of ['one', 'two']) await registry.promote((await registry.register(await challenger(data, name))).version, { why })
  await registry.rollback({ why })
  await registry.revise({ ...record(1, 2), promoted: false, reason: 'held' })
  await registry.setMode({ kind: 'pin', version: 1 }, { why: 'test' })
  return registry
}

describe('the history', () => {
  it('tells what became of every model, in order, and is verified with the public key alone', async () => {
    const registry = await lived()
    expect((await entries()).map(({ change, version }) => [change, version])).toEqual([
      ['registered', 1], ['promoted', 1], ['registered', 2], ['promoted', 2], ['rolled-back', 1], ['decided', 2], ['mode', 1],
    ])
    expect(await registry.verifyLineage()).toEqual({ ok: true, entries: 7, problem: null })
    const head = registry.lineage()
    expect(head && verify(null, Buffer.from(JSON.stringify(head.entry)), createPublicKey(head.publicKey), Buffer.from(head.signature, 'hex'))).toBe(true)
    expect((await stat(join(data, 'identity', 'private.pem'))).mode & 0o077).toBe(0)
    // Over a restart it goes on.
    const again = await open()
    await again.setMode({ kind: 'follow' }, { why: 'test' })
    expect(await again.verifyLineage()).toEqual({ ok: true, entries: 8, problem: null })
    expect(problems).toEqual([])
  })

  it('shows every change of a byte, every line left out, doubled or moved', async () => {
    await lived()
    const whole = await readFile(path(), 'utf8')
    const all = whole.trimEnd().split('\n')
    const place = fc.nat(all.length - 1)
    const changes = fc.oneof(
      fc.tuple(fc.nat(whole.length - 2), fc.constantFrom('0', '1', 'a', 'A', '"')).map(([at, letter]) => whole.slice(0, at) + letter + whole.slice(at + 1)),
      place.map(at => `${all.toSpliced(at, 1).join('\n')}\n`),
      place.map(at => `${all.toSpliced(at, 0, all[at] ?? '').join('\n')}\n`),
      fc.tuple(place, place).map(([from, to]) => {
        const rest = all.toSpliced(from, 1)
        return `${rest.toSpliced(to, 0, all[from] ?? '').join('\n')}\n`
      }),
    )
    const reader = new Registry({ data, clock: systemClock, onProblem: () => undefined })
    await reader.read()
    await fc.assert(fc.asyncProperty(changes, async changed => {
      fc.pre(changed !== whole)
      await writeFile(path(), changed)
      expect(await reader.verifyLineage()).toMatchObject({ ok: false })
    }), { numRuns: 300 })
    await writeFile(path(), whole)
    expect(await reader.verifyLineage()).toMatchObject({ ok: true })
  })

  it('shows an entry that another key signed, and a card or a decision that was edited', async () => {
    const registry = await lived()
    const last = JSON.parse((await lines()).at(-1) ?? '') as SignedEntry
    const entry = { ...last.entry, sequence: last.entry.sequence + 1, previous: headOf(last).hash }
    const forged = sign(null, Buffer.from(JSON.stringify(entry)), generateKeyPairSync('ed25519').privateKey).toString('hex')
    await copyFile(path(), `${path()}.good`)
    await writeFile(path(), `${(await lines()).join('\n')}\n${JSON.stringify({ entry, signature: forged })}\n`)
    expect((await registry.verifyLineage()).problem).toMatch(/line 8 has a signature that is not of its key/)
    await copyFile(`${path()}.good`, path())
    const [model] = registry.list()
    if (!model) throw new Error('no model')
    // What is handed out is what the registry holds: as if its file had been edited, checksum and all.
    model.card.validation.accuracy = 0.99
    expect((await registry.verifyLineage()).problem).toMatch(/the card of model 1 is not the one that was registered/)
  })

  it('goes on after a line that was not written to its end', async () => {
    await lived()
    await writeFile(path(), `${await readFile(path(), 'utf8')}{"entry":{"seq`)
    const again = await open()
    await again.setMode({ kind: 'follow' }, { why: 'test' })
    expect(await again.verifyLineage()).toEqual({ ok: true, entries: 8, problem: null })
    expect(problems).toEqual([])
  })

  it('says what did not take effect: the power went between the history and the registry', async () => {
    const registry = await lived()
    await copyFile(join(data, 'state.json'), join(data, 'before.json'))
    await registry.promote(2, { why: 'lost' })
    await copyFile(join(data, 'before.json'), join(data, 'state.json'))
    const again = await open()
    expect(again.active()?.version).toBe(1)
    expect(await again.verifyLineage()).toMatchObject({ ok: true })
    await again.setMode({ kind: 'pause' }, { why: 'test' })
    expect((await entries()).slice(-3).map(({ change, holds }) => [change, holds])).toEqual([['promoted', null], ['undone', 7], ['mode', null]])
    expect(await again.verifyLineage()).toEqual({ ok: true, entries: 10, problem: null })
  })

  it('holds where not even its first entry took effect', async () => {
    const registry = await open()
    await registry.beginRound()
    await copyFile(join(data, 'state.json'), join(data, 'before.json'))
    await registry.register(await challenger(data, 'one'))
    await copyFile(join(data, 'before.json'), join(data, 'state.json'))
    const again = await open()
    await again.register(await challenger(data, 'two'))
    expect((await entries()).map(({ change, version, holds }) => [change, version, holds])).toEqual([['registered', 1, null], ['undone', null, 0], ['registered', 2, null]])
    expect(await again.verifyLineage()).toEqual({ ok: true, entries: 3, problem: null })
  })

  it('goes on in a new file, and says so, where it is damaged or gone; the key too', async () => {
    for (const damage of ['changed', 'gone'] as const) {
      problems = []
      const registry = await lived()
      if (damage === 'changed') await writeFile(path(), (await readFile(path(), 'utf8')).replace('"why":"test"', '"why":"best"'))
      else await rm(path())
      await rm(join(data, 'identity'), { recursive: true })
      const again = await open()
      expect(problems).toEqual([expect.stringMatching(/the history goes on in a new file/)])
      expect(again.active()?.version).toBe(registry.active()?.version)
      await again.setMode({ kind: 'follow' }, { why: 'test' })
      expect((await entries()).map(({ change }) => change)).toEqual(['continued', 'mode'])
      expect((await again.verifyLineage()).problem).toMatch(/it begins with entry \d+; what was before is missing/)
      await rm(data, { recursive: true })
    }
  })

  it('goes on in a new file where it cannot be read at all, and what is there is moved aside', async () => {
    await lived()
    await rm(path())
    await mkdir(path())
    const again = await open()
    expect(problems).toEqual([expect.stringMatching(/lineage\.jsonl: it cannot be read .*the history goes on in a new file/)])
    await again.setMode({ kind: 'follow' }, { why: 'test' })
    expect((await entries()).map(({ change }) => change)).toEqual(['continued', 'mode'])
    expect((await readdir(data)).filter(name => /^lineage\.jsonl\.\d+$/.test(name))).toHaveLength(1)
  })

  it('is signed by a new key where the former cannot be read, which is moved aside and not overwritten', async () => {
    const key = join(data, 'identity', 'private.pem')
    for (const [damage, left] of [['no key', 'no key'], ['unreadable', null]] as const) {
      await lived()
      problems = []
      if (left === null) {
        await rm(key)
        await mkdir(key)
      } else await writeFile(key, damage)
      const again = await open()
      expect(problems).toEqual([expect.stringMatching(/private\.pem.* a new one is made/)])
      const [aside = ''] = (await readdir(join(data, 'identity'))).filter(name => /^private\.pem\.\d+$/.test(name))
      const path = join(data, 'identity', aside)
      expect((await stat(path)).isDirectory() ? null : await readFile(path, 'utf8')).toBe(left)
      await again.setMode({ kind: 'follow' }, { why: 'test' })
      expect(await again.verifyLineage()).toMatchObject({ ok: true })
      await rm(data, { recursive: true })
    }
  })

  describe('of many years', () => {
    const long = 300
    beforeEach(async () => {
      const registry = await open()
      for (let change = 0; change < long; change++) await registry.setMode({ kind: change % 2 ? 'follow' : 'pause' }, { why: 'test' })
    })

    it('goes on from its end, whatever became of its beginning, which shows when the whole is read', async () => {
      const whole = await readFile(path(), 'utf8')
      expect(whole.length).toBeGreaterThan(100_000)
      await writeFile(path(), whole.replace('"why":"pause: test"', '"why":"pausf: test"'))
      const again = await open()
      expect([problems, again.lineage()?.entry.sequence]).toEqual([[], long])
      await again.setMode({ kind: 'pause' }, { why: 'test' })
      expect((await entries()).at(-1)).toMatchObject({ sequence: long + 1, change: 'mode' })
      const recent = await again.history() ?? []
      expect([recent.length > 50, recent.length < long, recent.at(-1)]).toEqual([true, true, expect.objectContaining({ sequence: long + 1, change: 'mode' })])
      expect(await again.verifyLineage()).toMatchObject({ ok: false, problem: 'lineage.jsonl: line 1 has a signature that is not of its key' })
      await writeFile(path(), (await readFile(path(), 'utf8')).replace(/.\n$/, '\n'))
      expect(await again.history()).toBeNull()
    })

    it('goes on wherever its last write was cut off, from where the registry stands or in a new file', async () => {
      const whole = await readFile(path())
      await copyFile(join(data, 'state.json'), join(data, 'state'))
      await fc.assert(fc.asyncProperty(fc.nat(2000), fc.constantFrom(0, 1, 40), async (cut, garbage) => {
        await copyFile(join(data, 'state'), join(data, 'state.json'))
        await writeFile(path(), whole.subarray(0, whole.length - cut))
        // Of a letter of two bytes the first, say.
        await appendFile(path(), Buffer.alloc(garbage, 0xc3))
        problems = []
        const again = await open()
        const lost = cut > 0
        expect(problems).toEqual(lost ? [expect.stringContaining('goes on in a new file')] : [])
        await again.setMode({ kind: 'pause' }, { why: 'test' })
        expect((await entries()).at(-1)).toMatchObject({ sequence: long + (lost ? 2 : 1) })
        const { ok } = await again.verifyLineage()
        expect(ok).toBe(!lost)
      }), { numRuns: 20 })
    })

    it('is found however much was written after the entry that the registry points to', async () => {
      const registry = await open()
      await copyFile(join(data, 'state.json'), join(data, 'state'))
      for (let change = 0; change < long; change++) await registry.setMode({ kind: 'pause' }, { why: 'test' })
      await copyFile(join(data, 'state'), join(data, 'state.json'))
      const again = await open()
      expect(problems).toEqual([])
      await again.setMode({ kind: 'pause' }, { why: 'test' })
      expect((await entries()).slice(-2)).toMatchObject([{ change: 'undone', holds: long }, { change: 'mode' }])
      expect(await again.verifyLineage()).toEqual({ ok: true, entries: 2 * long + 2, problem: null })
    })
  })
})
