/**
 * How a round shares the machine: between two pieces of work it asks for its next turn, which comes when nothing wants it to stand still and it
 * has rested enough. Turns decide when something is computed, never what.
 */
import { availableParallelism } from 'node:os'
import { setImmediate as others, setTimeout as sleep } from 'node:timers/promises'

export interface TurnsOptions {
  /** Ends the round: the next turn raises what it was aborted with. */
  signal: AbortSignal
  /** Share of all processor cores that this process may take, in the mean over a few seconds; 1: all. */
  cpuShare?: number
  /** The round stands still from now on, because of this; null: it goes on. */
  onPause?: (reason: string | null) => void
}

/** Time that a round is ahead of its share at most: what it did not use it cannot save up. */
const mostCreditMs = 1000
/** Shorter rests are put off. */
const leastRestMs = 10

export class Turns {
  readonly signal: AbortSignal
  private readonly onPause: (reason: string | null) => void
  private readonly share: Share | null
  /** Why the next turn has to wait; null: it does not. */
  private reason: string | null = null
  private goOn: () => void = () => undefined
  private mayGoOn = Promise.resolve()
  private standingSinceMs: number | null = null
  private stoodMs = 0

  constructor({ signal, cpuShare = 1, onPause = () => undefined }: TurnsOptions) {
    this.signal = signal
    this.onPause = onPause
    this.share = cpuShare < 1 ? new Share(cpuShare) : null
    signal.addEventListener('abort', () => { this.goOn() }, { once: true })
  }

  /** Milliseconds from an arbitrary start, of which pauses are no part; rests are. */
  nowMs(): number {
    return (this.standingSinceMs ?? performance.now()) - this.stoodMs
  }

  /** The turns that are still to come wait until `resume`. */
  pause(reason: string): void {
    if (this.reason === null) this.mayGoOn = new Promise(resolve => { this.goOn = resolve })
    this.reason = reason
  }

  resume(): void {
    this.reason = null
    this.goOn()
  }

  /** Gives the thread away, waits while the round is to stand still, rests as its share demands. Errors: what `signal` was aborted with. */
  async next(): Promise<void> {
    await others()
    while (this.reason !== null && !this.signal.aborted) await this.standStill(this.reason)
    this.signal.throwIfAborted()
    const restMs = this.share?.owedMs() ?? 0
    if (restMs < leastRestMs) return
    await sleep(restMs, undefined, { signal: this.signal }).catch(() => undefined)
    this.signal.throwIfAborted()
  }

  /** Several may wait at once; the time counts once. */
  private async standStill(reason: string): Promise<void> {
    if (this.standingSinceMs === null) {
      this.standingSinceMs = performance.now()
      this.onPause(reason)
    }
    await this.mayGoOn
    if (this.reason !== null || this.standingSinceMs === null) return
    this.stoodMs += performance.now() - this.standingSinceMs
    this.standingSinceMs = null
    this.share?.forgive()
    this.onPause(null)
  }
}

/** Processor time of the whole process against the time that has passed. */
class Share {
  private readonly msPerCpuMs: number
  private atMs = performance.now()
  private cpuMs = cpuMs()
  /** What the round has taken beyond its share, as milliseconds of rest. */
  private debtMs = 0

  constructor(share: number) {
    this.msPerCpuMs = 1 / (share * availableParallelism())
  }

  owedMs(): number {
    const [atMs, used] = [performance.now(), cpuMs()]
    this.debtMs = Math.max(-mostCreditMs, this.debtMs + (used - this.cpuMs) * this.msPerCpuMs - (atMs - this.atMs));
    [this.atMs, this.cpuMs] = [atMs, used]
    return this.debtMs
  }

  /** A pause pays no debt and earns no credit. */
  forgive(): void {
    [this.atMs, this.cpuMs] = [performance.now(), cpuMs()]
  }
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
