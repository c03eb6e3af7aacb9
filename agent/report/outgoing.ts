/**
 * What goes out, in three lanes: retained topics (the newest value wins), events (from the outbox, in order), responses (live, or not at all).
 *
 * INVARIANTS
 * - One message of each lane is in flight: over a thin line nothing waits behind more than two others.
 * - With each connection the whole state goes out before the first event, and what was said first has come back.
 * - What the broker refuses and stays connected holds nothing up but itself: a topic waits for its next value, an event for another try.
 * - Events go out at a bounded rate, and begin one by one: what waited while the broker was away does not come in a flood.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { PawlError } from '../errors.js'
import type { Clock } from '../lib/clock.js'
import type { Logger } from '../lib/logger.js'
import { Pace } from '../lib/pace.js'
import type { Message } from './link.js'
import type { Outbox } from './outbox.js'

const maxWaitingResponses = 100
/** From an event that was refused to the next try. */
const refusedMs = 60_000

export interface OutgoingOptions {
  /** Errors: BROKER_UNAVAILABLE; BROKER_REFUSES, and the connection goes on. */
  publish: (message: Message) => Promise<void>
  outbox: Outbox
  eventOf: (payload: string) => Message
  eventsPerSecond: number
  /** Whether the broker passes on what it acknowledges; until then no event goes out. */
  isHeard: () => boolean
  /** The broker has this retained message. */
  onRetained: (message: Message) => void
  /** The broker does not take this topic; told once for each. */
  onRefused: (message: string) => void
  clock: Clock
  logger: Logger
}

type Lane = 'retained' | 'events' | 'responses'

export class Outgoing {
  private readonly options: OutgoingOptions
  private readonly pace: Pace
  private readonly retained = new Map<string, Message>()
  /** Topics whose newest value the broker does not have. */
  private readonly dirty = new Set<string>()
  /** What goes out before them. */
  private opening: Message[] = []
  /** Retained messages to go until the broker has the whole state once. */
  private untilWhole = 0
  private readonly responses: Message[] = []
  private readonly busy = new Set<Lane>()
  private readonly refused = new Set<string>()
  private connection: AbortController | null = null

  constructor(options: OutgoingOptions) {
    this.options = options
    this.pace = new Pace({ perSecond: options.eventsPerSecond, clock: options.clock })
  }

  /** Connected: `opening`, then the whole state, then events. */
  up(opening: readonly Message[]): void {
    this.connection = new AbortController()
    this.pace.reset()
    this.untilWhole = opening.length + this.retained.size
    this.sendWhole(opening)
    void this.sendEvents()
    void this.sendResponses()
  }

  /** The whole state once more. */
  sendWhole(opening: readonly Message[]): void {
    this.opening = [...opening]
    this.dirty.clear()
    for (const topic of this.retained.keys()) this.dirty.add(topic)
    void this.sendRetained()
  }

  down(): void {
    this.connection?.abort()
    this.connection = null
    this.responses.length = 0
  }

  /** An empty payload takes the topic away from the broker. */
  retain(message: Message): void {
    if (this.retained.get(message.topic)?.payload === message.payload) return
    this.retained.set(message.topic, message)
    this.dirty.add(message.topic)
    void this.sendRetained()
  }

  respond(message: Message): void {
    if (this.responses.length >= maxWaitingResponses) this.responses.shift()
    this.responses.push(message)
    void this.sendResponses()
  }

  /** There is something new in the outbox, or it may go out by now. */
  eventAdded(): void {
    void this.sendEvents()
  }

  private async sendRetained(): Promise<void> {
    await this.pump('retained', () => {
      const message = this.nextRetained()
      return message ? this.sendOneRetained(message) : null
    })
  }

  private nextRetained(): Message | undefined {
    const first = this.opening.shift()
    if (first) return first
    const [topic] = this.dirty
    if (topic === undefined) return undefined
    this.dirty.delete(topic)
    return this.retained.get(topic)
  }

  private async sendOneRetained(message: Message): Promise<void> {
    const taken = await this.publish(message)
    if (taken && message.payload === '' && this.retained.get(message.topic) === message) this.retained.delete(message.topic)
    if (taken) this.options.onRetained(message)
    this.untilWhole--
    if (this.untilWhole === 0) void this.sendEvents()
  }

  private async sendEvents(): Promise<void> {
    await this.pump('events', signal => (this.untilWhole > 0 || !this.options.isHeard() || !this.options.outbox.oldest() ? null : this.sendOneEvent(signal)))
  }

  private async sendOneEvent(signal: AbortSignal): Promise<void> {
    const { outbox, eventOf } = this.options
    await this.pace.turn(signal)
    const entry = outbox.oldest()
    if (signal.aborted || !entry) return
    if (await this.publish(eventOf(entry.payload))) outbox.remove(entry)
    else await sleep(refusedMs, undefined, { signal, ref: false }).catch(() => undefined)
  }

  private async sendResponses(): Promise<void> {
    await this.pump('responses', () => {
      const message = this.responses.shift()
      return message ? this.publish(message).then(() => undefined) : null
    })
  }

  /** False: the broker does not take it. Errors: BROKER_UNAVAILABLE. */
  private async publish(message: Message): Promise<boolean> {
    try {
      await this.options.publish(message)
      return true
    } catch (cause) {
      if (!(cause instanceof PawlError) || cause.code !== 'BROKER_REFUSES') throw cause
      if (!this.refused.has(message.topic)) this.options.onRefused(cause.message)
      this.refused.add(message.topic)
      return false
    }
  }

  /** Sends one after the other while connected; a failure ends it until the next connection. */
  private async pump(lane: Lane, sendNext: (signal: AbortSignal) => Promise<void> | null): Promise<void> {
    if (this.busy.has(lane)) return
    this.busy.add(lane)
    try {
      while (this.connection) {
        const sending = sendNext(this.connection.signal)
        if (!sending) break
        await sending
      }
    } catch (error) {
      if (!(error instanceof PawlError)) throw error
      this.options.logger.debug({ message: error.message }, 'not sent; it goes out with the next connection')
    } finally {
      this.busy.delete(lane)
    }
  }
}
