/** Runs one round in a trainer child: at the lowest priority, within its limits, standing still when it should, ended when asked. */
import type { ChildProcess } from 'node:child_process'
import { totalmem } from 'node:os'
import { trainerEnvironment, trainerProcess, type RoundEvent, type RoundFailure, type RoundResult, type RoundSpec, type TrainerReply, type TrainerRequest } from '../../trainer/index.js'
import type { Config } from '../config.js'
import { ended, forkModule } from '../lib/child.js'
import { groupMemory, type GroupMemory } from '../lib/control-group.js'
import { giveWay } from '../lib/priority.js'
import { gpuMemoryMb, residentMb } from './memory.js'

export type RoundOutcome =
  | { ok: true; result: RoundResult }
  | { ok: false; reason: RoundFailure; message: string }

/** What says when the round should stand still; hears when it does. */
export interface RoundBrake {
  reason: () => Promise<string | null>
  working: boolean
}

export interface RoundRunOptions {
  /** The trainer's program. */
  module?: URL
  /** The memory of the container; null: it has no limit of its own. */
  container?: () => Promise<GroupMemory | null>
  /** Added to the round's own minutes before it is ended by force. */
  graceMs: number
  limits: Pick<Config['rounds'], 'maxMemoryMb' | 'maxGpuMemoryMb' | 'cpuShare' | 'priority'>
  brake: RoundBrake
  /** The agent ends: there is little time. */
  signal: AbortSignal
  /** The round is to stop, in its own time. */
  closing: AbortSignal
  onEvent: (event: RoundEvent) => void
}

const lookEveryMs = 1000
/** Part of a container's memory at which a round is ended: at all of it the kernel would end processes, by its own choice. */
const groupShare = 0.9
/** A look at the GPU's memory starts a program. */
const gpuLookEveryMs = 10_000
/** From the request to stop to the kill: the last step must end, and its checkpoint reach the disk. */
const stopMs = { signal: 4000, closing: 60_000 } as const

/** Never raises: a round that fails is an outcome. */
export async function runInChild(spec: RoundSpec, options: RoundRunOptions): Promise<RoundOutcome> {
  const { module = trainerProcess, limits, brake, signal, closing } = options
  if (signal.aborted || closing.aborted) return { ok: false, reason: 'stopped', message: 'the agent is stopping' }
  const child = forkModule(module, {
    serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env: { ...process.env, ...trainerEnvironment },
  })
  const round = new Round(child, spec, options)
  if (child.pid !== undefined) giveWay(child.pid, limits.priority)
  brake.working = true
  round.ask({ type: 'round', spec, cpuShare: limits.cpuShare })
  const look = setInterval(() => { void round.look() }, lookEveryMs)
  const stops = ([['signal', signal], ['closing', closing]] as const).map(([why, when]) => {
    const stop = () => { round.stop(stopMs[why]) }
    when.addEventListener('abort', stop)
    return () => { when.removeEventListener('abort', stop) }
  })
  const { code, signal: killedBy } = await ended(child)
  clearInterval(look)
  round.end()
  for (const forget of stops) forget()
  brake.working = false
  const how = `the trainer ended with ${killedBy ?? `code ${String(code)}`} before it answered`
  return round.outcome ?? { ok: false, reason: signal.aborted || closing.aborted ? 'stopped' : 'crashed', message: how }
}

const megabytesOf = (bytes: number) => String(Math.round(bytes / 2 ** 20))

class Round {
  outcome: RoundOutcome | null = null
  private readonly child: ChildProcess
  private readonly options: RoundRunOptions
  /** Milliseconds of its own that it may take; null: as many as it likes. */
  private readonly limitMs: number | null
  private spentMs = 0
  private lookedAtMs = performance.now()
  private gpuLookedAtMs = -Infinity
  private onGpu = false
  /** Whether it was asked to stand still, and whether it does. */
  private askedToStand = false
  private stands = false
  private looking = false
  private killTimer: NodeJS.Timeout | null = null

  constructor(child: ChildProcess, { minutes }: RoundSpec, options: RoundRunOptions) {
    this.child = child
    this.options = options
    // What is not bounded by the clock takes longer at a share of the processor.
    this.limitMs = minutes === null ? null : minutes * 60_000 + options.graceMs / options.limits.cpuShare
    child.on('error', cause => { this.fail('crashed', cause.message) })
    child.on('message', (reply: TrainerReply) => { this.hear(reply) })
  }

  ask(request: TrainerRequest): void {
    // One that has ended is noticed by its end.
    if (this.child.connected) this.child.send(request, () => undefined)
  }

  /** Lets it stop by itself, and insists after a while. */
  stop(withinMs: number): void {
    this.ask({ type: 'stop' })
    if (this.killTimer) clearTimeout(this.killTimer)
    this.killTimer = setTimeout(() => { this.fail('stopped', 'it was to stop, and did not in time') }, withinMs)
  }

  end(): void {
    if (this.killTimer) clearTimeout(this.killTimer)
  }

  /** Its time, its memory, and whether it should stand still. */
  async look(): Promise<void> {
    if (this.looking) return
    this.looking = true
    try {
      this.spend()
      await this.lookAtMemory()
      await this.lookAtBrake()
    } finally {
      this.looking = false
    }
  }

  private hear(reply: TrainerReply): void {
    switch (reply.type) {
      case 'event':
        if (reply.event.type === 'engine') this.onGpu = reply.event.device === 'cuda'
        if (reply.event.type === 'pause') this.stand(reply.event.reason !== null)
        this.options.onEvent(reply.event)
        return
      case 'result':
        this.outcome ??= { ok: true, result: reply.result }
        return
      case 'failed': this.outcome ??= { ok: false, reason: reply.reason, message: reply.message }
    }
  }

  private fail(reason: RoundFailure, message: string): void {
    this.outcome ??= { ok: false, reason, message }
    this.child.kill('SIGKILL')
  }

  private stand(stands: boolean): void {
    this.spend()
    this.stands = stands
    this.options.brake.working = !stands
  }

  /** Counts the time since the last look, unless the round stood still: one that hangs does not, whatever it was asked. */
  private spend(): void {
    const nowMs = performance.now()
    if (!this.stands) this.spentMs += nowMs - this.lookedAtMs
    this.lookedAtMs = nowMs
    if (this.limitMs !== null && this.spentMs > this.limitMs) {
      this.fail('out-of-time', `the trainer had not ended after ${String(Math.round(this.limitMs / 1000))} s`)
    }
  }

  private async lookAtMemory(): Promise<void> {
    const { child: { pid }, options: { limits: { maxMemoryMb, maxGpuMemoryMb } } } = this
    if (pid === undefined) return
    const check = (megabytes: number, most: number, key: string, where: string) => {
      if (megabytes > most) this.fail('out-of-memory', `the trainer held ${String(Math.round(megabytes))} MB${where}, more than rounds.${key} (${String(most)})`)
    }
    const heldMb = await residentMb(pid)
    check(heldMb, maxMemoryMb, 'maxMemoryMb', '')
    const { container = () => groupMemory(totalmem()) } = this.options
    const group = await container()
    if (group && group.usedBytes > groupShare * group.limitBytes) {
      this.fail('out-of-memory', `the container held ${megabytesOf(group.usedBytes)} of the ${megabytesOf(group.limitBytes)} MB that it may (the trainer is ${String(Math.round(heldMb))} MB, pages of files included): give it more memory, or take a smaller rounds.preset or fewer rounds.lanes`)
    }
    if (maxGpuMemoryMb === 0 || !this.onGpu || performance.now() - this.gpuLookedAtMs < gpuLookEveryMs) return
    this.gpuLookedAtMs = performance.now()
    check(await gpuMemoryMb(pid), maxGpuMemoryMb, 'maxGpuMemoryMb', ' on the GPU')
  }

  private async lookAtBrake(): Promise<void> {
    const reason = await this.options.brake.reason()
    if (this.askedToStand === (reason !== null)) return
    this.askedToStand = reason !== null
    if (reason === null && this.stands) this.stand(false)
    this.ask({ type: 'pause', reason })
  }
}
