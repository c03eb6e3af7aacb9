/**
 * Puts a backup in the place of a data folder. It is written and checked beside what is there, in the folder itself, which may be a mount point; then
 * what was there moves into a folder `before-<time>`, and what was checked out of `restore-<time>`.
 *
 * INVARIANTS
 * - Until the backup is whole, checked and on disk, nothing of the folder has changed.
 * - From then on the restore is finished, by whoever next holds the folder, wherever it was interrupted: the name of its folder says how far it is.
 * - Nothing is deleted but what a restore itself began and could not finish.
 */
import { mkdir, readdir, rename, rm, rmdir, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { PawlError } from '../errors.js'
import { systemClock } from '../lib/clock.js'
import { syncFolder } from '../lib/durable.js'
import { holdFolder } from '../lib/exclusive.js'
import { Registry } from '../registry/registry.js'
import { readArchive, type Index } from './archive.js'
import { bringUpToDate } from './format.js'

/** `unpacked`: not known to be whole; `checked`: what was there moves away; `ready`: it moves in. */
const stage = /^restore-(\d+)\.(unpacked|checked|ready)$/
const former = /^before-\d+$/
/** Of the process that holds the folder, and of a disk that is mounted there. */
const notOurs: readonly string[] = ['.holder', '.control', 'lost+found']

/** Whether a name in the data folder belongs to what is restored and backed up: not to a restore, or to somebody else. */
export function isOurs(name: string): boolean {
  return !stage.test(name) && !former.test(name) && !notOurs.includes(name)
}

export interface RestoreOptions {
  data: string
  file: string
  /** Whether a folder that holds a registry already may make way. */
  force: boolean
}

export interface Restored {
  index: Index
  /** Folder that holds what was there before; null: there was nothing. */
  before: string | null
}

/** Errors: DATA_LOCKED while an agent runs; BACKUP_INVALID; DATA_FORMAT for a backup of a newer version; DISK_FULL; COMMAND_INVALID. */
export async function restore({ data, file, force }: RestoreOptions): Promise<Restored> {
  const release = await holdFolder(data, 0)
  try {
    await finishRestore(data)
    if (!force && (await readdir(data)).includes('state.json')) {
      throw new PawlError('COMMAND_INVALID', `${data} holds a registry already; with --force it moves into a folder beside the restored one`)
    }
    const time = String(systemClock.nowMs())
    const unpacked = join(data, `restore-${time}.unpacked`)
    try {
      await mkdir(unpacked, { mode: 0o700 })
      const { bavail, bsize } = await statfs(data)
      const index = await readArchive(file, { folder: unpacked, room: bavail * bsize })
      await check(unpacked)
      const folders = (await readdir(unpacked, { recursive: true, withFileTypes: true })).filter(entry => entry.isDirectory())
      for (const { parentPath, name } of folders) await syncFolder(join(parentPath, name))
      await syncFolder(unpacked)
      await rename(unpacked, join(data, `restore-${time}.checked`))
      await syncFolder(data)
      return { index, before: await finishRestore(data) }
    } catch (cause) {
      await rm(unpacked, { recursive: true, force: true })
      throw cause
    }
  } finally {
    await release()
  }
}

/** For whoever only reads. Errors: DATA_FORMAT where a restore is under way, or was interrupted. */
export async function checkRestored(data: string): Promise<void> {
  if ((await readdir(data).catch(() => [])).some(name => /\.(checked|ready)$/.test(name) && stage.test(name))) {
    throw new PawlError('DATA_FORMAT', `${data}: a restore is not finished; start the agent, or restore once more`)
  }
}

/** Brings a restore that was interrupted to its end; the caller holds the folder. Gives where what was there before is; null: nowhere. */
export async function finishRestore(data: string): Promise<string | null> {
  const names = await readdir(data)
  for (const name of names) if (name.endsWith('.unpacked') && stage.test(name)) await rm(join(data, name), { recursive: true, force: true })
  const [name, time = '', reached] = names.map(found => stage.exec(found)).find(found => found !== null && found[2] !== 'unpacked') ?? []
  if (name === undefined) return null
  const before = join(data, `before-${time}`)
  const ready = join(data, `restore-${time}.ready`)
  if (reached === 'checked') {
    const old = names.filter(isOurs)
    if (old.length) await mkdir(before, { recursive: true, mode: 0o700 })
    for (const other of old) await rename(join(data, other), join(before, other))
    if (old.length) await syncFolder(before)
    await syncFolder(data)
    await rename(join(data, name), ready)
    await syncFolder(data)
  }
  for (const restored of await readdir(ready)) await rename(join(ready, restored), join(data, restored))
  await syncFolder(data)
  await rmdir(ready)
  return (await readdir(data)).includes(`before-${time}`) ? before : null
}

/** Whether this version can work on it. Errors: BACKUP_INVALID, DATA_FORMAT. */
async function check(folder: string): Promise<void> {
  await bringUpToDate(folder, { onStep: () => undefined })
  const problems: string[] = []
  const registry = new Registry({ data: folder, clock: systemClock, onProblem: ({ message }) => { problems.push(message) } })
  await registry.read()
  problems.push(...(await registry.verify()).flatMap(({ version, problem }) => (problem === null ? [] : [`model ${String(version)}: ${problem}`])))
  const history = await registry.verifyLineage()
  if (!history.ok) problems.push(history.problem ?? 'its history does not hold')
  if (problems.length) throw new PawlError('BACKUP_INVALID', `the backup is as it was written, but ${problems.join('; ')}; nothing was changed; take another backup`)
}
