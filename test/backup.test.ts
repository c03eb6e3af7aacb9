import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs, { createWriteStream } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, join, relative } from 'node:path'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
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
    expect([...is].sort()).toEqual([...kept, ['format', hashOf('2\n')] as const].sort())
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
    expect((await readdir(folder)).filter(name => name.endsWith('.tmp'))).toEqual([])
  })

  it('takes the place of the former one only when it is whole; two at once do not meet', async () => {
    await cp(box, at('failing'), { recursive: true, filter: source => !source.endsWith('.holder') })
    const target = at('nightly.zip')
    await Promise.all([1, 2, 3].map(() => backUp({ data: at('failing'), file: target, frames: true })))
    const former = await readFile(target)
    // As a failing disk: opened, but not read.
    await symlink('/proc/self/mem', join(at('failing'), 'labels', 'bag', '2.png'))
    const failure = expect.stringMatching(/labels\/bag\/2\.png cannot be read \(EIO.*failing/) as string
    await expect(backUp({ data: at('failing'), file: target, frames: true })).rejects.toMatchObject({ code: 'BACKUP_FAILED', message: failure })
    expect((await readFile(target)).equals(former)).toBe(true)
    await rm(join(at('failing'), 'labels', 'bag', '2.png'))
    await writeFile(join(at('failing'), 'state.json'), '{"half":')
    await expect(backUp({ data: at('failing'), file: target, frames: true })).rejects.toMatchObject({ code: 'REGISTRY_CORRUPT', message: expect.stringContaining('state.json holds no state') as string })
    expect((await readFile(target)).equals(former)).toBe(true)
    expect((await readdir(folder)).filter(name => name.endsWith('.tmp'))).toEqual([])
  })

  it('removes what was written of the same file by one that was killed, and nothing that is being written', async () => {
    const place = at('killed')
    await mkdir(place)
    const child = spawn(process.execPath, ['-e', ''])
    await ended(child)
    const [own, gone] = [process.pid, child.pid ?? 0].map(String) as [string, string]
    const names = [`x.zip.${gone}.00000001.tmp`, `x.zip.${own}.00000002.tmp`, `x.zip.${own}.00000003.tmp`, `y.zip.${gone}.00000004.tmp`, `x.zip.${gone}.tmp`]
    for (const name of names) await writeFile(join(place, name), 'half')
    await utimes(join(place, names[2] ?? ''), 0, 0)
    const [, beingWritten = '', , ...ofOthers] = names
    await backUp({ data: box, file: join(place, 'x.zip'), frames: false })
    expect((await readdir(place)).sort()).toEqual(['x.zip', beingWritten, ...ofOthers].sort())
  })

  it('says what was wrong already, and brings it back all the same', async () => {
    await cp(box, at('ill'), { recursive: true, filter: source => !source.endsWith('.holder') })
    const [first = '', second = ''] = (await readdir(join(at('ill'), 'models'))).sort()
    await writeFile(join(at('ill'), 'models', first, 'model.onnx'), 'damaged')
    await rm(join(at('ill'), 'models', second, 'weights.safetensors'))
    const history = await readFile(join(at('ill'), 'lineage.jsonl'), 'utf8')
    await writeFile(join(at('ill'), 'lineage.jsonl'), history.slice(history.indexOf('\n') + 1))
    await symlink('nowhere', join(at('ill'), 'labels', 'lost'))
    const problems: unknown[] = [
      expect.stringMatching(/^model 1: model\.onnx is not what its card says$/), expect.stringMatching(/^model 2: weights\.safetensors is missing$/),
      expect.stringMatching(/^lineage\.jsonl: /),
    ]
    const backedUp = await backUp({ data: at('ill'), file: at('ill.zip'), frames: false })
    expect(backedUp.problems).toEqual([expect.stringMatching(/labels\/lost is a link that leads nowhere/), ...problems])
    expect(await restore({ data: at('ill-again'), file: at('ill.zip'), force: false })).toMatchObject({ problems })
    const registry = new Registry({ data: at('ill-again'), clock: systemClock, onProblem: () => undefined })
    await registry.start()
    expect(registry.active()?.version).toBe(2)
    await registry.stop()
  })

  it('holds what links lead to, names with every sign, and a label that moves while it is made; never itself or the certificate of the box', async () => {
    const data = at('linked')
    await grown(data, ['linked'])
    await rename(join(data, 'labels'), at('elsewhere'))
    await symlink(at('elsewhere'), join(data, 'labels'))
    // As of a program that shares the folder: the agent reads linked pictures, and enters no linked folder.
    await symlink('.', join(at('elsewhere'), 'round'))
    await symlink(join(at('elsewhere'), 'bag', '1.png'), join(at('elsewhere'), 'bag', 'linked.png'))
    const odd = ['a\\b', 'a%5Cb', '100 %', 'ü " \' ; :', '__proto__']
    for (const name of [...odd, 'moving', 'after']) await mkdir(join(data, 'labels', name))
    for (const name of odd) await writeFile(join(data, 'labels', name, '1.png'), name)
    const moving = Array.from({ length: 300 }, (_, index) => `${String(index)}.png`)
    for (const name of moving) await writeFile(join(data, 'labels', 'moving', name), name)
    await mkdir(join(data, 'tls'))
    await writeFile(join(data, 'tls', 'identity.pem'), 'key')
    await expect(backUp({ data, file: join(data, 'own.zip'), frames: false })).rejects.toMatchObject({ code: 'COMMAND_INVALID', message: expect.stringContaining('choose a place outside') as string })
    const [{ index, problems }] = await Promise.all([
      backUp({ data, file: at('linked.zip'), frames: false }),
      (async () => { for (const name of moving) await rename(join(data, 'labels', 'moving', name), join(data, 'labels', 'after', name)) })(),
    ])
    expect([problems, Object.keys(index.files).filter(name => /round|linked\.png/.test(name))]).toEqual([[], ['labels/bag/linked.png']])
    expect(new Set(Object.keys(index.files).filter(name => /\/(moving|after)\//.test(name)).map(name => basename(name)))).toEqual(new Set(moving))
    expect(Object.keys(index.files).filter(name => name.startsWith('tls'))).toEqual([])
    await mkdir(join(at('linked-again'), 'tls'), { recursive: true })
    await restore({ data: at('linked-again'), file: at('linked.zip'), force: false })
    for (const name of odd) expect(await readFile(join(at('linked-again'), 'labels', name, '1.png'), 'utf8')).toBe(name)
    expect(await readdir(at('linked-again'))).toContain('tls')
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

  it('is refused while an agent runs, or to a user who does not own the folder', async () => {
    const release = await holdFolder(other)
    await expect(restore({ data: other, file, force: true })).rejects.toMatchObject({ code: 'DATA_LOCKED' })
    await release()
    const owner = process.getuid?.() ?? 0
    vi.spyOn(process, 'getuid').mockReturnValueOnce(owner + 1)
    await expect(restore({ data: other, file, force: true })).rejects.toMatchObject({ code: 'COMMAND_INVALID', message: expect.stringContaining(`sudo -u '#${String(owner)}'`) as string })
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
  })

  it('takes nothing that is no backup, leads out of the folder, or has no room', async () => {
    const before = await filesOf(other)
    await writeFile(at('text.zip'), 'no archive')
    await zipped(at('plain.zip'), { 'state.json': '{}' })
    await zipped(at('more.zip'), { 'state.json': '{}', 'backup.json': JSON.stringify({ pawl: '1', createdAt: '', files: {} }) })
    await zipped(at('out.zip'), { 'aa/outside.txt': 'x', 'backup.json': JSON.stringify({ pawl: '1', createdAt: '', files: {} }) })
    await writeFile(at('out.zip'), (await readFile(at('out.zip'))).toString('latin1').replaceAll('aa/outside', '../outside'), 'latin1')
    for (const [name, inside] of [['stage.zip', 'restore-1.ready/state.json'], ['holder.zip', '.holder'], ['tls.zip', 'tls/identity.pem']] as const) {
      await zipped(at(name), { [inside]: '{}', 'backup.json': JSON.stringify({ pawl: '1', createdAt: '', files: { [inside]: hashOf('{}') } }) })
    }
    await zipped(at('packed.zip'), { 'state.json': 'x'.repeat(10_000), 'backup.json': '{}' }, { compress: true })
    await zipped(at('large.zip'), { 'backup.json': ' '.repeat(10_000) })
    const wrong = {
      'stage.zip': /none of a backup's files/, 'holder.zip': /none of a backup's files/, 'tls.zip': /none of a backup's files/, 'packed.zip': /compressed, as no backup/, 'large.zip': /too large for what it tells/,
      'text.zip': /cannot be read as a backup/, 'plain.zip': /holds no backup\.json/, 'more.zip': /"state\.json" is not what backup\.json says/, 'out.zip': /invalid relative path/, 'absent.zip': /ENOENT/,
    }
    for (const [name, message] of Object.entries(wrong)) {
      await expect(restore({ data: other, file: at(name), force: true }), name).rejects.toMatchObject({ code: 'BACKUP_INVALID', message: expect.stringMatching(message) as string })
    }
    await mkdir(at('small'), { recursive: true })
    await expect(readArchive(file, { folder: at('small'), room: 100 })).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(await filesOf(other)).toEqual(before)
    expect(await readdir(folder)).not.toContain('outside.txt')
  })

  it('is no fault of the backup where the disk takes nothing: full, over its quota, not for this user', async () => {
    await expect(readArchive(file, { folder: '/sys/kernel', room: Infinity })).rejects.toMatchObject({ code: expect.stringMatching(/^E(PERM|ACCES|ROFS)$/) as string })
    const before = await filesOf(other)
    const { mkdir: made } = fs.promises
    const refusing = (code: string) => {
      fs.promises.mkdir = ((path: string, options: object) => (path.endsWith('/labels/bag') ? Promise.reject(Object.assign(new Error(code), { code, syscall: 'mkdir' })) : made(path, options))) as typeof made
      syncBuiltinESMExports()
    }
    try {
      for (const [code, expected] of [['EDQUOT', 'DISK_FULL'], ['ENOSPC', 'DISK_FULL'], ['EIO', 'EIO']] as const) {
        refusing(code)
        await expect(restore({ data: other, file, force: true })).rejects.toMatchObject({ code: expected })
      }
    } finally {
      fs.promises.mkdir = made
      syncBuiltinESMExports()
    }
    expect(await filesOf(other)).toEqual(before)
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
    restored.set('format', hashOf('2\n'))
    const stood = { old: 0, new: 0, between: 0 }
    for (let nth = 1; ; nth += nth < 4 ? 1 : 2) {
      await rm(other, { recursive: true })
      await grown(other, ['three'])
      const before = await filesOf(other)
      if (!(await restoring(String(nth))).killed) break
      if (!await checkFolder(other).then(() => true, () => false)) stood.between++
      // Somebody goes on labeling.
      const meanwhile = nth % 3 !== 1
      if (meanwhile) await mkdir(join(other, 'labels', 'dress'), { recursive: true })
      if (meanwhile) await writeFile(join(other, 'labels', 'dress', 'new.png'), 'new')
      await (await openFolder(other, () => undefined))()
      const found = await filesOf(other)
      if (meanwhile) expect([...found.values()]).toContain(hashOf('new'))
      const kept = [...found].filter(([name]) => !name.endsWith('/new.png'))
      const aside = kept.filter(([name]) => name.startsWith('before-')).map(([name]) => name.replace(/^before-\d+\//, '').replace(/^labels\.1/, 'labels'))
      const now = new Map(kept.filter(([name]) => !name.startsWith('before-')))
      if (now.get('state.json') === restored.get('state.json')) {
        expect([...now].sort()).toEqual([...restored].sort())
        expect(new Set(aside)).toEqual(new Set(before.keys()))
        stood.new++
      } else {
        expect(new Set(now.keys())).toEqual(new Set([...before.keys(), 'format']))
        stood.old++
      }
      await checkFolder(other)
    }
    expect(stood.old).toBeGreaterThan(0)
    expect(stood.new).toBeGreaterThan(4)
    expect(stood.between).toBeGreaterThan(4)
  })

  it('where something of the folder cannot move away changes nothing, and says what; also when the power goes meanwhile', async () => {
    const before = await filesOf(other)
    for (const nth of [0, 4, 7, 9, 11]) {
      const { killed, output } = await restoring(String(nth), 'records')
      if (nth === 0) expect(output).toMatch(/records cannot move away \(EBUSY.*all of .* is as it was; free it \(unmount it/)
      // It was killed, and the disk is still mounted.
      if (killed) expect((await restoring('0', 'records')).output).toMatch(/records cannot move away/)
      const found = await filesOf(other)
      found.delete('format')
      expect([nth, killed, found]).toEqual([nth, nth > 0, before])
    }
  })
})

/** Before a program: it is killed as it is about to rename for the NTH time, and what is called BUSY cannot be renamed, as a mount point cannot. */
const renames = `
  import fs from 'node:fs'
  import { syncBuiltinESMExports } from 'node:module'
  const { rename } = fs.promises
  let done = 0
  fs.promises.rename = async (from, to) => {
    if (++done === Number(process.env.NTH)) process.kill(process.pid, 'SIGKILL')
    if (from === process.env.BUSY) throw Object.assign(new Error("EBUSY: resource busy or locked, rename '" + from + "'"), { code: 'EBUSY' })
    await rename(from, to)
  }
  syncBuiltinESMExports()
`

/** `pawl restore`, killed as it renames for the nth time, with 0 never. */
async function restoring(nth: string, busy = ''): Promise<{ killed: boolean; output: string }> {
  await writeFile(at('pawl.yaml'), `data: ${other}\n`)
  await writeFile(at('renames.mjs'), renames)
  const program = join(import.meta.dirname, '..', 'dist', 'agent', 'main.js')
  const child = spawn(process.execPath, ['--import', at('renames.mjs'), program, 'restore', file, '--force', '--config', at('pawl.yaml')], {
    stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, NTH: nth, BUSY: join(other, busy) },
  })
  const [output, { signal }] = await Promise.all([text(child.stderr), ended(child)])
  return { killed: signal !== null, output }
}

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

async function zipped(path: string, files: Record<string, string | Buffer>, { compress = false } = {}): Promise<void> {
  const zip = new yazl.ZipFile()
  for (const [name, content] of Object.entries(files)) zip.addBuffer(Buffer.from(content), name, { compress })
  zip.end()
  await pipeline(zip.outputStream, createWriteStream(path))
}
