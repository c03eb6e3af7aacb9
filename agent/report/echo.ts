/**
 * Whether the broker passes on what this box says. MQTT 3.1.1 has no word for a refusal: a broker whose access list forbids a message acknowledges
 * it and drops it. So the box listens for its own `availability`; until that has come back, events wait on disk.
 */
import { setTimeout as sleep } from 'node:timers/promises'

export interface EchoOptions {
  /** From the broker's acknowledgement until it must have come back, milliseconds. */
  withinMs: number
  onHeard: () => void
  /** It did not come back. */
  onMissing: () => void
  /** Some time later: it is to be said anew, with everything else that was dropped. */
  onAgain: () => void
}

/** Multiples of `withinMs` from one try to the next. */
const againAfter = 6

export class Echo {
  private readonly options: EchoOptions
  private connection: AbortController | null = null
  private waiting: AbortSignal | null = null
  private state: 'unknown' | 'heard' | 'missing' = 'unknown'

  constructor(options: EchoOptions) {
    this.options = options
  }

  get isHeard(): boolean {
    return this.state === 'heard'
  }

  get isMissing(): boolean {
    return this.state === 'missing'
  }

  up(): void {
    this.connection = new AbortController()
    this.state = 'unknown'
  }

  down(): void {
    this.connection?.abort()
    this.connection = null
  }

  /** The broker has acknowledged it. */
  said(): void {
    const signal = this.connection?.signal
    if (signal && !this.isHeard && this.waiting !== signal) void this.wait(signal)
  }

  heard(): void {
    if (!this.connection || this.isHeard) return
    this.state = 'heard'
    this.options.onHeard()
  }

  private async wait(signal: AbortSignal): Promise<void> {
    const { withinMs, onMissing, onAgain } = this.options
    this.waiting = signal
    try {
      await sleep(withinMs, undefined, { signal, ref: false })
      if (this.isHeard) return
      this.state = 'missing'
      onMissing()
      await sleep((againAfter - 1) * withinMs, undefined, { signal, ref: false })
    } catch {
      // The connection is gone: with the next one it is said anew.
      return
    }
    this.waiting = null
    if (!this.isHeard) onAgain()
  }
}
