/** What a box makes of the limits of its container, as Linux tells them. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { groupMemory } from '../agent/lib/control-group.js'

let root = ''
beforeEach(async () => { root = await mkdtemp(join(tmpdir(), 'pawl-group-')) })
afterEach(async () => { await rm(root, { recursive: true, force: true }) })

async function tell(files: Record<string, string>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
}

const [gibibyte, machineBytes] = [2 ** 30, 2 ** 34]
const stat = (prefix: string) => `anon 700000000\nfile 99\n${prefix}inactive_anon 5\n${prefix}inactive_file 300000000\n${prefix}active_file 100000000\n`
const held = { usedBytes: 600_000_000, limitBytes: gibibyte }

describe('the memory of a container', () => {
  it('is that of its group, without the pages of files, in either version of control groups', async () => {
    await tell({
      'proc/self/cgroup': '0::/system.slice/pawl.service\n',
      'sys/fs/cgroup/system.slice/pawl.service/memory.max': `${String(gibibyte)}\n`,
      'sys/fs/cgroup/system.slice/pawl.service/memory.current': '1000000000\n',
      'sys/fs/cgroup/system.slice/pawl.service/memory.stat': stat(''),
    })
    expect(await groupMemory(machineBytes, root)).toEqual(held)
    await tell({
      'proc/self/cgroup': '4:memory:/docker/abc\n1:cpu:/docker/abc\n0::/\n',
      'sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes': `${String(gibibyte)}\n`,
      'sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes': '1000000000\n',
      'sys/fs/cgroup/memory/docker/abc/memory.stat': `inactive_file 7\nactive_file 7\n${stat('total_')}`,
    })
    expect(await groupMemory(machineBytes, root)).toEqual(held)
  })

  it('is found where the container sees its own group as the root, whatever path it is told', async () => {
    await tell({
      'proc/self/cgroup': '0::/../../kubepods/pod7/abc\n', 'sys/fs/cgroup/memory.max': `${String(gibibyte)}\n`,
      'sys/fs/cgroup/memory.current': '1000000000\n', 'sys/fs/cgroup/memory.stat': stat(''),
    })
    expect(await groupMemory(machineBytes, root)).toEqual(held)
  })

  it('is nobody\'s where there is no limit, none below the memory of the machine, or no control groups', async () => {
    expect(await groupMemory(machineBytes, root)).toBeNull()
    await tell({ 'proc/self/cgroup': '0::/\n', 'sys/fs/cgroup/memory.max': 'max\n', 'sys/fs/cgroup/memory.current': '5\n' })
    expect(await groupMemory(machineBytes, root)).toBeNull()
    await tell({ 'proc/self/cgroup': '4:memory:/\n0::/\n', 'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n' })
    expect(await groupMemory(machineBytes, root)).toBeNull()
  })
})
