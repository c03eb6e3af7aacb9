/**
 * How the process stands, told to systemd where that asks for it (sd_notify(3)): through its own program, as Node opens no datagram sockets of the
 * file system. The unit needs `Type=notify` and `NotifyAccess=all`.
 */
import { runProgram } from './program.js'

export interface ServiceManagerOptions {
  /** What systemd sets for its services: `NOTIFY_SOCKET` where it listens, `WATCHDOG_USEC` where it watches. */
  environment: Readonly<Record<string, string | undefined>>
  /** Hears what systemd could not be told. */
  onProblem: (message: string) => void
}

/** Microseconds on the clock that systemd compares a reload with. */
const monotonicUs = () => String(process.hrtime.bigint() / 1000n)

export class ServiceManager {
  private readonly options: ServiceManagerOptions
  private watchdog: NodeJS.Timeout | null = null
  private status = ''
  private ending = false
  /** One after the other: what is said last must be heard last. */
  private telling = Promise.resolve()

  constructor(options: ServiceManagerOptions) {
    this.options = options
  }

  /** Everything runs; from now on the watchdog is told so, twice as often as it wants. */
  ready(): Promise<void> {
    const intervalMs = Number(this.options.environment.WATCHDOG_USEC ?? 0) / 2000
    if (intervalMs > 0) this.watchdog ??= setInterval(() => { void this.tell('WATCHDOG=1') }, intervalMs)
    return this.tell('READY=1')
  }

  /** One line for `systemctl status`. */
  say(status: string): Promise<void> {
    if (status === this.status || this.ending) return this.telling
    this.status = status
    return this.tell(`STATUS=${status}`)
  }

  reloading(): Promise<void> {
    return this.tell('RELOADING=1', `MONOTONIC_USEC=${monotonicUs()}`)
  }

  /** The last that is told. */
  stopping(): Promise<void> {
    if (this.watchdog) clearInterval(this.watchdog)
    this.ending = true
    return this.tell('STOPPING=1')
  }

  private tell(...assignments: string[]): Promise<void> {
    const { environment, onProblem } = this.options
    if (!environment.NOTIFY_SOCKET) return Promise.resolve()
    this.telling = this.telling.then(async () => {
      const told = await runProgram('systemd-notify', assignments, { environment })
      if (told instanceof Error) onProblem(`systemd was not told ${assignments.join(' ')}: ${told.message.trim()}`)
    })
    return this.telling
  }
}
