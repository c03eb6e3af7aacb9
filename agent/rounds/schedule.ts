/** When a round starts: by the cron schedule, by enough new frames, on command, at once when there is no model. Never two at a time. */
import { parse, schedule as cron, type ScheduledTask } from 'node-cron'
import type { Clock } from '../lib/clock.js'

export type Trigger = 'first' | 'interrupted' | 'schedule' | 'missed' | 'frames' | 'command'

const minuteMs = 60_000
/** How far back a missed run is looked for: a month, so that the start of a box never waits for it. */
const lookBackMs = 31 * 24 * 60 * minuteMs

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
  private stopped = false

  constructor(options: ScheduleOptions) {
    this.options = options
  }

  get busy(): boolean {
    return this.running !== null
  }

  /** Starts to follow the schedule. A round that was interrupted, or a run that was due while the box was down, is made up for at once. */
  start({ hasModel, interrupted }: { hasModel: boolean; interrupted: boolean }): void {
    const { expression, clock, lastRoundAtMs } = this.options
    this.task = cron(expression, () => { this.trigger('schedule') }, { noOverlap: true, name: 'round' })
    if (interrupted) this.trigger('interrupted')
    else if (!hasModel) this.trigger('first')
    else if (lastRoundAtMs !== null && wasDue(this.task, expression, lastRoundAtMs, clock.nowMs())) this.trigger('missed')
  }

  /** Starts a round unless one is running or the schedule was stopped; says whether it did. */
  trigger(trigger: Trigger): boolean {
    if (this.running || this.stopped) return false
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
    this.stopped = true
    await this.task?.destroy()
    await this.running
  }
}

/** Whether the expression had a run after one time and until another: minute by minute, since runs need not be evenly spaced. */
function wasDue(task: ScheduledTask, expression: string, afterMs: number, untilMs: number): boolean {
  const [second = 0] = parse(expression).second
  const oldestMs = Math.max(afterMs, untilMs - lookBackMs)
  for (let atMs = Math.floor(untilMs / minuteMs) * minuteMs + second * 1000; atMs > oldestMs; atMs -= minuteMs) {
    if (atMs <= untilMs && task.match(new Date(atMs))) return true
  }
  return false
}
