import { execFile } from 'node:child_process'
import { constants, getPriority, setPriority } from 'node:os'

/**
 * Lets a process take only what others leave, with all threads that it has and will have: Linux's scheduling class for that (SCHED_IDLE,
 * sched(7)) where util-linux's `chrt` is there, and the lowest priority.
 */
export function giveWay(pid: number): void {
  // An agent that was itself started lower may not raise its child.
  setPriority(pid, Math.max(constants.priority.PRIORITY_LOW, getPriority()))
  execFile('chrt', ['--idle', '--all-tasks', '--pid', '0', String(pid)], () => undefined)
}
