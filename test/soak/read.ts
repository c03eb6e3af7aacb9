/** What a running daemon holds, as the system tells it. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Daemon } from '../site/daemon.js'
import type { Reading } from './verdict.js'

/** Null while a process comes or goes. A round's process is none that lasts: it does not count. */
export async function read(daemon: Daemon, data: string): Promise<Reading['values'] | null> {
  const children = (await daemon.children()).filter(({ program }) => !program.includes('trainer/'))
  const classifiers = children.filter(({ program }) => program.includes('classifier/process'))
  const [agent, classifier, descriptors] = await Promise.all([
    statusOf(daemon.pid),
    Promise.all(classifiers.map(({ pid }) => statusOf(pid))),
    readdir(`/proc/${String(daemon.pid)}/fd`).then(names => names.length, () => 0),
  ])
  if (agent.residentMb === 0 || classifier.some(({ residentMb }) => residentMb === 0)) return null
  const { files, bytes } = await sizeOf(data)
  return {
    agentMb: agent.residentMb, classifierMb: classifier.reduce((sum, { residentMb }) => sum + residentMb, 0), descriptors, children: children.length,
    threads: agent.threads, files, dataMb: bytes / 1e6,
  }
}

async function statusOf(pid: number): Promise<{ residentMb: number; threads: number }> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8').catch(() => '')
  const number = (pattern: RegExp) => Number(pattern.exec(status)?.[1] ?? 0)
  return { residentMb: number(/VmRSS:\s+(\d+) kB/) / 1024, threads: number(/Threads:\s+(\d+)/) }
}

/** What is not of a round that is running. */
async function sizeOf(folder: string): Promise<{ files: number; bytes: number }> {
  const names = (await readdir(folder, { recursive: true }).catch(() => [])).filter(name => !/^(rounds|records)\//.test(name))
  const sizes = await Promise.all(names.map(name => stat(join(folder, name)).then(found => (found.isFile() ? found.size : 0), () => 0)))
  return { files: names.length, bytes: sizes.reduce((sum, size) => sum + size, 0) }
}
