/** Runs one round in a trainer child: low priority, bounded in time and memory, ended when asked. */
import { getPriority, setPriority } from 'node:os'
import { readFile } from 'node:fs/promises'
import { trainerEnvironment, trainerProcess, type RoundEvent, type RoundFailure, type RoundResult, type RoundSpec, type TrainerReply, type TrainerRequest } from '../../trainer/index.js'
import { ended, forkModule } from '../lib/child.js'

export type RoundOutcome =
  | { ok: true; result: RoundResult }
  | { ok: false; reason: RoundFailure; message: string }

export interface RoundRunOptions {
  /** The trainer's program. */
  module?: URL
  /** Added to the round's own minutes before it is ended by force. */
  graceMs: number
  maxMemoryMb: number
  signal: AbortSignal
  onEvent: (event: RoundEvent) => void
}

/** Nice value of the trainer: it takes what the rest leaves. */
const lowPriority = 10
const memoryPollMs = 1000
/** From the request to stop to the kill: the last step must end, and its checkpoint reach the disk. */
const stopMs = 4000

/** Never raises: a round that fails is an outcome. */
export async function runInChild(spec: RoundSpec, options: RoundRunOptions): Promise<RoundOutcome> {
  const { module = trainerProcess, graceMs, maxMemoryMb, signal, onEvent } = options
  if (signal.aborted) return { ok: false, reason: 'stopped', message: 'the agent is stopping' }
  const child = forkModule(module, {
    serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env: { ...process.env, ...trainerEnvironment },
  })
  let outcome: RoundOutcome | null = null
  const fail = (reason: RoundFailure, message: string) => {
    outcome ??= { ok: false, reason, message }
    child.kill('SIGKILL')
  }
  child.on('error', cause => { fail('crashed', cause.message) })
  child.on('message', (reply: TrainerReply) => {
    if (reply.type === 'event') onEvent(reply.event)
    else if (reply.type === 'result') outcome ??= { ok: true, result: reply.result }
    else outcome ??= { ok: false, reason: reply.reason, message: reply.message }
  })
  // An agent that was itself started lower may not raise its child.
  if (child.pid !== undefined) setPriority(child.pid, Math.max(lowPriority, getPriority()))
  const timers = [
    setInterval(() => {
      void residentMb(child.pid).then(mb => {
        if (mb > maxMemoryMb) fail('out-of-memory', `the trainer held ${String(Math.round(mb))} MB, more than rounds.maxMemoryMb (${String(maxMemoryMb)})`)
      })
    }, memoryPollMs),
  ]
  if (spec.minutes !== null) {
    const limitMs = spec.minutes * 60_000 + graceMs
    timers.push(setTimeout(() => { fail('out-of-time', `the trainer had not ended after ${String(Math.round(limitMs / 1000))} s`) }, limitMs))
  }
  const stop = () => {
    child.send({ type: 'stop' } satisfies TrainerRequest, () => undefined)
    timers.push(setTimeout(() => { fail('stopped', 'the agent is stopping') }, stopMs))
  }
  signal.addEventListener('abort', stop)
  child.send({ type: 'round', spec } satisfies TrainerRequest, () => undefined)
  const { code, signal: killedBy } = await ended(child)
  signal.removeEventListener('abort', stop)
  for (const timer of timers) clearTimeout(timer)
  const how = `the trainer ended with ${killedBy ?? `code ${String(code)}`} before it answered`
  return outcome ?? { ok: false, reason: signal.aborted ? 'stopped' : 'crashed', message: how }
}

/** Resident memory of a process; 0 where the system does not tell. */
async function residentMb(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8').catch(() => '')
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024
}
