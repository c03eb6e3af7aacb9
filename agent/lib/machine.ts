/** What the machine has left, or the container. */
import { statfs } from 'node:fs/promises'
import { availableParallelism, freemem, loadavg, totalmem } from 'node:os'
import { groupMemory } from './control-group.js'

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
  const group = await groupMemory(totalmem())
  return {
    diskBytes: blocks * bsize, diskFreeBytes: bavail * bsize,
    memoryBytes: group?.limitBytes ?? totalmem(),
    memoryFreeBytes: Math.min(freemem(), group ? Math.max(0, group.limitBytes - group.usedBytes) : Infinity),
    cores: availableParallelism(), load: loadavg()[0] ?? 0,
  }
}
