/** The labels as one file to take away: a ZIP of the class folders, written as it is read. */
import { createReadStream, type ReadStream } from 'node:fs'
import { basename } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import yazl from 'yazl'
import type { LabeledImage } from '../../trainer/index.js'

/** Images as `labels/<class>/<name>`; stored as they are: pictures do not get smaller. What has gone meanwhile ends the stream with an error. */
export function archiveOf(images: readonly LabeledImage[]): ReadableStream {
  const zip = new yazl.ZipFile()
  const bytes = zip.outputStream.pipe(new PassThrough())
  let current: ReadStream | null = null
  for (const { path, label } of images) {
    // A class that a person made by hand may have a sign that no archive takes.
    zip.addReadStreamLazy(`labels/${label}/${basename(path)}`.replaceAll('\\', '_'), { compress: false }, give => {
      current = createReadStream(path)
      give(null, current)
    })
  }
  zip.on('error', (cause: Error) => { bytes.destroy(cause) })
  // Whoever goes away in the middle leaves no file open.
  bytes.on('close', () => { current?.destroy() })
  zip.end()
  return Readable.toWeb(bytes) as ReadableStream
}
