import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { pipeline } from 'node:stream/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import yazl from 'yazl'
import { readArchive } from '../agent/data/archive.js'
import { backUp } from '../agent/data/backup.js'
import { checkFolder, openFolder } from '../agent/data/folder.js'
import { restore } from '../agent/data/restore.js'
import { ended } from '../agent/lib/child.js'
import { systemClock } from '../agent/lib/clock.js'
import { holdFolder } from '../agent/lib/exclusive.js'
import { Registry } from '../agent/registry/registry.js'
import { challenger } from './challenger.js'

let folder: string
let file: string
/** A box with two models, labels and frames, and its backup; another box that is not empty. */
let box: string
let other: string
const at = (...names: string[]) => join(folder, ...names)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-backup-'))
  box = at('box')
  file = at('box.pawl.zip')
  await grown(box, ['one', 'two'])
  await backUp({ data: box, file, frames: false })
})
afterAll(async () => { await rm(folder, { recursive: true, force: true }) })
beforeEach(async () => {
  other = at('other')
  await rm(other, { recursive: true, force: true })
  await grown(other, ['three'])
})

describe('a backup', () => {
  it('holds the models with their history and key, and labels; frames where they are wanted; nothing that is only of the moment', async () => {
    const { index } = await backUp({ data: box, file: at('all.zip'), frames: true })
    const names = Object.keys(index.files)
    expect(names.filter(name => name.startsWith('frames/'))).toHaveLength(1)
    expect(names.filter(name => /^(outbox|rounds)|\.tmp$/.test(name))).toEqual([])
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    await rm(at('fresh'), { recursive: true, force: true })
    expect(await restore({ data: at('fresh'), file, force: false })).toMatchObject({ before: null })
    const [was, is] = [await filesOf(box), await filesOf(at('fresh'))]
    const kept = [...was].filter(([name]) => !/^(frames|outbox|rounds)\/|\.tmp$/.test(name))
    expect([...is].sort()).toEqual([...kept, ['format', hashOf('1\n')] as const].sort())
    const registry = new Registry({ data: at('fresh'), clock: systemClock, onProblem: error => { throw error } })
    await registry.start()
    expect(registry.active()?.version).toBe(2)
    expect(await registry.verifyLineage()).toMatchObject({ ok: true })
    await registry.rollback({ why: 'goes on' })
    await registry.stop()
  })

  it('is whole though the registry changes while it is made, and models go', async () => {
    const data = at('busy')
    await grown(data, ['zero'])
    const registry = new Registry({ data, keepModels: 1, clock: systemClock, onProblem: error => { throw error } })
    await registry.start()
    const busy = new AbortController()
    const working = (async () => {
      for (let turn = 0; !busy.signal.aborted; turn++) await registry.promote((await registry.register(await challenger(data, `turn-${String(turn)}`))).version, { why: 'test' })
    })()
    for (let copy = 0; copy < 5; copy++) {
      await backUp({ data, file: at('busy.zip'), frames: false })
      await restore({ data: at(`copy-${String(copy)}`), file: at('busy.zip'), force: false })
      const copied = new Registry({ data: at(`copy-${String(copy)}`), clock: systemClock, onProblem: error => { throw error } })
      await copied.start()
      expect((await copied.verify()).every(({ ok }) => ok)).toBe(true)
      expect(await copied.verifyLineage()).toMatchObject({ ok: true })
      await copied.stop()
    }
    busy.abort()
    await working
    await registry.stop()
  })

  it('of a folder that holds no registry is refused, and so is one to a place that is not there', async () => {
    await mkdir(at('empty'), { recursive: true })
    await expect(backUp({ data: at('empty'), file: at('empty.zip'), frames: false })).rejects.toMatchObject({ code: 'REGISTRY_CORRUPT', message: expect.stringContaining('start the agent once') as string })
    await expect(backUp({ data: box, file: at('nowhere', 'x.zip'), frames: false })).rejects.toMatchObject({ code: 'BACKUP_FAILED', message: expect.stringMatching(/nowhere\/x\.zip cannot be written \(ENOENT.*choose another file/) as string })
    expect((await readdir(folder)).filter(name => name.endsWith('.part'))).toEqual([])
  })
})

describe('to restore', () => {
  it('is refused where a registry is, unless it may make way; it is kept', async () => {
    const before = await filesOf(other)
    await expect(restore({ data: other, file, force: false })).rejects.toMatchObject({ code: 'COMMAND_INVALID', message: expect.stringContaining('--force') as string })
    expect(await filesOf(other)).toEqual(before)
    const { before: aside } = await restore({ data: other, file, force: true })
    expect(await filesOf(aside ?? '')).toEqual(before)
    expect((await readFile(join(other, 'labels', 'bag', '1.png'), 'utf8'))).toBe('labels of one two')
  })

  it('is refused while an agent runs', async () => {
    const release = await holdFolder(other)
    await expect(restore({ data: other, file, force: true })).rejects.toMatchObject({ code: 'DATA_LOCKED' })
    await release()
  })

  it('a damaged or cut-off backup changes nothing, wherever it is damaged', async () => {
    const whole = await readFile(file)
    let before = await filesOf(other)
    const damages = fc.oneof(
      fc.record({ cut: fc.nat(whole.length - 1) }), fc.record({ place: fc.nat(whole.length - 1), bit: fc.integer({ min: 0, max: 7 }) }),
    )
    await fc.assert(fc.asyncProperty(damages, async damage => {
      const bytes = 'cut' in damage ? whole.subarray(0, damage.cut) : Buffer.from(whole)
      if ('place' in damage) bytes.writeUInt8(bytes.readUInt8(damage.place) ^ (1 << damage.bit), damage.place)
      await writeFile(at('damaged.zip'), bytes)
      const restored = await restore({ data: other, file: at('damaged.zip'), force: true }).catch((cause: unknown) => cause)
      if (restored instanceof Error) {
        expect(restored).toMatchObject({ code: expect.stringMatching(/^(BACKUP_INVALID|DISK_FULL)$/) as string })
        expect(await filesOf(other)).toEqual(before)
        return
      }
      // A bit of a time stamp, say: what is there is what was kept.
      expect('cut' in damage).toBe(false)
      expect((await filesOf(other)).get('state.json')).toBe((await filesOf(box)).get('state.json'))
      await rm(other, { recursive: true })
      await grown(other, ['three'])
      before = await filesOf(other)
    }), { numRuns: 30 })
  }, 120_000)

  it('takes nothing that is no backup, leads out of the folder, or has no room', async () => {
    const before = await filesOf(other)
    await writeFile(at('text.zip'), 'no archive')
    await zipped(at('plain.zip'), { 'state.json': '{}' })
    await zipped(at('more.zip'), { 'state.json': '{}', 'backup.json': JSON.stringify({ pawl: '1', createdAt: '', files: {} }) })
    await zipped(at('out.zip'), { 'aa/outside.txt': 'x', 'backup.json': JSON.stringify({ pawl: '1', createdAt: '', files: {} }) })
    await writeFile(at('out.zip'), (await readFile(at('out.zip'))).toString('latin1').replaceAll('aa/outside', '../outside'), 'latin1')
    const wrong = { 'text.zip': /cannot be read as a backup/, 'plain.zip': /holds no backup\.json/, 'more.zip': /"state\.json" is not what backup\.json says/, 'out.zip': /invalid relative path/, 'absent.zip': /ENOENT/ }
    for (const [name, message] of Object.entries(wrong)) {
      await expect(restore({ data: other, file: at(name), force: true }), name).rejects.toMatchObject({ code: 'BACKUP_INVALID', message: expect.stringMatching(message) as string })
    }
    await mkdir(at('small'), { recursive: true })
    await expect(readArchive(file, { folder: at('small'), room: 100 })).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(await filesOf(other)).toEqual(before)
    expect(await readdir(folder)).not.toContain('outside.txt')
  })

  it('a backup of a newer version is refused', async () => {
    await cp(box, at('newer'), { recursive: true, filter: source => !source.endsWith('.holder') })
    await backUp({ data: at('newer'), file: at('newer.zip'), frames: false })
    await writeFile(join(at('newer'), 'format'), '9\n')
    await expect(backUp({ data: at('newer'), file: at('newer.zip'), frames: false })).rejects.toMatchObject({ code: 'DATA_FORMAT' })
    const files = Object.fromEntries(await Promise.all([...await filesOf(at('newer'))].map(async ([name]) => [name, await readFile(join(at('newer'), name))] as const)))
    const index = { pawl: '9', createdAt: '', files: Object.fromEntries(Object.entries(files).map(([name, content]) => [name, hashOf(content)])) }
    await zipped(at('newer.zip'), { ...files, 'backup.json': JSON.stringify(index) })
    await expect(restore({ data: other, file: at('newer.zip'), force: true })).rejects.toMatchObject({ code: 'DATA_FORMAT', message: expect.stringContaining('is of format 9') as string })
  })

  it('is finished by whoever holds the folder next, wherever the power went: until then nothing reads it', async () => {
    const restored = new Map([...await filesOf(box)].filter(([name]) => !/^(frames|outbox|rounds)\/|\.tmp$/.test(name)))
    restored.set('format', hashOf('1\n'))
    let stood = { old: 0, new: 0, between: 0 }
    for (let nth = 1; ; nth += 2) {
      await rm(other, { recursive: true })
      await grown(other, ['three'])
      const before = await filesOf(other)
      const child = spawn(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'restore-child.ts'), other, file, String(nth)], { stdio: 'inherit' })
      const { signal } = await ended(child)
      if (signal === null) break
      const readable = await checkFolder(other).then(() => true, () => false)
      if (!readable) stood = { ...stood, between: stood.between + 1 }
      await (await openFolder(other, () => undefined))()
      const found = await filesOf(other)
      const aside = [...found].filter(([name]) => name.startsWith('before-')).map(([name, hash]) => [name.replace(/^before-\d+\//, ''), hash] as const)
      const now = new Map([...found].filter(([name]) => !name.startsWith('before-')))
      if (now.get('state.json') === restored.get('state.json')) {
        expect([...now].sort()).toEqual([...restored].sort())
        expect(new Set(aside.map(([name]) => name))).toEqual(new Set(before.keys()))
        stood = { ...stood, new: stood.new + 1 }
      } else {
        expect(new Set(now.keys())).toEqual(new Set([...before.keys(), 'format']))
        stood = { ...stood, old: stood.old + 1 }
      }
      await checkFolder(other)
    }
    expect(stood.old).toBeGreaterThan(0)
    expect(stood.new).toBeGreaterThan(4)
    expect(stood.between).toBeGreaterThan(4)
  }, 120_000)
})

/** A data folder with a model of each name, labels and a frame, and what is only of the moment. */
async function grown(data: string, models: readonly string[]): Promise<void> {
  await mkdir(data, { recursive: true })
  const registry = new Registry({ data, clock: systemClock, onProblem: error => { throw error } })
  await registry.start()
  for (const name of models) await registry.promote((await registry.register(await challenger(data, name))).version, { why: 'test' })
  await registry.stop()
  const files = { 'labels/bag/1.png': `labels of ${models.join(' ')}`, 'frames/belt/2026-01-01/1.jpg': 'frame', 'outbox/000000000001.json': '{}', 'rounds/9/round.json': '{}', 'records/1/record.json': '{}', 'probation.json.1a2b3c4d.tmp': 'half' }
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(data, name, '..'), { recursive: true })
    await writeFile(join(data, name), text)
  }
}

async function filesOf(data: string): Promise<Map<string, string>> {
  const entries = (await readdir(data, { recursive: true, withFileTypes: true })).filter(entry => entry.isFile())
  return new Map(await Promise.all(entries.map(async ({ parentPath, name }) => {
    const path = join(parentPath, name)
    return [relative(data, path), hashOf(await readFile(path))] as const
  })))
}

function hashOf(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex')
}

async function zipped(path: string, files: Record<string, string | Buffer>): Promise<void> {
  const zip = new yazl.ZipFile()
  for (const [name, content] of Object.entries(files)) zip.addBuffer(Buffer.from(content), name)
  zip.end()
  await pipeline(zip.outputStream, createWriteStream(path))
}
