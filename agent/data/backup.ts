/**
 * A copy of the data folder in one file, also while the agent runs on it.
 *
 * The registry is of one moment: its state is read first, then the history, which leads at least as far, and the models, which never change. A model
 * that made room for another meanwhile is a reason to begin again. Labels, records and the rest are as they are when their turn comes.
 */
import { readdir, readFile, rm } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { z } from 'zod'
import { PawlError } from '../errors.js'
import { isHalfWritten, isMissing } from '../lib/durable.js'
import { packageVersion } from '../lib/package-root.js'
import { writeArchive, type Written } from './archive.js'
import { checkFolder } from './folder.js'
import { isOurs } from './restore.js'

/** Of the moment: what a broker has not heard yet, and a round that is not done. Another box would say and do it again. */
const ofTheMoment: readonly string[] = ['outbox', 'rounds']
const tries = 5

export interface BackupOptions {
  data: string
  /** Where to; what is there is replaced. */
  file: string
  /** Whether the unlabeled frames come along: by far the most of it, and collected again in time. */
  frames: boolean
}

/** What a backup must hold to be whole, of `state.json`. */
const State = z.object({ data: z.object({ versions: z.array(z.object({ folder: z.string() })) }) })

/** Errors: DATA_FORMAT; REGISTRY_CORRUPT where there is no registry, or not all of it; what the file system says. */
export async function backUp(options: BackupOptions): Promise<Written> {
  const { data } = options
  await checkFolder(data)
  for (let left = tries; left > 0; left--) {
    const written = await attempt(options)
    if (written) return written
  }
  throw new PawlError('REGISTRY_CORRUPT', `${data}: models that state.json names are gone; \`pawl models verify\` says which`)
}

/** Null: what the state names was gone when its turn came. */
async function attempt({ data, file, frames }: BackupOptions): Promise<Written | null> {
  const content = await readFile(join(data, 'state.json')).catch((cause: unknown) => {
    throw new PawlError('REGISTRY_CORRUPT', `${data}: state.json cannot be read; start the agent once, or choose another folder with the key "data"`, { cause })
  })
  const { versions } = State.parse(JSON.parse(content.toString('utf8'))).data
  const names = await namesIn(data, frames).catch((cause: unknown) => { if (isMissing(cause)) return null; throw cause })
  if (!names) return null
  const written = await writeArchive(file, { folder: data, first: { name: 'state.json', content }, names, version: packageVersion() })
  if (versions.every(({ folder }) => `models/${folder}/model.onnx` in written.index.files)) return written
  await rm(file, { force: true })
  return null
}

/** Files by their paths in the folder, but for the registry's state; its history is the first. */
async function namesIn(data: string, frames: boolean): Promise<string[]> {
  const left = new Set([...ofTheMoment, 'state.json', 'lineage.jsonl', ...frames ? [] : ['frames']])
  const top = (await readdir(data, { withFileTypes: true })).filter(({ name }) => isOurs(name) && !left.has(name))
  const folders = top.filter(entry => entry.isDirectory())
  const below = await Promise.all(folders.map(({ name }) => readdir(join(data, name), { recursive: true, withFileTypes: true })))
  const files = [...top, ...below.flat()].filter(entry => entry.isFile() && !isHalfWritten(entry.name))
  return ['lineage.jsonl', ...files.map(({ parentPath, name }) => relative(data, join(parentPath, name))).sort()]
}
