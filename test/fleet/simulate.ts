/** Many boxes over few connections. Nothing of them is on disk. */
import { setTimeout as sleep } from 'node:timers/promises'
import { connectAsync, type MqttClient } from 'mqtt'
import { systemClock } from '../../agent/lib/clock.js'
import { retainedTopics } from '../../agent/report/topics.js'
import { Random } from '../../trainer/index.js'
import { SimulatedBox } from './box.js'

export interface SimulationOptions {
  url: string
  base: string
  boxes: number
  /** Of each box. */
  cameras: number
  /** To the broker, for all of them. */
  connections: number
  /** Seconds between two messages of health of a box; 0: none after the first. */
  healthSeconds: number
  /** Seconds between two messages of the state of all cameras of a box; 0: none after the first. */
  cameraSeconds: number
  /** Seconds between two predictions of a box; 0: none. */
  predictionSeconds: number
  /** Things that happen each second, to any box. */
  changesPerSecond: number
  /** Share of the boxes that answer no command. */
  silentShare: number
  seed: number
}

export const quiet: Omit<SimulationOptions, 'url' | 'boxes'> = {
  base: 'pawl', cameras: 2, connections: 2, healthSeconds: 0, cameraSeconds: 0, predictionSeconds: 0, changesPerSecond: 0, silentShare: 0, seed: 1,
}

const tickMs = 100

export class Simulation {
  readonly boxes: SimulatedBox[] = []
  /** Messages so far. */
  published = 0
  private readonly options: SimulationOptions
  private readonly random: Random
  private clients: MqttClient[] = []
  private timer: NodeJS.Timeout | null = null
  private readonly silent = new Set<string>()
  private pending: Promise<unknown>[] = []

  constructor(options: SimulationOptions) {
    this.options = options
    this.random = Random.of(options.seed)
  }

  /** Resolves when the broker has all that they retain. */
  async start(): Promise<void> {
    const { url, base, boxes, cameras, connections, seed, silentShare } = this.options
    this.clients = await Promise.all(Array.from({ length: connections }, (_, index) => connectAsync(url, { clientId: `pawl-simulation-${String(process.pid)}-${String(index)}`, reconnectPeriod: 500 })))
    for (let index = 0; index < boxes; index++) {
      const client = this.clients[index % connections]!
      const device = `box-${String(index + 1).padStart(5, '0')}`
      const random = Random.of(seed, index)
      if (random.float() < silentShare) this.silent.add(device)
      this.boxes.push(new SimulatedBox({
        device, cameras, random, clock: systemClock,
        publish: ({ topic, payload, qos, retained }) => {
          this.published++
          this.pending.push(client.publishAsync(`${base}/${device}/${topic}`, payload, { qos, retain: retained }).catch(() => undefined))
        },
      }))
    }
    for (const box of this.boxes) {
      box.begin()
      if (this.pending.length > 2000) await this.sent()
    }
    await this.sent()
    await this.listen()
    this.timer = setInterval(() => { this.tick() }, tickMs)
  }

  /** `clear`: nothing is retained afterwards; else they are offline. */
  async stop({ clear = false } = {}): Promise<void> {
    if (this.timer) clearInterval(this.timer)
    await this.sent()
    for (const box of this.boxes) {
      if (!clear) box.setOnline(false)
      else await this.clear(box.device)
      if (this.pending.length > 2000) await this.sent()
    }
    await this.sent()
    await Promise.all(this.clients.map(client => client.endAsync()))
  }

  /** What a box retains is taken away. */
  async clear(device: string): Promise<void> {
    const { base, cameras } = this.options
    const topics = retainedTopics(Array.from({ length: cameras }, (_, index) => `cam-${String(index + 1)}`), { offers: false })
    await Promise.all(topics.map(topic => this.clients[0]!.publishAsync(`${base}/${device}/${topic}`, '', { qos: 1, retain: true })))
  }

  /** Something that the box itself would not say. */
  async say(device: string, topic: string, payload: string): Promise<void> {
    await this.clients[0]!.publishAsync(`${this.options.base}/${device}/${topic}`, payload, { qos: 1, retain: true })
  }

  silence(device: string): void {
    this.silent.add(device)
  }

  async sent(): Promise<void> {
    await Promise.all(this.pending.splice(0))
  }

  private async listen(): Promise<void> {
    const { base, connections } = this.options
    const byName = new Map(this.boxes.map(box => [box.device, box]))
    await Promise.all(this.clients.map(async (client, index) => {
      client.on('message', (topic, payload) => {
        const [, device = '', verb = ''] = new RegExp(`^${base}/([^/]+)/request/([^/]+)$`).exec(topic) ?? []
        const box = byName.get(device)
        if (box?.online && !this.silent.has(device)) box.answer(verb, payload.toString())
      })
      const filters = this.boxes.filter((_, place) => place % connections === index).map(({ device }) => `${base}/${device}/request/#`)
      for (let first = 0; first < filters.length; first += 100) await client.subscribeAsync(filters.slice(first, first + 100), { qos: 1 })
    }))
  }

  /** What is due within a tick: each kind at its rate, box after box. */
  private tick(): void {
    const { healthSeconds, cameraSeconds, predictionSeconds, changesPerSecond } = this.options
    if (this.pending.length > 20_000) return
    const due = (seconds: number) => (seconds > 0 ? this.drawn(this.boxes.length * tickMs / 1000 / seconds) : 0)
    for (let count = due(healthSeconds); count > 0; count--) this.next('health').health()
    for (let count = due(cameraSeconds); count > 0; count--) this.next('camera').cameraStatus()
    for (let count = due(predictionSeconds); count > 0; count--) this.next('prediction').predict()
    for (let count = this.drawn(changesPerSecond * tickMs / 1000); count > 0; count--) this.boxes[this.random.below(this.boxes.length)]?.change()
    void this.sent()
  }

  private readonly turns = new Map<string, number>()

  private next(kind: string): SimulatedBox {
    const turn = this.turns.get(kind) ?? 0
    this.turns.set(kind, turn + 1)
    return this.boxes[turn % this.boxes.length]!
  }

  /** A whole number whose mean is this. */
  private drawn(mean: number): number {
    return Math.floor(mean + this.random.float())
  }
}

/** Ends with the signal. */
export async function untilAborted(simulation: Simulation, signal: AbortSignal, say: (line: string) => void): Promise<void> {
  let before = simulation.published
  while (!signal.aborted) {
    await sleep(10_000, undefined, { signal }).catch(() => undefined)
    say(`${String(simulation.published)} messages so far, ${String(Math.round((simulation.published - before) / 10))} a second`)
    before = simulation.published
  }
}
