/**
 * A backup as a file: a ZIP archive of the data folder's files, not compressed since pictures and weights hardly are, with `backup.json` as its
 * last entry, which tells what each file is by its SHA-256. It holds the box's private key: only its owner may read it.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { finished, pipeline } from 'node:stream/promises'
import yauzl from 'yauzl'
import yazl from 'yazl'
import { z } from 'zod'
import { PawlError } from '../errors.js'
import { systemClock } from '../lib/clock.js'
import { fitting, isMissing, syncFolder } from '../lib/durable.js'
import { isOurs } from './names.js'

const indexName = 'backup.json'
const owner = 0o600
/** Of a backup that is being written: after its own name, the process that writes it. */
const temporaryName = /\.(\d+)\.[0-9a-f]{8}\.tmp$/
/** Nobody writes any more what has not changed for so long, milliseconds: another process may have the number of the one that did. */
const idleMs = 3_600_000
/** Errors that a backup brings about by its names: one that is too long, or a file and a folder of one name. */
const ofNames: ReadonlySet<string> = new Set(['EEXIST', 'EISDIR', 'ENAMETOOLONG', 'ENOENT', 'ENOTDIR'])
/** Of a file in the index: its path, which a file system keeps below this, and its hash. */
const indexBytesPerFile = 4352

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

export interface Archive {
  /** SHA-256 by path, of what is in it already. */
  readonly files: Readonly<Record<string, string>>
  /** Puts a file in under a name, as it is when its turn comes. False: it is gone by then. */
  add: (name: string, path: string) => Promise<boolean>
  addContent: (name: string, content: Buffer) => Promise<void>
}

export interface WriteOptions {
  version: string
  /** Puts the files in. False: it is not to be kept. */
  fill: (archive: Archive) => Promise<boolean>
}

/**
 * Writes an archive under a temporary name; it takes the place of what is there once all is on disk. Null: it was not to be kept.
 * Errors: BACKUP_FAILED.
 */
export async function writeArchive(path: string, { version, fill }: WriteOptions): Promise<Written | null> {
  await removeAbandoned(path)
  const ending = `.${String(process.pid)}.${randomBytes(4).toString('hex')}.tmp`
  const temporary = join(dirname(path), `${fitting(basename(path), ending)}${ending}`)
  const index: Index = { pawl: version, createdAt: new Date().toISOString(), files: {} }
  let bytes = 0
  const zip = new yazl.ZipFile()
  const output = zip.outputStream.pipe(new PassThrough())
  zip.on('error', (cause: Error) => { output.destroy(cause) })
  const target = createWriteStream(temporary, { mode: owner, flags: 'wx', flush: true })
  const written = pipeline(output, target)
  written.catch(() => undefined)
  // One after the other as the disk takes them. A disk that is full ends the wait.
  const put = async (name: string, content: Readable) => {
    let next: Readable | null = content
    await Promise.race([written, new Promise<void>((resolve, reject) => {
      zip.addReadStreamLazy(escaped(name), { mode: 0o100000 | owner, compress: false }, give => {
        if (!next) return
        finished(next).then(resolve, reject)
        give(null, next)
        // The archive remembers its entries to the end.
        next = null
      })
    })])
  }
  const measured = async (name: string, content: AsyncIterable<Buffer> | Iterable<Buffer>) => {
    const hash = createHash('sha256')
    await put(name, Readable.from((async function* () {
      for await (const chunk of content) {
        hash.update(chunk)
        bytes += chunk.length
        yield chunk
      }
    })(), { objectMode: false }))
    index.files[name] = hash.digest('hex')
  }
  try {
    const keep = await fill({
      files: index.files,
      addContent: (name, content) => measured(name, [content]),
      add: async (name, file) => {
        const content = await contentOf(file)
        if (content) await measured(name, content)
        return content !== null
      },
    })
    if (keep) {
      await put(indexName, Readable.from([Buffer.from(`${JSON.stringify(index, null, 1)}\n`)]))
      zip.end()
      await written
      await rename(temporary, path)
      await syncFolder(dirname(path))
      return { index, bytes }
    }
    await abandon()
    return null
  } catch (cause) {
    await abandon()
    if (cause instanceof PawlError) throw cause
    throw new PawlError('BACKUP_FAILED', `${path} cannot be written (${reasonOf(cause)}); free some space, or choose another file`, { cause })
  }

  async function abandon(): Promise<void> {
    output.destroy(new Error('given up'))
    await written.catch(() => undefined)
    // It may still be opening, and would be there once it is.
    if (!target.closed) await once(target, 'close').catch(() => undefined)
    await rm(temporary, { force: true }).catch(() => undefined)
  }
}

/** Removes what was written of this file by those that were killed as they wrote: each is as large as a backup. */
async function removeAbandoned(path: string): Promise<void> {
  const folder = dirname(path)
  for (const name of await readdir(folder).catch(() => [])) {
    const [ending, pid] = temporaryName.exec(name) ?? []
    if (ending === undefined || name !== `${fitting(basename(path), ending)}${ending}`) continue
    const changedMs = await stat(join(folder, name)).then(({ mtimeMs }) => mtimeMs, () => Infinity)
    if (!isRunning(Number(pid)) || systemClock.nowMs() - changedMs > idleMs) await rm(join(folder, name), { force: true }).catch(() => undefined)
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    return cause instanceof Error && 'code' in cause && cause.code !== 'ESRCH'
  }
}

/** Null: there is none. Errors: BACKUP_FAILED, also while it is read. */
async function contentOf(path: string): Promise<AsyncIterable<Buffer> | null> {
  const file = await open(path, 'r').catch((cause: unknown) => { if (isMissing(cause)) return null; throw unreadable(path, cause) })
  return file && (async function* () {
    try {
      for await (const chunk of file.createReadStream()) yield chunk as Buffer
    } catch (cause) {
      throw unreadable(path, cause)
    }
  })()
}

export function unreadable(path: string, cause: unknown): PawlError {
  return new PawlError('BACKUP_FAILED', `${path} cannot be read (${reasonOf(cause)}); run this as the user who owns it, or move it away if its disk is failing`, { cause })
}

/**
 * Writes what an archive holds into an empty folder, each file synced. `room`: bytes that it may take. Errors: BACKUP_INVALID, for one that is cut
 * off, damaged or no backup; DISK_FULL; what the file system says of the folder. What was written by then is the caller's to remove.
 */
export async function readArchive(path: string, { folder, room }: { folder: string; room: number }): Promise<Index> {
  const invalid = (what: string, cause?: unknown) => new PawlError('BACKUP_INVALID', `${path} ${what}; nothing was changed; take another backup`, { cause })
  const hashes = new Map<string, string>()
  let index: Index | null = null
  let bytes = 0
  try {
    const zip = await yauzl.openPromise(path, { strictFileNames: true })
    for await (const entry of zip.eachEntry()) {
      const shown = JSON.stringify(entry.fileName)
      // So that what it holds is no larger than it is.
      if (entry.compressionMethod !== 0) throw invalid(`holds ${shown} compressed, as no backup does`)
      bytes += entry.uncompressedSize
      if (bytes > room) throw new PawlError('DISK_FULL', `${folder}: there is no room for what ${path} holds; nothing was changed; free some space`)
      const content = await zip.openReadStreamPromise(entry)
      if (entry.fileName === indexName) {
        if (entry.uncompressedSize > indexBytesPerFile * (hashes.size + 1)) throw invalid(`holds ${shown}, too large for what it tells`)
        index = Index.parse(JSON.parse((await buffer(content)).toString('utf8')))
        continue
      }
      // yauzl refuses absolute paths and those that lead out of the folder.
      const name = unescaped(entry.fileName)
      const [first = ''] = name.split('/')
      if (name.endsWith('/') || hashes.has(name) || !isOurs(first)) throw invalid(`holds ${shown}, which is none of a backup's files`)
      await mkdir(dirname(join(folder, name)), { recursive: true, mode: 0o700 })
      const hash = createHash('sha256')
      await pipeline(content, async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          hash.update(chunk)
          yield chunk
        }
      }, createWriteStream(join(folder, name), { mode: owner, flags: 'wx', flush: true }))
      hashes.set(name, hash.digest('hex'))
    }
  } catch (cause) {
    if (cause instanceof PawlError || isOfDisk(cause)) throw cause
    throw invalid(`cannot be read as a backup (${reasonOf(cause)})`, cause)
  }
  if (!index) throw invalid(`holds no ${indexName}: it is no backup, or not all of one`)
  const { files } = index
  const wrong = [...new Set([...hashes.keys(), ...Object.keys(files)])].find(name => hashes.get(name) !== files[name])
  if (wrong !== undefined) throw invalid(`is damaged: ${JSON.stringify(wrong)} is not what ${indexName} says`)
  return index
}

/**
 * Whether a disk, or the rights on it, are at fault and not what a backup holds: of what a file system says, all but that something of this name
 * cannot be there.
 */
export function isOfDisk(cause: unknown): boolean {
  return cause instanceof Error && 'syscall' in cause && 'code' in cause && !ofNames.has(String(cause.code))
}

export function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}

/** ZIP has "/" between folders, and some programs take "\" for it: a class may have one in its name. */
function escaped(name: string): string {
  return name.replace(/[%\\]/g, sign => encodeURIComponent(sign))
}

function unescaped(name: string): string {
  return name.replace(/%25|%5C/g, sign => decodeURIComponent(sign))
}
