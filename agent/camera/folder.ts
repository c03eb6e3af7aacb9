import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { imageName } from '../../trainer/index.js'
import { PawlError } from '../errors.js'
import { largestPictureBytes, type CameraSource } from './source.js'

const pollMs = 500

/**
 * Pictures that appear in a folder, in the order of their names, a burst of them no faster than they are looked at; those that are
 * there at the first start are passed over. A later start goes on where the former one ended: what came in between is not lost.
 */
export function folder(path: string, maxPerSecond: number): CameraSource {
  let done: Set<string> | null = null
  const sizes = new Map<string, number>()
  return async function* (signal) {
    const names = async () => (await readdir(path).catch((cause: unknown) => {
      throw new PawlError('CAMERA_UNAVAILABLE', `${path}: the folder cannot be read`, { cause })
    })).filter(name => imageName.test(name)).sort()
    done ??= new Set(await names())
    while (!signal.aborted) {
      const present = await names()
      for (const name of present) {
        if (done.has(name)) continue
        const found = await stat(join(path, name)).catch(() => null)
        const size = found?.isFile() ? found.size : 0
        // Still being written, gone again, or no file: it is looked at once more.
        if (size === 0 || sizes.get(name) !== size) {
          sizes.set(name, size)
          continue
        }
        done.add(name)
        if (size > largestPictureBytes) continue
        const picture = await readFile(join(path, name)).catch(() => null)
        if (picture) yield picture
        await sleep(1000 / maxPerSecond, undefined, { signal }).catch(() => undefined)
        if (signal.aborted) return
      }
      const current = new Set(present)
      for (const name of [...done, ...sizes.keys()]) {
        if (current.has(name)) continue
        done.delete(name)
        sizes.delete(name)
      }
      await sleep(pollMs, undefined, { signal }).catch(() => undefined)
    }
  }
}
