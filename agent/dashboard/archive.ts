/** The labels as one file to take away: a ZIP of the class folders, written as it is read. */
import { basename } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import yazl from 'yazl'
import type { LabeledImage } from '../../trainer/index.js'

/** Images as `labels/<class>/<name>`; stored as they are: pictures do not get smaller. What has gone meanwhile ends the stream with an error. */
export function archiveOf(images: readonly LabeledImage[]): ReadableStream {
  const zip = new yazl.ZipFile()
  const bytes = zip.outputStream.pipe(new PassThrough())
  zip.on('error', (cause: Error) => { bytes.destroy(cause) })
  for (const { path, label } of images) zip.addFile(path, `labels/${label}/${basename(path)}`.replaceAll('\\', '_'), { compress: false })
  zip.end()
  return Readable.toWeb(bytes) as ReadableStream
}
