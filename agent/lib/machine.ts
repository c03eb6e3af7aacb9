/** What the machine has left. */
import { statfs } from 'node:fs/promises'
import { availableParallelism, freemem, loadavg, totalmem } from 'node:os'

export interface Machine {
  diskBytes: number
  diskFreeBytes: number
  memoryBytes: number
  memoryFreeBytes: number
  cores: number
  /** Processes that compute or wait to, over the last minute. */
  load: number
}

/** The disk is that of a folder. Errors: it is not there. */
export async function machineOf(folder: string): Promise<Machine> {
  const { blocks, bavail, bsize } = await statfs(folder)
  return {
    diskBytes: blocks * bsize, diskFreeBytes: bavail * bsize, memoryBytes: totalmem(), memoryFreeBytes: freemem(),
    cores: availableParallelism(), load: loadavg()[0] ?? 0,
  }
}
