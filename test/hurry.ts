import { readFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'

/**
 * Gives the rounds that this process has begun the rank of their test again, where that is allowed: they have but seconds, and would give way to
 * other tests.
 */
export function hurry(): void {
  const pids = readFileSync(`/proc/self/task/${String(process.pid)}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)
  try {
    for (const pid of pids) setPriority(pid, getPriority())
  } catch {
    // Only who may is in a hurry.
  }
}
