/** Files that survive a power cut: bytes first, then the name. */
import { randomBytes } from 'node:crypto'
import { mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Of files that are being written. */
const temporaryName = /\.[0-9a-f]{8}\.tmp$/
const longestName = 255

/** Writes `data` under a temporary name, syncs, renames, syncs the folder. A reader sees the old file or the new one, whole. */
export async function writeDurably(path: string, data: string | Uint8Array, { mode = 0o666 } = {}): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const ending = `.${randomBytes(4).toString('hex')}.tmp`
  const temporary = join(dirname(path), `${fitting(basename(path), ending)}${ending}`)
  try {
    const file = await open(temporary, 'wx', mode)
    try {
      await file.writeFile(data)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (cause) {
    await rm(temporary, { force: true })
    throw cause
  }
  await syncFolder(dirname(path))
}

/** As much of a name as leaves room for its ending: a file system takes 255 bytes. */
export function fitting(name: string, ending: string): string {
  const room = longestName - Buffer.byteLength(ending)
  let kept = name.slice(0, room)
  while (Buffer.byteLength(kept) > room) kept = kept.slice(0, -1)
  // Not half a sign.
  return kept.replace(/[\ud800-\udbff]$/, '')
}

/** By its name: of `writeDurably`, whose file is there once it is whole. */
export function isHalfWritten(name: string): boolean {
  return temporaryName.test(name)
}

/** Removes what a power cut left half-written in a folder, or also below it, but not where links lead to. Nobody may be writing there. */
export async function removeHalfWritten(folder: string, { recursive = false } = {}): Promise<void> {
  const entries = await readdir(folder, { recursive, withFileTypes: true }).catch(() => [])
  for (const { parentPath, name } of entries) if (isHalfWritten(name)) await rm(join(parentPath, name), { force: true })
}

/** Removes a folder that was made for a file which is not there: one that holds anything stays. */
export async function removeWhereEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch(() => undefined)
}

/** Moves a damaged file out of the way, under a name that tells when. Gives that name; null: there is none. */
export async function moveAside(path: string, nowMs: number): Promise<string | null> {
  const aside = `${path}.${String(nowMs)}`
  try {
    await rename(path, aside)
    return aside
  } catch (cause) {
    if (isMissing(cause)) return null
    throw cause
  }
}

/** Whether the file system says that there is none: any other error tells that there is one, which cannot be read. */
export function isMissing(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
}

/** Whether a disk has no room, or this user's share of it has none. */
export function isFull(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && (cause.code === 'ENOSPC' || cause.code === 'EDQUOT')
}

/** Makes renames inside the folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
