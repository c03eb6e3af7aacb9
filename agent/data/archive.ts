/**
 * A backup as a file: a ZIP archive of the data folder's files, not compressed since pictures and weights hardly are, with `backup.json` as its
 * last entry, which tells what each file is by its SHA-256. It holds the box's private key: only its owner may read it.
 */
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import yauzl from 'yauzl'
import yazl from 'yazl'
import { z } from 'zod'
import { PawlError } from '../errors.js'
import { isMissing, syncFolder } from '../lib/durable.js'

const indexName = 'backup.json'
const owner = 0o600

const Index = z.strictObject({
  pawl: z.string().describe('Version that wrote it'),
  createdAt: z.string(),
  /** SHA-256 by path, relative to the data folder. */
  files: z.record(z.string(), z.string().regex(/^[0-9a-f]{64}$/)),
})
export type Index = z.infer<typeof Index>

export interface Written {
  index: Index
  bytes: number
}

export interface WriteOptions {
  folder: string
  /** Read already. */
  first: { name: string; content: Buffer }
  /** In this order; what is gone when its turn comes is left out. */
  names: readonly string[]
  version: string
}

/** Writes files of a folder, under a temporary name until all is on disk. Errors: BACKUP_FAILED. */
export async function writeArchive(path: string, { folder, first, names, version }: WriteOptions): Promise<Written> {
  const temporary = `${path}.part`
  const index: Index = { pawl: version, createdAt: new Date().toISOString(), files: {} }
  let bytes = 0
  try {
    await rm(temporary, { force: true })
    const zip = new yazl.ZipFile()
    const written = pipeline(zip.outputStream, createWriteStream(temporary, { mode: owner, flags: 'wx' }))
    // One after the other as the disk takes them. A disk that is full ends the wait.
    const put = (name: string, content: Buffer) => Promise.race([written, new Promise<void>((resolve, reject) => {
      zip.addReadStreamLazy(name, { mode: 0o100000 | owner, compress: false, size: content.length }, give => {
        give(null, Readable.from([content]).once('end', resolve).once('error', reject))
      })
    })])
    const add = async (name: string, content: Buffer) => {
      index.files[name] = createHash('sha256').update(content).digest('hex')
      bytes += content.length
      await put(name, content)
    }
    await add(first.name, first.content)
    for (const name of names) {
      const content = await readFile(join(folder, name)).catch((cause: unknown) => { if (isMissing(cause)) return null; throw cause })
      if (content !== null) await add(name, content)
    }
    await put(indexName, Buffer.from(`${JSON.stringify(index, null, 1)}\n`))
    zip.end()
    await written
    const file = await open(temporary, 'r')
    await file.sync().finally(() => file.close())
    await rename(temporary, path)
    await syncFolder(dirname(path))
    return { index, bytes }
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => undefined)
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new PawlError('BACKUP_FAILED', `${path} cannot be written (${why}); free some space, or choose another file`, { cause })
  }
}

/**
 * Writes what an archive holds into an empty folder, each file synced. `room`: bytes that it may take. Errors: BACKUP_INVALID, for one that is cut
 * off, damaged or no backup; what was written by then is the caller's to remove.
 */
export async function readArchive(path: string, { folder, room }: { folder: string; room: number }): Promise<Index> {
  const invalid = (what: string, cause?: unknown) => new PawlError('BACKUP_INVALID', `${path} ${what}; nothing was changed; take another backup`, { cause })
  const hashes = new Map<string, string>()
  let index: Index | null = null
  let bytes = 0
  try {
    const zip = await yauzl.openPromise(path, { strictFileNames: true })
    for await (const entry of zip.eachEntry()) {
      bytes += entry.uncompressedSize
      if (bytes > room) throw new PawlError('DISK_FULL', `${folder}: there is no room for what ${path} holds; nothing was changed; free some space`)
      const name = entry.fileName
      const read = await buffer(await zip.openReadStreamPromise(entry))
      if (name === indexName) {
        index = Index.parse(JSON.parse(read.toString('utf8')))
        continue
      }
      // yauzl refuses absolute paths and those that lead out of the folder.
      if (name.endsWith('/') || hashes.has(name)) throw invalid(`holds ${JSON.stringify(name)}, which is none of a backup's files`)
      hashes.set(name, createHash('sha256').update(read).digest('hex'))
      await mkdir(dirname(join(folder, name)), { recursive: true, mode: 0o700 })
      const file = await open(join(folder, name), 'wx', owner)
      try {
        await file.writeFile(read)
        await file.sync()
      } finally {
        await file.close()
      }
    }
  } catch (cause) {
    if (cause instanceof PawlError) throw cause
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOSPC') throw new PawlError('DISK_FULL', `${folder}: the disk is full; nothing was changed; free some space`, { cause })
    throw invalid(`cannot be read as a backup (${cause instanceof Error ? cause.message : String(cause)})`, cause)
  }
  if (!index) throw invalid(`holds no ${indexName}: it is no backup, or not all of one`)
  const wrong = [...new Set([...hashes.keys(), ...Object.keys(index.files)])].find(name => hashes.get(name) !== index.files[name])
  if (wrong !== undefined) throw invalid(`is damaged: ${JSON.stringify(wrong)} is not what ${indexName} says`)
  return index
}
