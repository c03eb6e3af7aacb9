/**
 * When a round starts, and when it has to make way.
 *
 * INVARIANTS
 * - Never two at a time.
 * - What makes a round due is kept until a round has begun: it outlasts a round that is running (but for a time of the schedule, which that round
 *   answers), one that could not begin, the hours outside the windows, and a pause of all learning. A command does not wait: it starts a round or
 *   is refused.
 * - Outside the windows no round begins or goes on, but the first, without which nothing serves, and one on command.
 * - A model from elsewhere is judged when no round of this box's own is due, and such a round answers nothing that makes one due.
 */
import { createTask, parse, type ScheduledTask } from 'node-cron'
import type { Config } from '../config.js'
import { Backoff } from '../lib/backoff.js'
import type { Clock } from '../lib/clock.js'
import { isOpen, windowOf, type Window } from './windows.js'

export type Trigger = 'first' | 'interrupted' | 'schedule' | 'missed' | 'drift' | 'labels' | 'frames' | 'command' | 'offer'

const minuteMs = 60_000
/** How far back a missed run is looked for: a month, so that the start of a box never waits for it. */
const lookBackMs = 31 * 24 * 60 * minuteMs
const lookEveryMs = 1000
/** From a round that could not begin to the next try, unless somebody adds labels. */
const again = { firstMs: minuteMs, longestMs: 60 * minuteMs, random: () => 1 }

/** What is looked at to see whether a round is due. */
export interface Surroundings {
  /** False: a person has paused learning. What is due waits. */
  mayLearn: () => boolean
  hasModel: () => boolean
  /** Whether a round that was begun waits to be taken up again. */
  interrupted: () => boolean
  /** When the alarm that stands was raised; null: there is none. */
  driftAlarmAtMs: () => number | null
  /** Labels that were put there after a time. */
  labelsSince: (ms: number) => number
  /** Whether a model that another box made waits to be judged. */
  offered: () => boolean
  /** When the newest label was put there; 0: there are none. */
  newestLabelAtMs: () => number
}

export interface ScheduleOptions {
  config: Pick<Config['rounds'], 'schedule' | 'windows' | 'newFrames' | 'newLabels' | 'onDrift'>
  clock: Clock
  surroundings: Surroundings
  /** When the last round began, from the registry; null: never. */
  lastRoundAtMs: number | null
  /** Frames stored since. */
  framesSince: number
  /** Runs one round to its end, or until `closing` stops it, and calls `began` once it learns; says why it did not begin. Its errors are its own. */
  run: (trigger: Trigger, closing: AbortSignal, began: () => void) => Promise<string | null>
}

interface Running {
  ended: Promise<void>
  closing: AbortController
  /** Whether it needs no window. */
  exempt: boolean
  /** Whether it learns, and so answers what made it due. */
  learns: boolean
}

export class Schedule {
  private readonly options: ScheduleOptions
  private readonly windows: readonly Window[]
  private task: ScheduledTask | null = null
  private timer: NodeJS.Timeout | null = null
  /** By the time of day: timers that wait for one would sleep through a clock that is set back, and count through one that is set forward. */
  private lookedAtMs = 0
  /** How far the clock on the wall has come: an hour that it repeats has been. */
  private followedMs = 0
  private running: Running | null = null
  private stopped = false
  /** A time of the schedule, or the start, that no round has answered yet. */
  private due: 'first' | 'missed' | 'schedule' | null = null
  private frames: number
  /** Labels that were put there later are new. */
  private labelsFromMs: number
  /** When the alarm was raised that the last round answered. */
  private answeredAlarmMs: number | null = null
  private readonly backoff = new Backoff(again)
  /** Until when a round that could not begin is not tried again, and from when on a label is one that it did not have; null: the last one began. */
  private refused: { untilMs: number; labelsFromMs: number } | null = null

  constructor(options: ScheduleOptions) {
    this.options = options
    this.windows = options.config.windows.map(windowOf).filter(window => window !== null)
    this.frames = options.framesSince
    this.labelsFromMs = options.lastRoundAtMs ?? options.clock.nowMs()
  }

  get busy(): boolean {
    return this.running !== null
  }

  /** Starts to follow the schedule. A round that was interrupted, or a run that was due while the box was down, is made up for at once. */
  start(): void {
    const { config, clock, surroundings, lastRoundAtMs } = this.options
    this.task = createTask(config.schedule, () => undefined, { timezone: 'UTC' })
    this.lookedAtMs = clock.nowMs()
    this.followedMs = onTheWall(this.lookedAtMs)
    this.timer = setInterval(() => { this.look() }, lookEveryMs)
    const alarmMs = surroundings.driftAlarmAtMs()
    if (alarmMs !== null && lastRoundAtMs !== null && alarmMs < lastRoundAtMs) this.answeredAlarmMs = alarmMs
    if (!surroundings.hasModel()) this.due = 'first'
    else if (lastRoundAtMs !== null && wasDue(this.task, config.schedule, onTheWall(lastRoundAtMs), this.followedMs)) this.due = 'missed'
    this.look()
  }

  /** Starts a round, and waits until it has begun; why it has not, else null. */
  async command(): Promise<string | null> {
    if (this.stopped) return 'the agent ends'
    if (this.running) return 'a round is running already'
    if (!this.options.surroundings.mayLearn()) return 'learning is paused; `pawl models follow` goes on'
    return await this.begin('command')
  }

  frameStored(): void {
    this.frames++
    this.look()
  }

  async stop(): Promise<void> {
    this.stopped = true
    if (this.timer) clearInterval(this.timer)
    await this.task?.destroy()
    await this.running?.ended
  }

  /** Whether a time of the schedule has come since it was looked last. What a clock jumped over is as if the box had been down. */
  private follow(): void {
    const { task, lookedAtMs, followedMs, options: { clock, config } } = this
    const nowMs = clock.nowMs()
    const wallMs = onTheWall(nowMs)
    const setBack = nowMs < lookedAtMs
    this.lookedAtMs = nowMs
    this.followedMs = setBack ? wallMs : Math.max(wallMs, followedMs)
    if (!task || this.running?.learns || setBack || wallMs <= followedMs) return
    const late = wallMs - followedMs > minuteMs
    if (late && wasDue(task, config.schedule, followedMs, wallMs)) this.due ??= 'missed'
    if (!late && secondsBetween(followedMs, wallMs).some(atMs => task.match(new Date(atMs)))) this.due ??= 'schedule'
  }

  /** Stops the round whose window has closed, or begins one that is due. */
  private look(): void {
    this.follow()
    const open = isOpen(this.windows, new Date(this.options.clock.nowMs()))
    if (this.running) {
      if (!open && !this.running.exempt) this.running.closing.abort()
      return
    }
    const { mayLearn, hasModel, offered } = this.options.surroundings
    if (this.stopped || !mayLearn() || !(open || !hasModel())) return
    const trigger = (this.resting() ? null : this.next()) ?? (offered() ? 'offer' : null)
    if (trigger !== null) void this.begin(trigger)
  }

  /** Whether it is too early to try again what could not begin. */
  private resting(): boolean {
    const { refused, options: { clock, surroundings } } = this
    return refused !== null && clock.monotonicMs() < refused.untilMs && surroundings.labelsSince(refused.labelsFromMs) === 0
  }

  private next(): Trigger | null {
    const { config: { newFrames, newLabels, onDrift }, surroundings } = this.options
    const { hasModel, interrupted, driftAlarmAtMs, labelsSince } = surroundings
    const alarmMs = driftAlarmAtMs()
    // Without a model each label may be the one that was missing.
    const wantedLabels = hasModel() ? newLabels : 1
    if (interrupted()) return 'interrupted'
    if (this.due) return this.due
    if (onDrift && alarmMs !== null && alarmMs !== this.answeredAlarmMs) return 'drift'
    if (wantedLabels > 0 && labelsSince(this.labelsFromMs) >= wantedLabels) return 'labels'
    return newFrames > 0 && this.frames >= newFrames ? 'frames' : null
  }

  /** Says why it could not, as soon as that is known; null: it has begun. */
  private begin(trigger: Trigger): Promise<string | null> {
    const { clock, surroundings, run } = this.options
    const { frames } = this
    const labelsFromMs = Math.max(clock.nowMs(), surroundings.newestLabelAtMs())
    const alarmMs = surroundings.driftAlarmAtMs()
    // A round that is taken up again learns from what there was when it began: what came since stays new.
    const anew = !surroundings.interrupted()
    const closing = new AbortController()
    const learns = trigger !== 'offer'
    return new Promise(resolve => {
      let hasBegun = false
      const began = () => {
        hasBegun = true
        resolve(null)
        if (!learns) return
        this.refused = null
        this.backoff.reset()
        this.due = null
        if (anew) {
          this.frames -= frames
          this.labelsFromMs = labelsFromMs
          this.answeredAlarmMs = alarmMs
        }
      }
      // What is due by then begins at the next look, not at once: rounds that end as they begin do not follow on one another without a pause.
      const ended = run(trigger, closing.signal, began).then(reason => {
        if (!hasBegun && learns) this.refused = { untilMs: clock.monotonicMs() + this.backoff.nextMs(), labelsFromMs }
        resolve(reason)
      }).finally(() => { this.running = null })
      this.running = { ended, closing, exempt: trigger === 'command' || !surroundings.hasModel(), learns }
    })
  }
}

/** What the clock on the wall shows, as if it were UTC: a change of time is then a jump like any other. */
function onTheWall(atMs: number): number {
  return atMs - new Date(atMs).getTimezoneOffset() * minuteMs
}

/** Every full second after one time and until another, milliseconds. */
function secondsBetween(afterMs: number, untilMs: number): number[] {
  const first = Math.floor(afterMs / 1000) + 1
  return Array.from({ length: Math.floor(untilMs / 1000) - first + 1 }, (_, index) => (first + index) * 1000)
}

/** Whether the expression had a run after one time and until another, on the wall: minute by minute, since runs need not be evenly spaced. */
function wasDue(task: ScheduledTask, expression: string, afterMs: number, untilMs: number): boolean {
  const [second = 0] = parse(expression).second
  const oldestMs = Math.max(afterMs, untilMs - lookBackMs)
  for (let atMs = Math.floor(untilMs / minuteMs) * minuteMs + second * 1000; atMs > oldestMs; atMs -= minuteMs) {
    if (atMs <= untilMs && task.match(new Date(atMs))) return true
  }
  return false
}
