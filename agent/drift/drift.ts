/** The monitor with its memory: what the agent constructs. */
import type { Config } from '../config.js'
import type { Clock } from '../lib/clock.js'
import type { DriftAlarm, DriftEvent } from './alarm.js'
import { DriftMemory } from './memory.js'
import { DriftMonitor, type Sample } from './monitor.js'

export interface DriftOptions {
  config: Config['drift']
  /** Where it is remembered over a restart. */
  folder: string
  clock: Clock
  onEvent: (event: DriftEvent) => void
  onProblem: (message: string) => void
}

export class Drift {
  private readonly monitor: DriftMonitor
  private readonly memory: DriftMemory

  constructor({ folder, onEvent, onProblem, ...options }: DriftOptions) {
    this.memory = new DriftMemory({ folder, onProblem })
    this.monitor = new DriftMonitor({
      ...options,
      onGathered: gathered => { this.memory.keepReference(gathered) },
      onEvent: event => {
        if (event.state === 'alarm') this.memory.keepAlarm(event.alarm)
        if (event.state === 'over') this.memory.keepAlarm(null)
        onEvent(event)
      },
    })
  }

  get alarm(): DriftAlarm | null {
    return this.monitor.alarm
  }

  async start(): Promise<void> {
    this.monitor.recall(await this.memory.read())
  }

  /** A model serves from now on. */
  begin(model: number): void {
    this.monitor.begin(model)
  }

  observe(sample: Sample): void {
    this.monitor.observe(sample)
  }

  async stop(): Promise<void> {
    await this.memory.stop()
  }
}
