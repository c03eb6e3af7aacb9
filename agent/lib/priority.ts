import { writeFile } from 'node:fs/promises'
import { constants, getPriority, setPriority } from 'node:os'
import { runProgram } from './program.js'

export type Priority = 'idle' | 'low'

/**
 * Lets a process, with all threads that it has and will have, give way. idle: it takes only what others leave, by Linux's scheduling class for
 * that (SCHED_IDLE, sched(7)) where util-linux's `chrt` is there, and the lowest priority. low: a little also where others take all there is. Where
 * memory runs out, the kernel ends it first (oom_score_adj, proc_pid_oom_score_adj(5)). One that has ended already is left alone.
 */
export function giveWay(pid: number, priority: Priority): void {
  const { PRIORITY_LOW, PRIORITY_BELOW_NORMAL } = constants.priority
  // An agent that was itself started lower may not raise its child.
  const wanted = Math.max(priority === 'idle' ? PRIORITY_LOW : PRIORITY_BELOW_NORMAL, getPriority())
  try {
    setPriority(pid, wanted)
  } catch {
    return
  }
  void writeFile(`/proc/${String(pid)}/oom_score_adj`, '500').catch(() => undefined)
  if (priority === 'idle') void runProgram('chrt', ['--idle', '--all-tasks', '--pid', '0', String(pid)])
}
