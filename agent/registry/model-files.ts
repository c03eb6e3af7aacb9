/** The files of models on disk: which there are, whether they are what their cards say, and that they stay. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { ModelCard } from '../../trainer/contract.js'
import { syncFolder } from '../lib/durable.js'

/** Errors of reading that say nothing of the file: the box has no memory or no descriptors to spare, or does not let this user in. */
const ofTheBox = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EACCES', 'EPERM'])

export interface FileProblem {
  what: string
  /** Whether the model is lost; else its files may be sound. */
  damaged: boolean
}

/** What differs from the card; null when nothing does. */
export async function problemOf(folder: string, card: ModelCard): Promise<FileProblem | null> {
  for (const name of ['model.onnx', 'weights.safetensors'] as const) {
    const hash = createHash('sha256')
    try {
      await pipeline(createReadStream(join(folder, name)), hash)
    } catch (cause) {
      const damaged = !(cause instanceof Error && 'code' in cause && ofTheBox.has(String(cause.code)))
      return { what: `${name} cannot be read (${cause instanceof Error ? cause.message : String(cause)})`, damaged }
    }
    if (hash.digest('hex') !== card.files[name]) return { what: `sha256 of ${name} differs from its card`, damaged: true }
  }
  return null
}

/** Names of folders that look like a model's and are of none that is known. */
export async function unknownFolders(folder: string, known: readonly { folder: string }[]): Promise<string[]> {
  return (await readdir(folder)).filter(name => /^\d+-[0-9a-f]{8}$/.test(name) && !known.some(model => model.folder === name))
}

export function versionOf(folder: string): number {
  return Number.parseInt(folder, 10)
}

export async function syncFiles(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const file = await open(join(folder, name), 'r')
    try { await file.sync() } finally { await file.close() }
  }
  await syncFolder(folder)
}
