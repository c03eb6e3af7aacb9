/**
 * `npm run bench:broker`: what a box sends (`--parts traffic`), how many boxes a mosquitto bears (`ceiling`), how soon all are back after it was away
 * (`storm`). The boxes report by the agent's own code. All of it on one machine: what the boxes take is told beside. Minutes.
 */
import { execFile, fork, type ChildProcess } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'
import { connectAsync, type MqttClient } from 'mqtt'
import { topics, type TopicName } from '../../agent/report/topics.js'
import { tabled } from '../bench/table.js'
import { modelInService } from '../chaos/box.js'
import { freePort } from '../free-port.js'
import { Box } from '../site/box.js'
import { seldom } from '../site/labels.js'
import { mosquitto, Mosquitto } from '../site/mosquitto.js'
import type { BoxesOptions, BoxesState } from './boxes.js'
import { bytesOf, type Sent } from './budget.js'

const options = {
  parts: { type: 'string', default: 'traffic,ceiling,storm' },
  boxes: { type: 'string', default: '500,1000,2000,4000' },
  seconds: { type: 'string', default: '30' },
  tls: { type: 'boolean', default: false },
  cameras: { type: 'string', default: '2' },
  'prediction-seconds': { type: 'string', default: '1' },
  'longest-wait': { type: 'string', default: '1.5,10' },
  processes: { type: 'string', default: '2' },
  help: { type: 'boolean', default: false },
} as const
const usage = `--parts traffic,ceiling,storm   which of them, in this order
--boxes N,N,…                   ceiling: so many, one after the other; storm: the first of them
--seconds S                     of each measurement; traffic: 120 at least
--tls                           boxes reach the broker over TLS
--cameras N                     of each box
--prediction-seconds S          between two predictions of a camera
--longest-wait S,S,…            storm: longest wait of a box between two tries, one after the other
--processes N                   that the boxes are spread over`

/** What cannot be measured as it was asked for. */
function fail(problem: string): never {
  process.stderr.write(`${problem}\n`)
  process.exit(2)
}

function given() {
  try {
    return parseArgs({ options }).values
  } catch (cause) {
    return fail(`${cause instanceof Error ? cause.message : String(cause)}\n${usage}`)
  }
}

const values = given()
const numbers = (text: string) => text.split(',').map(Number)
const seconds = Number(values.seconds)
const cameras = Number(values.cameras)
/** Of all boxes that are made up. */
const common = { cameras, cameraSeconds: 60, predictionSeconds: Number(values['prediction-seconds']), perSecond: 100 }
const run = promisify(execFile)
const print = (line = '') => { process.stdout.write(`${line}\n`) }
if (values.help) {
  print(usage)
  process.exit(0)
}

interface Used {
  cpuMs: number
  rssBytes: number
}

/** Of a process. */
async function usedBy(pid: number): Promise<Used> {
  const fields = (await readFile(`/proc/${String(pid)}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8')
  return { cpuMs: 10 * (Number(fields[11]) + Number(fields[12])), rssBytes: 1024 * Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) }
}

/** A broker of its own, with the port that boxes use. */
class Site {
  readonly url: string
  readonly ca: string
  readonly broker: Mosquitto
  readonly folder: string

  private constructor({ folder, broker, url, ca }: { folder: string; broker: Mosquitto; url: string; ca: string }) {
    this.folder = folder
    this.broker = broker
    this.url = url
    this.ca = ca
  }

  static async open({ tls }: { tls: boolean }): Promise<Site> {
    const folder = await mkdtemp(join(tmpdir(), 'pawl-broker-bench-'))
    const port = await freePort()
    const [key, ca] = [join(folder, 'broker.key'), join(folder, 'broker.crt')]
    await run('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', ca, '-days', '2', '-subj', '/CN=localhost',
      '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
    ])
    const secured = tls ? [`listener ${String(port)} 127.0.0.1`, `certfile ${ca}`, `keyfile ${key}`] : []
    const more = ['allow_anonymous true', 'max_queued_messages 1000', ...secured].join('\n')
    const broker = await Mosquitto.in(join(folder, 'broker'), { more })
    await broker.start()
    return new Site({ folder, broker, url: tls ? `mqtts://localhost:${String(port)}` : broker.url, ca: tls ? ca : '' })
  }

  async close(): Promise<void> {
    await this.broker.stop()
    await rm(this.folder, { recursive: true, force: true })
  }
}

/** Boxes in processes of their own. */
class Boxes {
  private readonly children: ChildProcess[] = []
  private readonly states = new Map<ChildProcess, BoxesState>()
  private readonly options: Omit<BoxesOptions, 'first' | 'boxes'>
  private count = 0

  constructor(options: Omit<BoxesOptions, 'first' | 'boxes'>) {
    this.options = options
  }

  /** Until there are so many. */
  grow(to: number): void {
    const each = Math.ceil((to - this.count) / Number(values.processes))
    while (this.count < to) {
      const boxes = Math.min(each, to - this.count)
      const child = fork(join(import.meta.dirname, 'boxes.ts'), { execArgv: ['--import', 'tsx'] })
      child.on('message', (state: BoxesState) => { this.states.set(child, state) })
      child.send({ ...this.options, first: this.count, boxes } satisfies BoxesOptions)
      this.children.push(child)
      this.count += boxes
    }
  }

  get connected(): number {
    return [...this.states.values()].reduce((sum, state) => sum + state.connected, 0)
  }

  get cpuMs(): number {
    return [...this.states.values()].reduce((sum, state) => sum + state.cpuMs, 0)
  }

  /** When so many are connected, in milliseconds from now; null: not within the time. */
  async connectedAfterMs(count: number, withinMs: number): Promise<number | null> {
    const beganMs = performance.now()
    while (performance.now() - beganMs < withinMs) {
      if (this.connected >= count) return performance.now() - beganMs
      await sleep(100)
    }
    return null
  }

  async close(): Promise<void> {
    for (const child of this.children) child.disconnect()
    await Promise.all(this.children.map(child => new Promise(resolve => child.once('exit', resolve))))
  }
}

/** How long a message takes through the broker, asked ten times a second; milliseconds, sorted. */
async function latencies(client: MqttClient, forSeconds: number): Promise<number[]> {
  const taken: number[] = []
  client.on('message', (topic, payload) => { if (topic === 'probe') taken.push(performance.now() - Number(payload.toString())) })
  await client.subscribeAsync('probe', { qos: 1 })
  for (let count = 0; count < 10 * forSeconds; count++) {
    client.publish('probe', String(performance.now()), { qos: 1 })
    await sleep(100)
  }
  await sleep(500)
  return taken.sort((a, b) => a - b)
}

const parts = {
  /** A real agent with one camera, from its start over its first model; then while nothing happens, with a picture and a prediction a second. */
  async traffic(): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), 'pawl-traffic-'))
    const predictionSeconds = Number(values['prediction-seconds'])
    const box = await Box.in(folder, { rounds: { schedule: seldom, firstMinutes: 0.5 }, mqtt: { predictionEveryMs: 1000 * predictionSeconds } })
    const daemon = box.start()
    const sent = () => box.onlooker.messages.filter(({ topic }) => !topic.startsWith('request/')).map(({ topic, text }) => ({ topic, bytes: Buffer.byteLength(text) }))
    await modelInService(box, daemon)
    await sleep(3000)
    const round = [...sent(), ...[...box.onlooker.events.values()].map(event => ({ topic: 'event', bytes: Buffer.byteLength(JSON.stringify(event)) }))]
    const from = sent().length
    await sleep(1000 * Math.max(120, seconds))
    const idle = sent().slice(from)
    await daemon.end()
    await box.close()
    await rm(folder, { recursive: true, force: true })
    const hours = Math.max(120, seconds) / 3600
    for (const [what, messages, perHour] of [['from the start to the first model in service, one round', round, 0], ['nothing happens', idle, 1 / hours]] as const) {
      print(`${what}:`)
      const rows = [...new Set(messages.map(({ topic }) => topic))].map(topic => {
        const all = messages.filter(message => message.topic === topic)
        const name = (Object.keys(topics) as TopicName[]).find(known => topics[known].topic.replace('{camera}', 'belt') === topic)
        if (name === undefined) throw new Error(`a box says "${topic}", which is none of its topics`)
        const { qos, retained } = topics[name]
        const payloadBytes = Math.round(all.reduce((sum, { bytes }) => sum + bytes, 0) / all.length)
        const message: Sent = { topic, qos, retained, topicBytes: `pawl/box-9/${topic}`.length, payloadBytes, perHour: all.length * perHour }
        return {
          topic, qos, retained: retained ? 'yes' : 'no', messages: all.length, 'payload, bytes': payloadBytes,
          'on the wire with TLS': bytesOf(message, { tls: true }), ...perHour > 0 && { 'an hour': Math.round(message.perHour) },
        }
      })
      for (const line of tabled(rows)) print(`  ${line}`)
      print()
    }
  },

  async ceiling(): Promise<void> {
    const site = await Site.open({ tls: values.tls })
    const boxes = new Boxes({ ...common, url: site.url, ca: site.ca, longestWaitMs: 1500 })
    const client = await connectAsync(site.broker.url)
    // Whoever follows the fleet hears all of it.
    let heard = 0
    const follower = await connectAsync(site.broker.url)
    follower.on('message', (_, __, { retain }) => { if (!retain) heard++ })
    await follower.subscribeAsync('pawl/#', { qos: 1 })
    const rows = []
    for (const count of numbers(values.boxes)) {
      boxes.grow(count)
      const all = await boxes.connectedAfterMs(count, 30_000 + 20 * count)
      await sleep(5000)
      const began = { broker: await usedBy(site.broker.pid), boxesMs: boxes.cpuMs, atMs: performance.now(), heard }
      const taken = await latencies(client, seconds)
      const used = await usedBy(site.broker.pid)
      const forMs = performance.now() - began.atMs
      const at = (share: number) => taken[Math.floor(share * taken.length)] ?? null
      rows.push({
        boxes: count, connected: boxes.connected, 'messages/s': 1000 * (heard - began.heard) / forMs,
        'broker, % of a core': 100 * (used.cpuMs - began.broker.cpuMs) / forMs, 'broker, MB': used.rssBytes / 1e6,
        'boxes, % of a core': 100 * (boxes.cpuMs - began.boxesMs) / forMs, 'median, ms': at(0.5), 'p99, ms': at(0.99), lost: 10 * seconds - taken.length,
      })
      if (all === null || (at(0.99) ?? Infinity) > 1000) break
    }
    for (const line of tabled(rows)) print(`  ${line}`)
    await Promise.all([client.endAsync(true), follower.endAsync(true)])
    await boxes.close()
    await site.close()
  },

  async storm(): Promise<void> {
    const count = numbers(values.boxes)[0] ?? 0
    const rows = []
    for (const longestWait of numbers(values['longest-wait'])) {
      const site = await Site.open({ tls: values.tls })
      const boxes = new Boxes({ ...common, url: site.url, ca: site.ca, longestWaitMs: 1000 * longestWait })
      boxes.grow(count)
      if (await boxes.connectedAfterMs(count, 30_000 + 20 * count) === null) throw new Error(`only ${String(boxes.connected)} of ${String(count)} boxes connect`)
      await site.broker.stop('SIGKILL')
      await sleep(15_000)
      if (boxes.connected > 0) throw new Error(`${String(boxes.connected)} boxes do not see that the broker is away`)
      const beganMs = boxes.cpuMs
      await site.broker.start()
      const half = await boxes.connectedAfterMs(count / 2, 300_000)
      const rest = await boxes.connectedAfterMs(count, 300_000)
      const { cpuMs, rssBytes } = await usedBy(site.broker.pid)
      rows.push({
        boxes: count, 'longest wait, s': longestWait, 'half are back after, s': half === null ? null : half / 1000,
        'all are back after, s': half === null || rest === null ? null : (half + rest) / 1000,
        'broker, s of a core': cpuMs / 1000, 'boxes, s of a core': (boxes.cpuMs - beganMs) / 1000, 'broker, MB': rssBytes / 1e6,
      })
      await boxes.close()
      await site.close()
    }
    for (const line of tabled(rows)) print(`  ${line}`)
  },
}

/** Connections that a process may hold, the broker's among them: each takes a file. */
const { stdout } = await run('sh', ['-c', 'ulimit -n'])
const most = Math.max(...numbers(values.boxes))
if (Number(stdout) < most + 200) fail(`--boxes is ${String(most)}, and a process may open ${stdout.trim()} files here; raise that: ulimit -n ${String(most + 1000)}`)
if (mosquitto === '') fail('mosquitto is missing: apt install mosquitto')
for (const name of values.parts.split(',')) {
  if (!(name in parts)) fail(`--parts is "${name}"; choose of ${Object.keys(parts).join(', ')}`)
  print(`${name}${values.tls ? ', TLS' : ''}; ${cpus()[0]?.model ?? ''}, ${String(cpus().length)} cores, load ${loadavg()[0]?.toFixed(1) ?? ''}; ${String(cameras)} cameras a box`)
  await parts[name as keyof typeof parts]()
  print()
}
process.exit(0)
