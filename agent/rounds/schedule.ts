/** When a round starts: by the cron schedule, by enough new frames, on command, at once when there is no model. Never two at a time. */
import { schedule as cron, type ScheduledTask } from 'node-cron'
import type { Clock } from '../lib/clock.js'

export type Trigger = 'first' | 'schedule' | 'missed' | 'frames' | 'command'

export interface ScheduleOptions {
  expression: string
  /** New frames that start a round; 0: none do. */
  newFrames: number
  clock: Clock
  /** Runs one round to its end; its errors are its own. */
  run: (trigger: Trigger) => Promise<void>
  /** When the last round ended, from the registry; null: never. */
  lastRoundAtMs: number | null
}

export class Schedule {
  private readonly options: ScheduleOptions
  private task: ScheduledTask | null = null
  private running: Promise<void> | null = null
  private frames = 0

  constructor(options: ScheduleOptions) {
    this.options = options
  }

  get busy(): boolean {
    return this.running !== null
  }

  /** Starts to follow the schedule. A run that was due while the box was down is made up for at once. */
  start({ hasModel }: { hasModel: boolean }): void {
    const { expression, clock, lastRoundAtMs } = this.options
    this.task = cron(expression, () => { this.trigger('schedule') }, { noOverlap: true, name: 'round' })
    if (!hasModel) this.trigger('first')
    else if (lastRoundAtMs !== null) {
      const next = this.task.getNextRun()
      const dueEveryMs = next ? intervalOf(this.task, next, clock.nowMs()) : Number.POSITIVE_INFINITY
      if (clock.nowMs() - lastRoundAtMs > dueEveryMs) this.trigger('missed')
    }
  }

  /** Starts a round unless one is running; says whether it did. */
  trigger(trigger: Trigger): boolean {
    if (this.running) return false
    this.frames = 0
    this.running = this.options.run(trigger).finally(() => { this.running = null })
    return true
  }

  frameStored(): void {
    this.frames++
    const { newFrames } = this.options
    if (newFrames > 0 && this.frames >= newFrames) this.trigger('frames')
  }

  async stop(): Promise<void> {
    await this.task?.destroy()
    await this.running
  }
}

/** The time between two runs of the schedule around now. */
function intervalOf(task: ScheduledTask, next: Date, nowMs: number): number {
  const [first, second] = task.getNextRuns(2)
  return first && second ? second.getTime() - first.getTime() : next.getTime() - nowMs
}
