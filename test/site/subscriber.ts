/** Somebody else's client of the broker: hears everything below a device, and misses no event while it is away itself. */
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import { topics, type ReportedEvent, type TopicName } from '../../agent/report/topics.js'
import type { z } from 'zod'

export interface SubscriberOptions extends Pick<IClientOptions, 'username' | 'password'> {
  url: string
  /** `<base>/<device>`. */
  prefix: string
  clientId?: string
}

interface Heard { topic: string; text: string; retained: boolean; atMs: number }

export class Subscriber {
  readonly client: MqttClient
  /** All but events. */
  readonly messages: Heard[] = []
  /** Events in the order of their first arrival, by id. */
  readonly events = new Map<string, ReportedEvent>()
  /** How often an event came that had come before. */
  repeats = 0
  /** Events that are not of the published shape, and ids that came with different contents. */
  readonly wrong: string[] = []
  readonly prefix: string

  /** With a session that the broker keeps. */
  static async open({ url, prefix, clientId = 'onlooker', ...credentials }: SubscriberOptions): Promise<Subscriber> {
    const client = await connectAsync(url, { clientId, clean: false, reconnectPeriod: 200, reconnectOnConnackError: true, ...credentials })
    const subscriber = new Subscriber(client, prefix)
    await client.subscribeAsync(`${prefix}/#`, { qos: 1 })
    return subscriber
  }

  private constructor(client: MqttClient, prefix: string) {
    this.client = client
    this.prefix = prefix
    client.on('error', () => undefined)
    client.on('message', (topic, payload, { retain }) => { this.heard(topic.slice(prefix.length + 1), payload.toString(), retain) })
  }

  /** All payloads of a topic, in the published shape; `level` stands for what differs in its name. */
  all<Name extends TopicName>(name: Name, level = ''): z.infer<typeof topics[Name]['payload']>[] {
    const { topic, payload } = topics[name]
    const wanted = topic.replace(/\{.*\}/, level)
    return this.messages.filter(message => message.topic === wanted).map(({ text }) => payload.parse(name === 'availability' ? text : JSON.parse(text)) as never)
  }

  last<Name extends TopicName>(name: Name, level = '') {
    return this.all(name, level).at(-1)
  }

  ofType<T extends ReportedEvent['type']>(type: T): Extract<ReportedEvent, { type: T }>[] {
    return [...this.events.values()].filter(event => event.type === type) as Extract<ReportedEvent, { type: T }>[]
  }

  /** When each payload of a topic came, milliseconds since 1970. */
  timesOf(name: TopicName, level = ''): number[] {
    const wanted = topics[name].topic.replace(/\{.*\}/, level)
    return this.messages.filter(({ topic }) => topic === wanted).map(({ atMs }) => atMs)
  }

  async ask(verb: string, payload: object = {}): Promise<void> {
    await this.client.publishAsync(`${this.prefix}/request/${verb}`, JSON.stringify(payload), { qos: 1 })
  }

  async close(): Promise<void> {
    await this.client.endAsync(true)
  }

  private heard(topic: string, text: string, retained: boolean): void {
    if (topic !== topics.event.topic) {
      this.messages.push({ topic, text, retained, atMs: Date.now() })
      return
    }
    const parsed = topics.event.payload.safeParse(parseJson(text))
    if (!parsed.success) {
      this.wrong.push(`not an event: ${text.slice(0, 300)}`)
      return
    }
    const event = parsed.data
    const former = this.events.get(event.id)
    if (!former) this.events.set(event.id, event)
    else {
      this.repeats++
      if (JSON.stringify(former) !== JSON.stringify(event)) this.wrong.push(`two events of one id: ${JSON.stringify(former)} and ${text}`)
    }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
