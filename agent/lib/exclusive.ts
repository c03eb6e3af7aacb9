import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import lockfile from 'proper-lockfile'
import { PawlError } from '../errors.js'

/**
 * Holds a folder for one process until the returned function is called. A lock whose holder died goes stale within 10 s.
 * Errors: DATA_LOCKED when another process holds it.
 */
export async function holdFolder(folder: string): Promise<() => Promise<void>> {
  await mkdir(folder, { recursive: true })
  try {
    const lockfilePath = join(folder, '.lock')
    const retries = { retries: 12, minTimeout: 1_000, maxTimeout: 1_000, factor: 1 }
    return await lockfile.lock(folder, { lockfilePath, stale: 10_000, update: 2_000, retries })
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ELOCKED')) throw cause
    throw new PawlError('DATA_LOCKED', `${folder}: another pawl works on this data folder; stop it, or choose another folder with the key "data"`, { cause })
  }
}
