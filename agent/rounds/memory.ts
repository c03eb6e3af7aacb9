/** What a process holds, in megabytes (10⁶ bytes of the GPU's, 2²⁰ of the box's, as each is told). */
import { readFile } from 'node:fs/promises'
import { runProgram } from '../lib/program.js'

/** Resident memory; 0 where the system does not tell. */
export async function residentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8').catch(() => '')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024
}

/**
 * Memory on NVIDIA's GPUs, by the driver's own program: onnxruntime-node passes on no limit of CUDA's allocator. 0 where there is no such program, or
 * it does not know the process, as in some containers.
 */
export async function gpuMemoryMb(pid: number): Promise<number> {
  const told = await runProgram('nvidia-smi', ['--query-compute-apps=pid,used_memory', '--format=csv,noheader,nounits'])
  const own = told instanceof Error ? [] : told.split('\n').map(line => line.split(',').map(Number)).filter(([owner]) => owner === pid)
  // One row for each GPU that it uses; "[N/A]" where the driver does not tell.
  return own.reduce((sum, [, megabytes = 0]) => sum + (Number.isFinite(megabytes) ? megabytes : 0), 0)
}
