/** A client of its own on the broker: sees what a fleet operator sees, and asks as one would. */
import { connectAsync, type MqttClient } from 'mqtt'
import { PawlError } from '../errors.js'
import { PredictionSchema } from '../schemas.js'
import type { Prediction } from '../events.js'
import { Response, topics } from './topics.js'

export interface WatcherOptions {
  url: string
  /** `<base>/<device>`. */
  prefix: string
}

/** An answer to a request takes no longer. */
const answerMs = 15_000

export class Watcher {
  /** Messages seen so far, of any kind. */
  messages = 0
  /** Live predictions seen so far. */
  predictions = 0
  private readonly client: MqttClient
  private readonly prefix: string
  private readonly listeners = new Set<(topic: string, payload: string) => void>()

  /** Errors: BROKER_UNAVAILABLE. */
  static async open({ url, prefix }: WatcherOptions): Promise<Watcher> {
    try {
      const client = await connectAsync(url, { clientId: `pawl-watcher-${String(process.pid)}`, reconnectPeriod: 1000 })
      const watcher = new Watcher(client, prefix)
      await client.subscribeAsync(`${prefix}/#`, { qos: 1 })
      return watcher
    } catch (cause) {
      throw new PawlError('BROKER_UNAVAILABLE', `${url} cannot be watched: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    }
  }

  private constructor(client: MqttClient, prefix: string) {
    this.client = client
    this.prefix = prefix
    client.on('message', (topic, payload) => {
      this.messages++
      const own = topic.slice(prefix.length + 1)
      if (predictionTopic.test(own)) this.predictions++
      for (const listener of [...this.listeners]) listener(own, payload.toString())
    })
  }

  /** Calls `listener` with every prediction until the returned function is called. */
  onPrediction(listener: (prediction: Prediction) => void): () => void {
    return this.listen((topic, payload) => {
      if (predictionTopic.test(topic)) listener(PredictionSchema.parse(JSON.parse(payload)))
    })
  }

  /** Sends a request and waits for its answer. Errors: COMMAND_INVALID with what the agent answered; BROKER_UNAVAILABLE. */
  async request(verb: string): Promise<unknown> {
    const transaction = `watcher-${String(Math.random()).slice(2)}`
    const answer = new Promise<Response>((resolve, reject) => {
      const timer = setTimeout(() => {
        forget()
        reject(new PawlError('BROKER_UNAVAILABLE', `request/${verb} was not answered within ${String(answerMs / 1000)} s`))
      }, answerMs)
      const forget = this.listen((topic, payload) => {
        if (topic !== `response/${verb}`) return
        const response = Response.parse(JSON.parse(payload))
        if (response.transaction !== transaction) return
        clearTimeout(timer)
        forget()
        resolve(response)
      })
    })
    await this.client.publishAsync(`${this.prefix}/request/${verb}`, JSON.stringify({ transaction }), { qos: topics.request.qos })
    const response = await answer
    if (response.status === 'error') throw new PawlError('COMMAND_INVALID', `request/${verb}: ${response.error.message}`)
    return response.data
  }

  async close(): Promise<void> {
    await this.client.endAsync(true)
  }

  private listen(listener: (topic: string, payload: string) => void): () => void {
    this.listeners.add(listener)
    return () => { this.listeners.delete(listener) }
  }
}

const predictionTopic = new RegExp(`^${topics.cameraPrediction.topic.replace('{camera}', '[^/]+')}$`)
