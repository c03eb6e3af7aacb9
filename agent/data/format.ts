/**
 * The format of the data folder: which files are in it, what they are called, what they hold. Its number stands in the file `format`; a folder
 * without one is of format 1, the first, or new. A step leads from each format to the next, so that every version goes on with what an older one
 * left.
 *
 * INVARIANTS
 * - A step may be cut off anywhere, and is taken again from its beginning: what it has done already does it no harm.
 * - The number changes after the step is on disk.
 * - A folder of a newer format is left as it is.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PawlError } from '../errors.js'
import { isMissing, writeDurably } from '../lib/durable.js'

export interface Step {
  /** What becomes of the folder, for people. */
  what: string
  take: (data: string) => Promise<void>
}

/** The first leads from format 1 to 2. */
const steps: readonly Step[] = [
  // A version that does not know such entries would take the history for damaged.
  { what: 'its history may tell of models that were published', take: () => Promise.resolve() },
]

export interface FormatOptions {
  steps?: readonly Step[]
  /** Hears of a step that was taken; not where there is no registry yet, for which nothing has changed. */
  onStep: (what: string) => void
}

/** Brings a folder, which the caller holds, to the format of this version. Errors: DATA_FORMAT where that is not known to it. */
export async function bringUpToDate(data: string, { steps: known = steps, onStep }: FormatOptions): Promise<void> {
  const found = await formatOf(data, known)
  // Backups of `state.json` may be all that is left of one.
  const isNew = found === null && !(await readdir(data)).some(name => name.startsWith('state.json'))
  for (const [index, { what, take }] of known.entries()) {
    if (index + 1 < (found ?? 1)) continue
    await take(data)
    await write(data, index + 2)
    if (!isNew) onStep(`${data}: ${what}; it is of format ${String(index + 2)} now`)
  }
}

/** For whoever only reads. Errors: DATA_FORMAT where the folder is of another format than this version's. */
export async function checkFormat(data: string, known: readonly Step[] = steps): Promise<void> {
  const found = await formatOf(data, known)
  const own = known.length + 1
  if (found !== null && found < own) {
    throw new PawlError('DATA_FORMAT', `${data} is of format ${String(found)}, and this version works on ${String(own)}; start the agent once, which brings it up to date`)
  }
}

/** Null: nothing says so. Errors: DATA_FORMAT. */
async function formatOf(data: string, known: readonly Step[]): Promise<number | null> {
  const path = join(data, 'format')
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    if (isMissing(cause)) return null
    throw new PawlError('DATA_FORMAT', `${path} cannot be read (${cause instanceof Error ? cause.message : String(cause)}); nothing was changed`, { cause })
  })
  if (text === null) return null
  const own = known.length + 1
  if (!/^[1-9]\d{0,5}\n?$/.test(text)) {
    throw new PawlError('DATA_FORMAT', `${path} holds no number of a format; nothing was changed; put ${String(own)} in it if this version wrote the folder last, else restore a backup`)
  }
  if (Number(text) > own) {
    throw new PawlError('DATA_FORMAT', `${data} is of format ${text.trim()}, and this version knows none after ${String(own)}; nothing was changed; run the newer version, or take a copy of the folder that is older`)
  }
  return Number(text)
}

async function write(data: string, format: number): Promise<void> {
  await writeDurably(join(data, 'format'), `${String(format)}\n`)
}
