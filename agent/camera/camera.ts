/**
 * One camera, kept alive: restarted with backoff when it fails, ends, falls silent, slows down or shows nothing. Nothing in it can disturb
 * another camera.
 */
import type { CameraStatus, Picture } from '../events.js'
import type { Clock } from '../lib/clock.js'
import { Backoff } from '../lib/backoff.js'
import { Content } from './content.js'
import type { CameraSource } from './source.js'

export interface CameraOptions {
  id: string
  source: CameraSource
  maxPerSecond: number
  /** Pictures a second below which it is started again; 0: however few. */
  minPerSecond: number
  silentAfterMs: number
  /** Time for which it may show the same to the bit, or blackness; 0: for ever. */
  uselessAfterMs: number
  clock: Clock
  random: () => number
  /** Awaited: while it works, newer pictures replace each other, so that the newest is next. */
  onPicture: (picture: Picture) => Promise<void>
  /** Hears when its state or its reason changes, and, while it is online, once a minute how it goes. */
  onStatus: (status: CameraStatus) => void
}

/** Time over which a slow camera is told by, and the rate of any. */
const slowAfterMs = 20_000
/** Pictures a second that no camera sends: one that does leaves no time for anything else. */
const mostPerSecond = 500
/** How it goes is told so often; soon after it came online, when its rate is not known yet. */
const tellEveryMs = { atFirst: 5000, later: 60_000 } as const
/** Time that one which showed nothing has from its first picture on: many begin with some that are dark. */
const wakesWithinMs = 5000

export class Camera {
  private readonly options: CameraOptions
  private readonly controller = new AbortController()
  /** Pauses before one that is away is tried again; and before one that shows nothing, which may be the night and no fault. */
  private readonly pauses: { away: Backoff; useless: Backoff }
  /** Over all attempts: a camera that comes back as it went is not back. */
  private readonly content: Content
  private running: Promise<void> | null = null
  private status: CameraStatus
  private waiting: Picture | null = null
  private work: Promise<void> | null = null
  private lastTakenMs = -Infinity
  private arrivalsMs: number[] = []
  /** Pictures that came within a second, whatever they showed. */
  private newest = { sinceMs: -Infinity, pictures: 0 }
  private told = { atMs: -Infinity, picturesPerSecond: 0 }

  constructor(options: CameraOptions) {
    this.options = options
    const pause = (longestMs: number) => new Backoff({ firstMs: 500, longestMs, random: options.random })
    this.pauses = { away: pause(4000), useless: pause(60_000) }
    this.content = new Content({ clock: options.clock, patienceMs: options.uselessAfterMs })
    this.status = { camera: options.id, state: 'connecting', lastPictureAtMs: null, picturesPerSecond: 0, restarts: 0, reason: null }
  }

  start(): void {
    this.tell()
    this.running = this.run(this.controller.signal)
  }

  async stop(): Promise<void> {
    this.controller.abort()
    await this.running
    await this.work
  }

  private async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { reason, pause } = await this.watch(signal)
      if (signal.aborted) break
      this.change({ state: 'offline', reason, restarts: this.status.restarts + 1, picturesPerSecond: 0 })
      await pause.wait(signal)
    }
  }

  /** Follows the source until it ends, fails, is silent for too long or shows nothing; gives the reason, and how long it is left alone. */
  private async watch(signal: AbortSignal): Promise<{ reason: string; pause: Backoff }> {
    const { source, silentAfterMs, clock } = this.options
    const { away, useless } = this.pauses
    let beganAtMs: number | null = null
    const attempt = new AbortController()
    const stop = () => { attempt.abort() }
    signal.addEventListener('abort', stop)
    let silent = false
    const silence = () => setTimeout(() => {
      silent = true
      attempt.abort()
    }, silentAfterMs)
    let watchdog = silence()
    this.content.begin()
    try {
      for await (const jpeg of source(attempt.signal)) {
        clearTimeout(watchdog)
        watchdog = silence()
        if (jpeg === null) {
          away.reset()
          if (this.status.state !== 'online') this.change({ state: 'online', reason: null })
          continue
        }
        beganAtMs ??= clock.monotonicMs()
        const slow = this.flooding() ?? this.slow(beganAtMs)
        if (slow !== null) return { reason: slow, pause: away }
        const nothing = await this.content.wrongWith(jpeg)
        if (attempt.signal.aborted) break
        if (nothing !== null) {
          if (clock.monotonicMs() - beganAtMs >= wakesWithinMs) return { reason: nothing, pause: useless }
          continue
        }
        away.reset()
        useless.reset()
        this.arrived(jpeg)
      }
      return { reason: silent ? this.silence : 'the camera ended the stream', pause: away }
    } catch (cause) {
      return { reason: silent ? this.silence : reasonOf(cause), pause: away }
    } finally {
      clearTimeout(watchdog)
      signal.removeEventListener('abort', stop)
      attempt.abort()
    }
  }

  private get silence(): string {
    return `no picture for ${String(this.options.silentAfterMs / 1000)} s`
  }

  private flooding(): string | null {
    const nowMs = this.options.clock.monotonicMs()
    if (nowMs - this.newest.sinceMs >= 1000) this.newest = { sinceMs: nowMs, pictures: 0 }
    return ++this.newest.pictures > mostPerSecond ? `it sends more than ${String(mostPerSecond)} pictures a second` : null
  }

  /** Not of a camera that has just begun. */
  private slow(beganAtMs: number): string | null {
    const { minPerSecond, clock } = this.options
    const nowMs = clock.monotonicMs()
    if (nowMs - beganAtMs < slowAfterMs) return null
    const perSecond = this.arrivalsMs.filter(atMs => nowMs - atMs < slowAfterMs).length / (slowAfterMs / 1000)
    return perSecond < minPerSecond ? `it sends ${perSecond.toFixed(1)} pictures a second, less than minPerSecond (${String(minPerSecond)})` : null
  }

  private arrived(jpeg: Uint8Array): void {
    const { clock, maxPerSecond, id } = this.options
    const nowMs = clock.monotonicMs()
    this.arrivalsMs = [...this.arrivalsMs.filter(atMs => nowMs - atMs < slowAfterMs), nowMs]
    const { length, 0: firstMs = nowMs } = this.arrivalsMs
    const rate = length > 1 ? (length - 1) / ((nowMs - firstMs) / 1000) : 0
    const capturedAtMs = clock.nowMs()
    const changed = this.status.state !== 'online'
    const reason = changed ? null : this.status.reason
    this.status = { ...this.status, state: 'online', reason, lastPictureAtMs: capturedAtMs, picturesPerSecond: Math.round(rate * 10) / 10 }
    if (changed || nowMs - this.told.atMs >= tellEveryMs[this.told.picturesPerSecond === 0 ? 'atFirst' : 'later']) this.tell()
    // A little early is on time, else a camera at exactly the wanted rate would lose every other picture.
    if (nowMs - this.lastTakenMs < 900 / maxPerSecond) return
    this.lastTakenMs = nowMs
    this.waiting = { camera: id, capturedAtMs, jpeg }
    this.work ??= this.handOver().finally(() => { this.work = null })
  }

  private async handOver(): Promise<void> {
    while (this.waiting && !this.controller.signal.aborted) {
      const picture = this.waiting
      this.waiting = null
      try {
        await this.options.onPicture(picture)
        this.usable(null)
      } catch (cause) {
        this.usable(reasonOf(cause))
      }
    }
  }

  /** Told when pictures become unusable and when they are usable again, not for each of them. */
  private usable(reason: string | null): void {
    const { state, reason: former } = this.status
    if (state === 'online' && (former === null) !== (reason === null)) this.change({ reason })
  }

  /** A camera that is tried again in vain is no news. */
  private change(part: Partial<CameraStatus>): void {
    const former = this.status
    this.status = { ...former, ...part }
    if (this.status.state !== former.state || this.status.reason !== former.reason) this.tell()
  }

  private tell(): void {
    this.told = { atMs: this.options.clock.monotonicMs(), picturesPerSecond: this.status.picturesPerSecond }
    this.options.onStatus(this.status)
  }
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
