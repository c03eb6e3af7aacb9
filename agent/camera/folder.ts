import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PawlError } from '../errors.js'
import { largestPictureBytes, type CameraSource } from './source.js'

const pollMs = 500
const pictureName = /^[^.].*\.(jpe?g|png)$/i

/** Pictures that appear in a folder, in the order of their names; those that are there at the start are passed over. */
export function folder(path: string): CameraSource {
  return async function* (signal) {
    const names = async () => (await readdir(path).catch((cause: unknown) => {
      throw new PawlError('CAMERA_UNAVAILABLE', `${path}: the folder cannot be read`, { cause })
    })).filter(name => pictureName.test(name)).sort()
    const seen = new Set(await names())
    while (!signal.aborted) {
      const present = await names()
      for (const name of present) {
        if (seen.has(name)) continue
        seen.add(name)
        const { size, mtimeMs } = await stat(join(path, name))
        // Still being written: it is looked at again.
        if (Date.now() - mtimeMs < pollMs) seen.delete(name)
        else if (size > 0 && size <= largestPictureBytes) yield await readFile(join(path, name))
      }
      const current = new Set(present)
      for (const name of seen) if (!current.has(name)) seen.delete(name)
      await sleep(pollMs, undefined, { signal }).catch(() => undefined)
    }
  }
}
