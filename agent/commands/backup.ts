import { resolve } from 'node:path'
import { backUp } from '../data/backup.js'
import { restore } from '../data/restore.js'
import { configOf } from './data.js'
import { print, type OutputOptions } from './output.js'

type Options = OutputOptions & { config?: string | undefined }

export async function backupCommand(file: string, options: Options & { frames: boolean }): Promise<void> {
  const { data } = await configOf(options)
  const { index, bytes, problems } = await backUp({ data, file: resolve(file), frames: options.frames })
  const files = Object.keys(index.files).length
  print(options, { file, files, bytes, problems }, [`${String(files)} files, ${(bytes / 1e6).toFixed(1)} MB, are in ${file}; it holds the key of this box: keep it where nobody else reads it`, ...foundIn(problems)])
}

export async function restoreCommand(file: string, options: Options & { force: boolean }): Promise<void> {
  const { data } = await configOf(options)
  const { index: { createdAt, files }, before, problems } = await restore({ data, file: resolve(file), force: options.force })
  const count = Object.keys(files).length
  print(options, { data, files: count, createdAt, before, problems }, [
    `${data} is as it was at ${createdAt}: ${String(count)} files`, ...before === null ? [] : [`what was there before is in ${before}; delete it once it is not needed`], ...foundIn(problems),
  ])
}

function foundIn(problems: readonly string[]): string[] {
  return problems.map(problem => `not as it should be, when the backup was made: ${problem}`)
}
