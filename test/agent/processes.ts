/** What a process and all that it has started cost, as Linux counts it. */
import { execFileSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'

/** A process with all that it has started, at one moment. */
export interface Cost {
  atMs: number
  /** Processor time since their start, also of those that have ended. */
  cpuSeconds: number
  processes: { program: string; rssMb: number; pssMb: number }[]
}

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

export async function costOf(pid: number): Promise<Cost> {
  const pids = await treeOf(pid)
  const [ticks, processes] = await Promise.all([Promise.all(pids.map(ticksOf)), Promise.all(pids.map(memoryOf))])
  return { atMs: performance.now(), cpuSeconds: sum(ticks) / ticksPerSecond, processes }
}

/** Share of one core, between two moments. */
export function coreShare(from: Cost, to: Cost): number {
  return 1000 * (to.cpuSeconds - from.cpuSeconds) / (to.atMs - from.atMs)
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

async function treeOf(pid: number): Promise<number[]> {
  const children = (await read(pid, `task/${String(pid)}/children`)).trim().split(' ').filter(Boolean).map(Number)
  return [pid, ...(await Promise.all(children.map(treeOf))).flat()]
}

/** utime, stime, and those of its ended children, proc(5): fields 14 to 17. */
async function ticksOf(pid: number): Promise<number> {
  const text = await read(pid, 'stat')
  return sum(text.slice(text.lastIndexOf(')') + 2).split(' ').slice(11, 15).map(Number))
}

async function memoryOf(pid: number): Promise<Cost['processes'][number]> {
  const [command, memory] = [await read(pid, 'cmdline'), await read(pid, 'smaps_rollup')]
  const megabytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(memory)?.[1] ?? 0) * 1024 / 1e6
  const words = command.split('\0')
  const name = (path = '') => path.split('/').at(-1) ?? ''
  return { program: name(words[0]) === 'node' ? name(words[1]) : name(words[0]), rssMb: megabytes('Rss'), pssMb: megabytes('Pss') }
}

/** "" of a process that has ended meanwhile. */
function read(pid: number, file: string): Promise<string> {
  return readFile(`/proc/${String(pid)}/${file}`, 'utf8').catch(() => '')
}
