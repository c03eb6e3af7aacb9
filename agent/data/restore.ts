/**
 * Puts a backup in the place of a data folder. It is written and checked beside what is there, in the folder itself, which may be a mount point; then
 * what was there moves into a folder `before-<time>`, and what was checked out of `restore-<time>`.
 *
 * INVARIANTS
 * - Until the backup is whole, checked and on disk, nothing of the folder has changed.
 * - From then on the restore is finished, by whoever next holds the folder, wherever it was interrupted: the name of its folder says how far it is.
 *   Where something of what was there cannot move, all of it goes back to its place, and the restore is undone.
 * - Nothing is deleted but what a restore itself began and could not finish.
 */
import { lstat, mkdir, readdir, readFile, rename, rm, rmdir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { PawlError } from '../errors.js'
import { systemClock } from '../lib/clock.js'
import { isFull, isMissing, syncFolder } from '../lib/durable.js'
import { holdFolder } from '../lib/exclusive.js'
import { isOfDisk, readArchive, reasonOf, type Index } from './archive.js'
import { bringUpToDate } from './format.js'
import { isOurs, stage } from './names.js'
import { modelProblems, problemsOf } from './soundness.js'

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
  /** What was wrong with the folder already when the backup was made. */
  problems: string[]
}

/**
 * Errors: DATA_LOCKED while an agent runs; BACKUP_INVALID; DATA_FORMAT for a backup of a newer version; DISK_FULL; DATA_UNWRITABLE; COMMAND_INVALID;
 * what the file system says.
 */
export async function restore({ data, file, force }: RestoreOptions): Promise<Restored> {
  const release = await holdFolder(data, 0)
  try {
    await finishRestore(data)
    if (!force && (await readdir(data)).includes('state.json')) {
      throw new PawlError('COMMAND_INVALID', `${data} holds a registry already; with --force it moves into a folder beside the restored one`)
    }
    const { uid } = await stat(data)
    if (process.getuid && process.getuid() !== uid) {
      throw new PawlError('COMMAND_INVALID', `${data} belongs to another user, who could not read what is restored; run this as that user: sudo -u '#${String(uid)}' pawl restore …`)
    }
    const time = String(systemClock.nowMs())
    const unpacked = join(data, `restore-${time}.unpacked`)
    try {
      await mkdir(unpacked, { mode: 0o700 })
      const { bavail, bsize } = await statfs(data)
      const index = await readArchive(file, { folder: unpacked, room: bavail * bsize })
      const problems = await check(unpacked, index)
      const folders = (await readdir(unpacked, { recursive: true, withFileTypes: true })).filter(entry => entry.isDirectory())
      for (const { parentPath, name } of folders) await syncFolder(join(parentPath, name))
      await syncFolder(unpacked)
      await rename(unpacked, join(data, `restore-${time}.checked`))
      await syncFolder(data)
      const { before = null, stuck = null } = await finishRestore(data) ?? {}
      if (stuck !== null) throw new PawlError('COMMAND_INVALID', `${stuck}; all of ${data} is as it was; free it (unmount it, or run this as the user who owns it) and restore again`)
      return { index, before, problems }
    } catch (cause) {
      await rm(unpacked, { recursive: true, force: true })
      throw isFull(cause) ? new PawlError('DISK_FULL', `${data}: the disk is full; nothing was changed; free some space`, { cause }) : cause
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

export interface Finished {
  /** Where what was there before is; null: nowhere. */
  before: string | null
  /** What could not move, and why, so that the restore was undone; null: it is finished. */
  stuck: string | null
}

/**
 * Brings a restore that was interrupted to its end; the caller holds the folder. Null: there was none.
 * Errors: DATA_FORMAT where what was restored cannot move into its place: it does once the reason is gone.
 */
export async function finishRestore(data: string): Promise<Finished | null> {
  const names = await readdir(data)
  for (const name of names) if (name.endsWith('.unpacked') && stage.test(name)) await rm(join(data, name), { recursive: true, force: true })
  const [name, time = '', reached] = names.map(found => stage.exec(found)).find(found => found !== null && found[2] !== 'unpacked') ?? []
  if (name === undefined) return null
  const before = join(data, `before-${time}`)
  const ready = join(data, `restore-${time}.ready`)
  if (reached === 'checked') {
    const stuck = await moveAway(data, before)
    if (stuck !== null) {
      await rename(join(data, name), join(data, `restore-${time}.unpacked`))
      await syncFolder(data)
      await rm(join(data, `restore-${time}.unpacked`), { recursive: true, force: true })
      return { before: null, stuck }
    }
    await rename(join(data, name), ready)
    await syncFolder(data)
  }
  for (const restored of await readdir(ready)) {
    try {
      await giveWay(join(data, restored), before, restored)
      await rename(join(ready, restored), join(data, restored))
    } catch (cause) {
      throw new PawlError('DATA_FORMAT', `${join(ready, restored)} cannot move to ${data} (${reasonOf(cause)}); what is restored is whole, and what was there is in ${before}; free the place and start again`, { cause })
    }
  }
  await syncFolder(data)
  await rmdir(ready)
  return { before: await isThere(before) ? before : null, stuck: null }
}

/** Moves what was there into the folder `before`: all of it, or, where that cannot be, nothing. Gives why; null: it moved. */
async function moveAway(data: string, before: string): Promise<string | null> {
  const old = (await readdir(data)).filter(isOurs)
  if (old.length) await mkdir(before, { recursive: true, mode: 0o700 })
  for (const name of old) {
    try {
      await giveWay(join(data, name), before, name)
    } catch (cause) {
      // What was written anew since it moved stays where it is, and what moved beside it.
      for (const moved of await readdir(before)) if (!await isThere(join(data, moved))) await rename(join(before, moved), join(data, moved))
      const all = await rmdir(before).then(() => true, () => false)
      await syncFolder(data)
      return `${join(data, name)} cannot move away (${reasonOf(cause)})${all ? '' : `, but for what was written meanwhile, whose former content is in ${before}`}`
    }
  }
  if (old.length) await syncFolder(before)
  await syncFolder(data)
  return null
}

/** Into the folder `before`, under its name, or one that is free there: somebody may have written it anew meanwhile. */
async function giveWay(path: string, before: string, name: string): Promise<void> {
  if (!await isThere(path)) return
  await mkdir(before, { recursive: true, mode: 0o700 })
  let free = name
  for (let number = 1; await isThere(join(before, free)); number++) free = `${name}.${String(number)}`
  await rename(path, join(before, free))
}

async function isThere(path: string): Promise<boolean> {
  return await lstat(path).then(() => true, (cause: unknown) => { if (isMissing(cause)) return false; throw cause })
}

/** What is wrong with it that an agent would start with. Errors: BACKUP_INVALID where none would; DATA_FORMAT. */
async function check(folder: string, { files }: Index): Promise<string[]> {
  await bringUpToDate(folder, { onStep: () => undefined })
  const path = join(folder, 'state.json')
  try {
    return [...modelProblems(path, await readFile(path), files), ...await problemsOf(folder)].map(problem => (typeof problem === 'string' ? problem : problem.what))
  } catch (cause) {
    if (isOfDisk(cause)) throw cause
    throw new PawlError('BACKUP_INVALID', `the backup is as it was written, but ${reasonOf(cause)}; nothing was changed; take another backup`, { cause })
  }
}
