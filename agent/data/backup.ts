/**
 * A copy of the data folder in one file, also while the agent runs on it.
 *
 * The registry is of one moment: its state is read first, then the history, which leads at least as far, and the models, which never change. A model
 * that made room for another meanwhile is a reason to begin again. Labels, records and the rest are as they are when their turn comes; a label that
 * moved on before its turn is taken from where it went.
 */
import { lstat, readdir, readFile, realpath, stat } from 'node:fs/promises'
import { dirname, join, sep } from 'node:path'
import { PawlError } from '../errors.js'
import { isHalfWritten, isMissing } from '../lib/durable.js'
import { packageVersion } from '../lib/package-root.js'
import { unreadable, writeArchive, type Archive, type Written } from './archive.js'
import { checkFolder } from './folder.js'
import { isOurs } from './names.js'
import { modelFolders, modelProblems, problemsOf } from './soundness.js'

/** Of the moment: what a broker has not heard yet, and a round that is not done. Another box would say and do it again. */
const ofTheMoment: readonly string[] = ['exchange', 'outbox', 'rounds']
const tries = 5

export interface BackupOptions {
  data: string
  /** Where to; what is there is replaced once the new one is whole. */
  file: string
  /** Whether the unlabeled frames come along: by far the most of it, and collected again in time. */
  frames: boolean
}

export interface BackedUp extends Written {
  /** What is wrong with the folder, and so with its copy: a damaged model, a history that does not hold, a link that leads nowhere. */
  problems: string[]
}

/** Errors: DATA_FORMAT; REGISTRY_CORRUPT where there is no registry; BACKUP_FAILED; COMMAND_INVALID for a file inside the folder. */
export async function backUp(options: BackupOptions): Promise<BackedUp> {
  const { data, file } = options
  await checkFolder(data)
  const [inside, target] = await Promise.all([realpath(data), realpath(dirname(file)).catch(() => dirname(file))])
  if (`${target}${sep}`.startsWith(`${inside}${sep}`)) {
    throw new PawlError('COMMAND_INVALID', `${file} is inside the data folder: each backup would hold the one before it; choose a place outside ${data}`)
  }
  for (let left = tries; ; left--) {
    const done = await attempt(options, left === 1)
    if (done) return done
  }
}

/** Null: what the state names was gone when its turn came; `asItIs`: that is told, and no reason to begin again. */
async function attempt({ data, file, frames }: BackupOptions, asItIs: boolean): Promise<BackedUp | null> {
  const path = join(data, 'state.json')
  const state = await readFile(path).catch((cause: unknown) => {
    throw new PawlError('REGISTRY_CORRUPT', `${path} cannot be read; start the agent once, or choose another folder with the key "data"`, { cause })
  })
  const problems = new Set<string>()
  const written = await writeArchive(file, {
    version: packageVersion(),
    fill: async archive => {
      await archive.addContent('state.json', state)
      await archive.add('lineage.jsonl', join(data, 'lineage.jsonl'))
      const models = modelFolders(path, state)
      // Twice: what moved before its turn came is where it went by then.
      for (const _ of ['as it is', 'what moved meanwhile']) {
        for await (const name of namesIn(data, { frames, onProblem: problem => problems.add(problem) })) {
          if (!(name in archive.files) && (!name.startsWith('models/') || models.has(dirname(name)))) await archive.add(name, join(data, name))
        }
      }
      return asItIs || missingModels(path, state, archive).length === 0
    },
  })
  if (!written) return null
  const models = modelProblems(path, state, written.index.files).map(({ what }) => what)
  return { ...written, problems: [...problems, ...models, ...await problemsOf(data)] }
}

function missingModels(path: string, state: Buffer, { files }: Archive) {
  return modelProblems(path, state, files).filter(({ missing }) => missing)
}

interface NamesOptions extends Pick<BackupOptions, 'frames'> {
  onProblem: (problem: string) => void
}

/**
 * Files by their paths in the folder, with "/" between. Links count where the agent follows them: in the folder itself, and those to a file; not
 * those to a folder further down.
 */
async function* namesIn(data: string, { frames, onProblem }: NamesOptions): AsyncGenerator<string> {
  const left = new Set([...ofTheMoment, ...frames ? [] : ['frames']])
  for (const name of (await readdir(data)).sort()) if (isOurs(name) && !left.has(name)) yield* filesAt(name, true)

  async function* filesAt(name: string, top = false): AsyncGenerator<string> {
    if (isHalfWritten(name)) return
    const path = join(data, name)
    const isLink = await lstat(path).then(entry => entry.isSymbolicLink(), () => false)
    const found = await stat(path).catch((cause: unknown) => {
      if (isLink) onProblem(`${path} is a link that leads nowhere; it was left out`)
      else if (name.includes('\ufffd')) onProblem(`${path}: its name is not written in UTF-8; it was left out`)
      else if (!isMissing(cause)) throw unreadable(path, cause)
      return null
    })
    if (found?.isFile()) yield name
    if (!found?.isDirectory() || (isLink && !top)) return
    const below = await readdir(path).catch((cause: unknown) => { if (isMissing(cause)) return []; throw unreadable(path, cause) })
    for (const own of below.sort()) yield* filesAt(`${name}/${own}`)
  }
}
