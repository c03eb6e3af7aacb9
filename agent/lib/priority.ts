import { execFile } from 'node:child_process'
import { constants, getPriority, setPriority } from 'node:os'

export type Priority = 'idle' | 'low'

/**
 * Lets a process, with all threads that it has and will have, give way. idle: it takes only what others leave, by Linux's scheduling class for
 * that (SCHED_IDLE, sched(7)) where util-linux's `chrt` is there, and the lowest priority. low: a little also where others take all there is.
 */
export function giveWay(pid: number, priority: Priority): void {
  const { PRIORITY_LOW, PRIORITY_BELOW_NORMAL } = constants.priority
  // An agent that was itself started lower may not raise its child.
  setPriority(pid, Math.max(priority === 'idle' ? PRIORITY_LOW : PRIORITY_BELOW_NORMAL, getPriority()))
  if (priority === 'idle') execFile('chrt', ['--idle', '--all-tasks', '--pid', '0', String(pid)], () => undefined)
}
