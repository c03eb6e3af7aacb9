/**
 * Follows the boxes at the broker. What thousands of boxes retain is not asked for at once: a broker drops what a client does not take soon
 * enough, mosquitto as it is installed what is beyond 1,000 messages. So boxes are found by what is short, and then followed by name, some at a
 * time. One that was missed then is found by its next message of health, which comes every minute.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Backoff } from '../lib/backoff.js'
import type { Clock } from '../lib/clock.js'
import type { Logger } from '../lib/logger.js'
import { withoutPasswords } from '../lib/logger.js'
import { Link, type LinkOptions, type Message } from '../report/link.js'
import { connectionTo } from '../report/report.js'
import { followed, type Boxes } from './boxes.js'
import type { FleetConfig } from './config.js'

export interface WatchOptions {
  config: FleetConfig['mqtt']
  boxes: Boxes
  onChange: (device: string) => void
  onResponse: (device: string, verb: string, payload: Buffer) => void
  onBroker: (state: BrokerState) => void
  clock: Clock
  random: () => number
  logger: Logger
  /** Link unless given. */
  linkOf?: (options: LinkOptions) => Link
}

/**
 * `settled`: all that the broker retains has come; `problem`: why some of it has not, and is asked for again; "": none. `turnedAway`: the broker is
 * there, and does not let this user in.
 */
export type BrokerState = { url: string } & ({ up: true; settled: boolean; problem: string } | { up: false; reason: string; turnedAway: boolean })

/** What boxes are found by. */
const found = ['availability', 'health']
/** Without a box that is new for so long, all of them are found. */
const quietMs = 500
/** Boxes that are begun with at once: what they retain is fewer messages than a broker drops. */
const atOnce = 80
/** Boxes that could not be followed are tried again. */
const again = { firstMs: 1000, longestMs: 15_000 }

export class Watch {
  private readonly options: WatchOptions
  private readonly link: Link
  private readonly url: string
  private connection: AbortController | null = null
  /** Boxes that are followed by name in this connection, or soon will be. */
  private readonly known = new Set<string>()
  private readonly waiting: string[] = []
  private wake = () => { /* nobody waits yet */ }

  constructor(options: WatchOptions) {
    const { config, logger, clock, random, linkOf = (of: LinkOptions) => new Link(of) } = options
    this.options = options
    this.url = withoutPasswords(config.broker)
    this.link = linkOf({
      ...connectionTo(config.broker, config, null),
      clientId: `pawl-fleet-${randomUUID().slice(0, 8)}`,
      will: () => null,
      subscriptions: () => [
        ...found.map(topic => ({ filter: `${config.base}/+/${topic}`, essential: true, qos: 0 as const })),
        { filter: `${config.base}/+/response/+`, essential: false, qos: 0 as const },
      ],
      onUp: () => { void this.up() },
      onDown: () => { this.down('the connection was closed', false) },
      onAway: (reason, turnedAway) => { this.down(reason, turnedAway) },
      onMessage: (topic, payload) => { this.heard(topic, payload) },
      logger,
      clock,
      random,
    })
  }

  start(): void {
    this.link.start()
  }

  async stop(): Promise<void> {
    this.connection?.abort()
    await this.link.stop(null)
  }

  /** Errors: BROKER_UNAVAILABLE, BROKER_REFUSES. */
  async ask(device: string, verb: string, payload: string): Promise<void> {
    const message: Message = { topic: `${this.options.config.base}/${device}/request/${verb}`, payload, qos: 1, retained: false }
    await this.link.publish(message)
  }

  private heard(topic: string, payload: Buffer): void {
    const { config: { base }, boxes, onChange, onResponse } = this.options
    const below = topic.slice(base.length + 1)
    const [, asked, verb] = /^([^/]+)\/response\/([^/]+)$/.exec(below) ?? []
    if (asked !== undefined && verb !== undefined) return onResponse(asked, verb, payload)
    const { device, heard } = boxes.accept(below, payload)
    if (heard === 'changed') onChange(device)
    if (boxes.box(device) && !this.known.has(device)) this.find(device)
  }

  private find(device: string): void {
    this.known.add(device)
    this.waiting.push(device)
    this.wake()
  }

  private async up(): Promise<void> {
    const { boxes, onBroker, onChange, random } = this.options
    const { signal } = this.connection = new AbortController()
    this.known.clear()
    this.waiting.length = 0
    boxes.begin()
    for (const { device } of boxes.all()) this.find(device)
    let [settled, problem] = [false, '']
    const tell = () => { onBroker({ url: this.url, up: true, settled, problem }) }
    tell()
    const backoff = new Backoff({ ...again, random })
    while (!signal.aborted) {
      const next = this.waiting.splice(0, atOnce)
      const failure = await this.follow(next)
      const quiet = next.length === 0 && await this.isQuiet(signal)
      if (signal.aborted) return
      if (failure !== '') {
        this.waiting.push(...next)
        if (failure !== problem) {
          problem = failure
          tell()
        }
        await backoff.wait(signal)
      } else if (next.length > 0) backoff.reset()
      else if (quiet && (!settled || problem !== '')) {
        if (!settled) for (const device of boxes.sweep()) onChange(device)
        settled = true
        problem = ''
        tell()
      }
    }
  }

  /** Why not; "": they are followed. */
  private async follow(devices: readonly string[]): Promise<string> {
    const { base } = this.options.config
    if (devices.length === 0) return ''
    return this.link.follow(devices.flatMap(device => followed.map(topic => `${base}/${device}/${topic}`))).then(() => '', (error: unknown) => {
      const { message, cause } = error instanceof Error ? error : new Error(String(error))
      return `some boxes could not be followed: ${cause instanceof Error ? cause.message : message}`
    })
  }

  /** Whether none is new for a while. */
  private async isQuiet(signal: AbortSignal): Promise<boolean> {
    if (this.waiting.length > 0) return false
    const woken = new AbortController()
    this.wake = () => { woken.abort() }
    await sleep(quietMs, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(() => undefined)
    return this.waiting.length === 0
  }

  private down(reason: string, turnedAway: boolean): void {
    this.connection?.abort()
    this.options.onBroker({ url: this.url, up: false, reason, turnedAway })
  }
}
