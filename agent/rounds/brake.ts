/** Why a round should stand still: the box is hot, or predictions come late. */
import type { Config } from '../config.js'
import type { Clock } from '../lib/clock.js'
import { Heat } from './heat.js'
import { Lateness } from './lateness.js'

export interface BrakeOptions {
  config: Pick<Config['rounds'], 'pauseAboveCelsius' | 'pauseAboveLatency'>
  clock: Clock
  /** Degrees of the hottest place; null: nobody knows. */
  celsius?: () => Promise<number | null>
}

export class Brake {
  private readonly heat: Heat
  private readonly lateness: Lateness

  constructor({ config, clock, celsius }: BrakeOptions) {
    this.heat = new Heat({ limit: config.pauseAboveCelsius, celsius })
    this.lateness = new Lateness({ multiple: config.pauseAboveLatency, clock })
  }

  /** A frame was answered, or given up, after so many milliseconds. */
  observe(latencyMs: number): void {
    this.lateness.observe(latencyMs)
  }

  /** Whether a round computes from now on. */
  set working(isWorking: boolean) {
    this.lateness.working = isWorking
  }

  /** In words; null: it may work. */
  async reason(): Promise<string | null> {
    return await this.heat.reason() ?? this.lateness.reason()
  }
}
