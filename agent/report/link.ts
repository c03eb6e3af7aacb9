/**
 * The connection to the broker. Each try is a new client that never reconnects by itself: so nothing waits unbounded in its memory,
 * nothing old is sent after something new, and no client can stay stuck.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type MqttClient } from 'mqtt'
import { PawlError } from '../errors.js'
import { Backoff } from '../lib/backoff.js'
import type { Clock } from '../lib/clock.js'
import type { Logger } from '../lib/logger.js'
import { Patience } from './patience.js'
import { explained, isTurnedAway, type ConnectionError } from './refusal.js'
import { readTlsFiles, type TlsContents, type TlsFiles } from './tls-files.js'

export interface LinkOptions {
  /** mqtt://, mqtts://, ws:// or wss://, with or without user and password. */
  url: string
  /** Name of this box; null: it is none, but somebody who follows boxes. */
  device: string | null
  username: string
  /** Asked for at every try: it may be changed while the agent runs. Errors: CONFIG_INVALID for a file that cannot be read. */
  password: () => Promise<string>
  tls: TlsFiles
  /** Of MQTT. */
  protocol: '3.1.1' | '5'
  /** Longest wait between two tries, milliseconds. */
  longestWaitMs: number
  clientId: string
  /** What the broker says when the connection is lost; asked for at every try; null: nothing. `heard`: the broker may know of the one before. */
  will: (heard: boolean) => Message | Promise<Message> | null
  /** Made with every connection, before it counts as one. */
  subscriptions: () => readonly Subscription[]
  onUp: () => void
  onDown: () => void
  /**
   * Told why the broker is away, once for each reason: after a connection that was lost, and after one that never came. `turnedAway`: it is there,
   * and does not let this user in.
   */
  onAway: (reason: string, turnedAway: boolean) => void
  onMessage: (topic: string, payload: Buffer, retained: boolean) => void
  logger: Logger
  clock: Clock
  random: () => number
}

export interface Subscription {
  filter: string
  /** Without it there is no use in the connection. */
  essential: boolean
  /** 1 unless given. */
  qos?: 0 | 1
}

export interface Message {
  topic: string
  payload: string | Uint8Array
  qos: 0 | 1
  retained: boolean
}

const publishMs = 20_000
/** A connection that lasts for less is a short one, milliseconds; of so many in a row it is said what may be behind them. */
const [shortMs, manyShort] = [10_000, 3]
/** MQTT 5: another client with this one's id has connected. */
const takenOver = 0x8e
/** For the farewell, however the broker is. */
const leaveMs = 700

export class Link {
  private readonly options: LinkOptions
  private client: MqttClient | null = null
  private loop: Promise<void> | null = null
  private readonly patience: Patience
  private leaving = false
  /** The broker may know of the newest try. */
  private heard = true
  private readonly ending = new AbortController()

  constructor(options: LinkOptions) {
    this.options = options
    this.patience = new Patience(options)
  }

  get up(): boolean {
    return this.client?.connected ?? false
  }

  /** Returns at once; connects, again and again, until stopped. */
  start(): void {
    this.loop ??= this.run()
  }

  /**
   * Resolves when the broker has it (QoS 1) or it was sent (QoS 0). Errors: BROKER_UNAVAILABLE, and then it may or may not have arrived;
   * BROKER_REFUSES, and the connection goes on: MQTT 5 tells what a box may not publish.
   */
  async publish({ topic, payload, qos, retained }: Message): Promise<void> {
    const { client } = this
    if (!client?.connected) throw new PawlError('BROKER_UNAVAILABLE', `${topic} was not sent: not connected`)
    await new Promise<void>((resolve, reject) => {
      const fail = (cause?: unknown) => {
        done()
        reject(new PawlError('BROKER_UNAVAILABLE', `${topic} was not acknowledged`, { cause }))
      }
      const timer = setTimeout(() => {
        client.stream.destroy()
        fail()
      }, publishMs)
      const done = () => {
        clearTimeout(timer)
        client.off('close', fail)
      }
      client.on('close', fail)
      client.publish(topic, bytesOf(payload), { qos, retain: retained }, error => {
        // Above 127 a reason code is a refusal (MQTT 5, 2.4).
        if (error && 'code' in error && error.code >= 0x80 && client.connected) {
          done()
          reject(new PawlError('BROKER_REFUSES', `the broker does not take ${topic}: ${error.message}; see to its access list`))
        } else if (error) fail(error)
        else {
          done()
          resolve()
        }
      })
    })
  }

  /**
   * Beside the subscriptions of the connection, for as long as it lasts; resolves when what is retained there has come. At QoS 0: it is sent as fast
   * as it is taken, where a broker holds a bounded number of messages of QoS 1. Errors: BROKER_UNAVAILABLE.
   */
  async follow(filters: readonly string[]): Promise<void> {
    const { client } = this
    if (!client?.connected) throw new PawlError('BROKER_UNAVAILABLE', 'nothing can be followed: not connected')
    await client.subscribeAsync([...filters], { qos: 0 }).catch((cause: unknown) => {
      throw new PawlError('BROKER_UNAVAILABLE', 'nothing can be followed', { cause })
    })
  }

  /** Says `farewell` when connected, and disconnects in an orderly way: no last will. Unless it is stopped, it connects anew. */
  async leave(farewell: Message | null): Promise<void> {
    const { client } = this
    if (!client?.connected) return
    this.leaving = true
    const said = async () => {
      if (farewell) await this.publish(farewell)
      await client.endAsync()
    }
    // A broker that says nothing more is not waited for: it will hear of the end from the connection.
    await Promise.race([said().catch(() => undefined), sleep(leaveMs)])
    client.stream.destroy()
  }

  /** Leaves for good. */
  async stop(farewell: Message | null): Promise<void> {
    await this.leave(farewell)
    this.ending.abort()
    await this.loop
  }

  private async run(): Promise<void> {
    const { signal } = this.ending
    const { clock, device, longestWaitMs: longestMs, random, tls, url, will } = this.options
    const backoff = new Backoff({ firstMs: 500, longestMs, random })
    let [told, short] = ['', 0]
    while (!signal.aborted) {
      let upSinceMs: number | null = null
      let contents: TlsContents = {}
      const onConnected = () => {
        upSinceMs = clock.monotonicMs()
        if (short < manyShort) backoff.reset()
        told = ''
      }
      const ended = await Promise.all([readTlsFiles(tls), this.options.password()])
        .then(async ([files, password]) => {
          contents = files
          return this.session(signal, [files, password], await will(this.heard), onConnected)
        })
        .catch((cause: unknown) => (cause instanceof Error ? cause : String(cause)))
      if (signal.aborted) return
      if (upSinceMs !== null) short = clock.monotonicMs() - upSinceMs < shortMs && !this.leaving ? short + 1 : 0
      const suspicion = short < manyShort ? '' : '; again and again: is there another box of this name?'
      // Compared without what explains it, which holds the time.
      const reason = `${typeof ended === 'string' ? ended : ended.message || String(ended)}${suspicion}`
      if (reason !== told && !this.leaving) {
        const why = await explained(ended, { url, device, tls, contents, nowMs: clock.nowMs(), signal })
        this.options.onAway(`${why}${suspicion}`, isTurnedAway(ended))
      }
      told = reason
      this.leaving = false
      await backoff.wait(signal)
    }
  }

  /** One client from its birth to its end; returns why it ended. */
  private session(
    signal: AbortSignal, [tls, password]: [TlsContents, string], will: Message | null, onConnected: () => void,
  ): Promise<ConnectionError | string> {
    const { url, protocol, username, clientId, subscriptions, onUp, onDown, onMessage } = this.options
    // It may have been told to end while certificates were read.
    if (signal.aborted) return Promise.resolve('')
    return new Promise(resolve => {
      let reason: ConnectionError | string = 'the connection was closed'
      let wasUp = false
      const connected = this.patience.beginTry()
      const client = connect(url, {
        clientId,
        ...(username && { username }),
        ...(password && { password }),
        ...tls,
        protocolVersion: protocol === '5' ? 5 : 4,
        clean: true,
        reconnectPeriod: 0,
        connectTimeout: connected.withinMs,
        keepalive: 30,
        queueQoSZero: false,
        ...(will && { will: { topic: will.topic, payload: bytesOf(will.payload), qos: will.qos, retain: will.retained } }),
      })
      this.client = client
      this.heard = true
      const abort = () => {
        client.end(true)
        // A client that is saying good-bye already would wait for its broker.
        client.stream.destroy()
      }
      signal.addEventListener('abort', abort, { once: true })
      client.setMaxListeners(0)
      client.on('error', error => {
        reason = error
        this.heard &&= !neverArrived(error)
        client.end(true)
      })
      client.on('disconnect', ({ reasonCode }) => { if (reasonCode === takenOver) reason = 'another box of this name has connected' })
      client.on('message', (topic, payload, packet) => { onMessage(topic, payload, packet.retain) })
      client.on('connect', () => {
        connected.after()
        this.subscribeAll(client, subscriptions()).then(() => {
          if (!client.connected) return
          wasUp = true
          onConnected()
          onUp()
        }, (error: unknown) => {
          reason = error instanceof Error ? error.message : String(error)
          client.end(true)
        })
      })
      client.once('close', () => {
        signal.removeEventListener('abort', abort)
        client.end(true)
        if (wasUp) onDown()
        resolve(reason)
      })
    })
  }

  /** Errors: an essential subscription that is refused. */
  private async subscribeAll(client: MqttClient, subscriptions: readonly Subscription[]): Promise<void> {
    await Promise.all(subscriptions.map(async ({ filter, essential, qos = 1 }) => {
      try {
        await client.subscribeAsync(filter, { qos })
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause)
        if (essential) throw new Error(`the subscription to ${filter} was refused: ${reason}`, { cause })
        this.options.logger.warn({ topic: filter, reason }, 'a subscription was refused')
      }
    }))
  }
}

function bytesOf(payload: string | Uint8Array): Buffer {
  return typeof payload === 'string' ? Buffer.from(payload) : Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
}

/** Whether not a byte reached the other side. */
function neverArrived(error: Error & { syscall?: unknown }): boolean {
  const [first = error] = error instanceof AggregateError ? error.errors as (Error & { syscall?: unknown })[] : []
  return first.syscall === 'connect' || first.syscall === 'getaddrinfo'
}
