import { mkdir } from 'node:fs/promises'
import { PawlError } from '../errors.js'
import { importLabels, readClassFolders } from '../frames/labels.js'
import { groupBy } from '../lib/group.js'
import { labelsOf } from './data.js'
import { print, table, type OutputOptions } from './output.js'

type Options = OutputOptions & { config?: string | undefined }

export async function labelImport(from: string, options: Options): Promise<void> {
  if ((await readClassFolders(from)).images.length === 0) {
    throw new PawlError('LABELS_INSUFFICIENT', `${from}: there are no images; it should hold one folder of JPEG, PNG or WebP images for each class`)
  }
  const to = await labelsOf(options)
  await mkdir(to, { recursive: true })
  const { imported, there, refused } = await importLabels(from, to, { decoded: true })
  print(options, { imported, there, refused, folder: to }, [
    `${String(imported)} new images in ${to}; ${String(there)} there already`, ...refused.map(what => `not taken: ${what}`),
  ])
  if (refused.length) process.exitCode = 1
}

export async function labelStatus(options: Options): Promise<void> {
  const folder = await labelsOf(options)
  const { images, empty } = await readClassFolders(folder)
  const classes = [...groupBy(images, ({ label }) => label)].map(([name, own]) => ({ class: name, images: own.length }))
  const all = [...classes, ...empty.map(name => ({ class: name, images: 0 }))]
  print(options, { folder, images: images.length, classes: all }, table(['class', 'images'], all.map(row => [row.class, row.images])))
}
