import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { imageName } from '../../trainer/index.js'
import { PawlError } from '../errors.js'
import { KeptFile } from '../lib/kept-file.js'
import { largestPictureBytes, type CameraSource } from './source.js'

const pollMs = 500
/** In a folder of more pictures those that are known are not looked at again and again. */
const fewPictures = 200

/** What came into the folder until then (milliseconds since 1970) was looked at. */
const Looked = z.strictObject({ untilMs: z.number() })

/**
 * Pictures that appear in a folder, or take the place of one of their name, in the order of their names; a burst of them no faster than they are
 * looked at. Those that are there at the first start are passed over. `memory`: a file that remembers until when it was looked, so that what came
 * while the agent was away is not lost; null: nothing is remembered.
 */
export function folder(path: string, maxPerSecond: number, memory: string | null): CameraSource {
  const kept = memory === null ? null : new KeptFile({ path: memory, schema: Looked, onProblem: () => undefined })
  /** What a picture was when it was looked at. */
  let done: Map<string, string> | null = null
  let untilMs = 0
  const sizes = new Map<string, number>()
  const present = async () => (await readdir(path).catch((cause: unknown) => {
    throw new PawlError('CAMERA_UNAVAILABLE', `${path}: the folder cannot be read`, { cause })
  })).filter(name => imageName.test(name)).sort()
  const look = (name: string) => stat(join(path, name)).then(found => (found.isFile() ? found : null), () => null)

  const begin = async () => {
    const looked = await kept?.read()
    untilMs = looked?.untilMs ?? Date.now()
    if (!looked) await kept?.write({ untilMs })
    const begun = new Map<string, string>()
    for (const name of await present()) {
      const found = await look(name)
      // When it came here, whatever its own time is.
      if (found && found.ctimeMs <= untilMs) begun.set(name, versionOf(found))
    }
    return begun
  }
  return async function* (signal) {
    done ??= await begin()
    while (!signal.aborted) {
      const names = await present()
      let [newestMs, left] = [untilMs, false]
      for (const name of names) {
        if (names.length > fewPictures && done.has(name)) continue
        const found = await look(name)
        if (!found || done.get(name) === versionOf(found)) continue
        // Still being written: it is looked at once more. And what nobody waits for any more is for the next start.
        if (signal.aborted || found.size === 0 || sizes.get(name) !== found.size) {
          sizes.set(name, found.size)
          left = true
          continue
        }
        done.set(name, versionOf(found))
        newestMs = Math.max(newestMs, found.ctimeMs)
        if (found.size > largestPictureBytes) continue
        const picture = await readFile(join(path, name)).catch(() => null)
        if (picture) yield picture
        await sleep(1000 / maxPerSecond, undefined, { signal }).catch(() => undefined)
      }
      const current = new Set(names)
      for (const name of [...done.keys(), ...sizes.keys()]) {
        if (current.has(name)) continue
        done.delete(name)
        sizes.delete(name)
      }
      // Only where nothing that came before is left: a picture given twice is better than one that is lost.
      if (!left && newestMs > untilMs) await kept?.write({ untilMs: untilMs = newestMs })
      if (!signal.aborted) yield null
      await sleep(pollMs, undefined, { signal }).catch(() => undefined)
    }
  }
}

function versionOf({ size, mtimeMs }: { size: number; mtimeMs: number }): string {
  return `${String(size)} ${String(mtimeMs)}`
}
