/** A reporter of a box named box-7, and somebody who watches what it says, for tests. */
import { join } from 'node:path'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import { parseConfig } from '../agent/config.js'
import { systemClock } from '../agent/lib/clock.js'
import { createLogger } from '../agent/lib/logger.js'
import { verbs, type CommandHandlers, type Reply } from '../agent/report/commands.js'
import { Report } from '../agent/report/report.js'
import { Reporter, type Connection, type ReporterOptions } from '../agent/report/reporter.js'
import type { AgentEvent, CameraStatus, Prediction } from '../agent/events.js'

export const plainly: Omit<Connection, 'url' | 'device'> = { username: '', password: () => Promise.resolve(''), tls: { ca: '', cert: '', key: '' }, protocol: '3.1.1', longestWaitMs: 2000 }

export const status: Reply<'status'> = {
  device: 'box-7', model: 3, serving: 3, mode: { kind: 'follow' }, probation: false, training: false, frames: 12, frameBytes: 3400, drift: null, decisions: [],
}
export const handlers: CommandHandlers = {
  train: () => ({ started: true }), status: () => status, reload: () => ({ reloading: true }),
  promote: ({ version }) => ({ model: version }), rollback: () => ({ model: 2 }),
  pin: ({ version = 3 }) => ({ mode: { kind: 'pin', version } }), follow: () => ({ mode: { kind: 'follow' } }), pause: () => ({ mode: { kind: 'pause' } }),
}

/** Nobody's are listened to. */
export const noOffers: ReporterOptions['offers'] = { gives: false, boxes: () => [], onOffer: () => undefined }

export type Given = Partial<Omit<ReporterOptions, 'connection'>> & { connection?: Partial<Connection> }

export function makeReporter(url: string, folder: string, { connection, ...options }: Given = {}): Reporter {
  return new Reporter({
    device: 'box-7', version: '1.2.3', connection: { url, device: options.device ?? 'box-7', ...plainly, ...connection }, base: 'pawl', homeAssistant: '', cameras: ['door'],
    predictionEveryMs: 3_600_000, eventsPerSecond: 1000, outbox: { folder: join(folder, 'outbox'), maxEvents: 100 }, folder: join(folder, 'report'), vacantMs: 300, echoMs: 2000,
    handlers, accepted: verbs, offers: noOffers, former: nothingBefore, away: () => [], emit: () => undefined, onState: () => undefined,
    clock: systemClock, random: () => 0, logger: createLogger({ level: 'silent' }), ...options,
  })
}

/** All that goes out of an agent with this configuration, without the agent. */
export function makeReport(config: string, data: string): Report {
  const { device, cameras, mqtt } = parseConfig(config, 'pawl.yaml')
  return new Report({
    config: mqtt, device, cameras: cameras.map(({ id }) => id), data, version: '1.2.3', handlers, offers: noOffers, away: () => [], emit: () => undefined, onState: () => undefined,
    clock: systemClock, random: Math.random, logger: createLogger({ level: 'silent' }),
  })
}

export const nothingBefore: ReporterOptions['former'] = { decision: null, mode: { kind: 'follow' }, frames: 0, frameBytes: 0 }

export class Watcher {
  readonly client: MqttClient
  readonly messages: { topic: string; text: string; retained: boolean }[] = []

  static async open(url: string, { filter = 'pawl/#', ...options }: IClientOptions & { filter?: string } = {}): Promise<Watcher> {
    const client = await connectAsync(url, { reconnectPeriod: 0, ...options })
    const watcher = new Watcher(client)
    await client.subscribeAsync(filter, { qos: 1 })
    return watcher
  }

  private constructor(client: MqttClient) {
    this.client = client
    client.on('message', (topic, payload, { retain }) => {
      this.messages.push({ topic: topic.replace('pawl/box-7/', ''), text: payload.toString(), retained: retain })
    })
  }

  texts(topic: string): string[] {
    return this.messages.filter(message => message.topic === topic).map(({ text }) => text)
  }

  json(topic: string): unknown {
    return JSON.parse(this.texts(topic).at(-1) ?? 'null')
  }

  async ask(verb: string, payload: string): Promise<void> {
    await this.client.publishAsync(`pawl/box-7/request/${verb}`, payload, { qos: 1 })
  }
}

export const cameraStatus: CameraStatus = {
  camera: 'door', state: 'online', lastPictureAtMs: 5, picturesPerSecond: 9.5, restarts: 0, reason: null,
}
export const problem = (message: string): AgentEvent => ({ type: 'problem', code: 'IMAGE_UNREADABLE', message })
export const prediction = (label: string, model = 1): AgentEvent & { prediction: Prediction } => ({
  type: 'prediction',
  prediction: { camera: 'door', capturedAtMs: 7, label, confidence: 0.9, probabilities: { [label]: 0.9 }, model, latencyMs: 4 },
})
