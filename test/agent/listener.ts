/** Somebody else's client of the broker, which notes when what arrived. */
import { EventEmitter, once } from 'node:events'
import { connectAsync, type MqttClient } from 'mqtt'
import { PredictionSchema } from '../../agent/schemas.js'
import { nowMs } from './mjpeg-camera.js'

export interface Arrival {
  atMs: number
  camera: string
  capturedAtMs: number
  model: number
  /** Decode and session run, in the classifier. */
  latencyMs: number
}

export class Listener {
  /** Predictions in the order of their arrival. */
  readonly arrivals: Arrival[] = []
  /** When each topic was heard of last. */
  readonly topics = new Map<string, number>()
  private readonly client: MqttClient
  private readonly news = new EventEmitter()

  /** Errors: no broker answers there. */
  static async open(url: string, prefix: string): Promise<Listener> {
    const client = await connectAsync(url, { reconnectPeriod: 0, connectTimeout: 1000 })
    const listener = new Listener(client, prefix)
    await client.subscribeAsync(`${prefix}/#`, { qos: 0 })
    return listener
  }

  private constructor(client: MqttClient, prefix: string) {
    this.client = client
    client.on('error', () => undefined)
    client.on('message', (topic, payload, { retain }) => {
      const atMs = nowMs()
      this.topics.set(topic, atMs)
      // What was retained before says nothing of now.
      if (!topic.startsWith(`${prefix}/camera/`) || !topic.endsWith('/prediction') || retain) return
      const { camera, capturedAtMs, model, latencyMs } = PredictionSchema.parse(JSON.parse(payload.toString()))
      this.arrivals.push({ atMs, camera, capturedAtMs, model, latencyMs })
      this.news.emit('prediction')
    })
  }

  /** The first prediction of those from `from` on that `wanted` takes. Errors: none came in time. */
  async prediction(from: number, wanted: (arrival: Arrival) => boolean = () => true, withinMs = 30_000): Promise<Arrival> {
    const signal = AbortSignal.timeout(withinMs)
    for (;;) {
      const found = this.arrivals.slice(from).find(wanted)
      if (found) return found
      await once(this.news, 'prediction', { signal }).catch(() => { throw new Error(`no prediction within ${String(withinMs)} ms`) })
    }
  }

  async close(): Promise<void> {
    await this.client.endAsync(true)
  }
}
