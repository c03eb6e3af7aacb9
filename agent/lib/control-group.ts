/** The memory that the control group of this process has: of a container, or of a systemd unit with MemoryMax= (cgroups(7), both versions). */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface GroupMemory {
  /** What it cannot give back: without the pages of files, which the kernel drops first. */
  usedBytes: number
  limitBytes: number
}

const versions = [
  { group: /^0::(.*)$/m, mount: 'sys/fs/cgroup', limit: 'memory.max', usage: 'memory.current', files: /^(?:in)?active_file (\d+)$/gm },
  { group: /^\d+:memory:(.*)$/m, mount: 'sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes', usage: 'memory.usage_in_bytes', files: /^total_(?:in)?active_file (\d+)$/gm },
] as const

/** Null: there is no limit, or none below `machineBytes`. `root`: another one than that of the file system. */
export async function groupMemory(machineBytes: number, root = '/'): Promise<GroupMemory | null> {
  const text = (...path: string[]) => readFile(join(root, ...path), 'utf8').catch(() => '')
  const own = await text('proc/self/cgroup')
  for (const { group, mount, limit, usage, files } of versions) {
    const path = group.exec(own)?.[1]
    if (path === undefined) continue
    // A container may see its own group as the root of the mount, and be told of the path that it has outside.
    for (const folder of new Set([join(mount, path), mount])) {
      const limitBytes = Number.parseInt(await text(folder, limit), 10)
      if (!(limitBytes < machineBytes)) continue
      const pages = [...(await text(folder, 'memory.stat')).matchAll(files)].reduce((sum, [, bytes]) => sum + Number(bytes), 0)
      return { usedBytes: Math.max(0, Number(await text(folder, usage)) - pages), limitBytes }
    }
  }
  return null
}
