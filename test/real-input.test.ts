/** The built daemon as a site has it: ffmpeg is the camera, mosquitto the broker, and somebody else's MQTT client looks on. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectAsync, type MqttClient } from 'mqtt'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { stringify } from 'yaml'
import type { z } from 'zod'
import { bundled } from '../agent/config.js'
import { topics, type TopicName } from '../agent/report/topics.js'
import { freePort } from './free-port.js'

const program = join(import.meta.dirname, '../dist/agent/main.js')
const found = (name: string) => [...process.env.PATH?.split(':') ?? [], '/usr/sbin', '/usr/local/sbin'].map(path => join(path, name)).find(path => existsSync(path))
const [mosquitto, ffmpeg] = [found('mosquitto'), found('ffmpeg')]
const missing = [...mosquitto ? [] : ['mosquitto'], ...ffmpeg ? [] : ['ffmpeg']]
if (missing.length && process.env.CI) throw new Error(`${missing.join(' and ')} missing; in CI these tests may not be skipped`)

/** Shown one after another, so that the class changes with every picture. */
const classes = ['bag', 'trouser', 'ankle-boot']
const each = 3
const secondsShown = 1
const soon = { timeout: 60_000, interval: 50 }

const cleanups: (() => Promise<unknown>)[] = []
let folder = ''
let config = ''
let broker: Broker
let camera: FfmpegCamera
let daemon: Daemon
let watcher: Watcher
let shown: { label: string; pixels: number[] }[] = []

function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise(resolve => child.once('exit', () => { resolve() }))
}

/** Keeps nothing on disk: each start is an empty broker. */
class Broker {
  readonly url: string
  private readonly configFile: string
  private child: ChildProcess | null = null

  constructor(configFile: string, port: number) {
    this.configFile = configFile
    this.url = `mqtt://127.0.0.1:${String(port)}`
  }

  async start(): Promise<void> {
    this.child = spawn(mosquitto ?? '', ['-c', this.configFile], { stdio: 'ignore' })
    await vi.waitFor(async () => { await (await connectAsync(this.url, { reconnectPeriod: 0 })).endAsync() }, soon)
  }

  async kill(): Promise<void> {
    if (!this.child) return
    this.child.kill('SIGKILL')
    await ended(this.child)
  }
}

/** ffmpeg serves one viewer and ends with it; whoever comes next is served by another. */
class FfmpegCamera {
  private readonly args: string[]
  private child: ChildProcess | null = null
  private on = false

  constructor(list: string, url: string) {
    this.args = [
      '-v', 'error', '-re', '-stream_loop', '-1', '-f', 'concat', '-safe', '0', '-i', list, '-vf', 'fps=5,scale=112:112,format=yuvj420p', '-q:v', '3',
      '-f', 'mpjpeg', '-flush_packets', '1', '-content_type', 'multipart/x-mixed-replace;boundary=ffmpeg', '-listen', '1', url,
    ]
  }

  start(): void {
    this.on = true
    const child = spawn(ffmpeg ?? '', this.args, { stdio: 'ignore' })
    this.child = child
    child.once('exit', () => { if (this.on) setTimeout(() => { if (this.on) this.start() }, 200) })
  }

  async stop(): Promise<void> {
    this.on = false
    if (!this.child) return
    this.child.kill('SIGKILL')
    await ended(this.child)
  }
}

class Daemon {
  output = ''
  readonly child: ChildProcess

  constructor() {
    cleanups.push(() => this.end('SIGKILL'))
    this.child = spawn(process.execPath, [program, 'run', '--config', config], { stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.child.stdout, this.child.stderr]) stream?.on('data', (bytes: Buffer) => { this.output += bytes.toString() })
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.child.kill(signal)
    await ended(this.child)
  }
}

/** An independent client that hears everything below the device. */
class Watcher {
  readonly client: MqttClient
  readonly messages: { topic: string; text: string; retained: boolean }[] = []

  private constructor(client: MqttClient) {
    this.client = client
    client.on('message', (topic, payload, { retain }) => {
      this.messages.push({ topic: topic.replace('pawl/site-7/', ''), text: payload.toString(), retained: retain })
    })
  }

  static async open(): Promise<Watcher> {
    const watcher = new Watcher(await connectAsync(broker.url, { reconnectPeriod: 0 }))
    cleanups.push(() => watcher.client.endAsync(true))
    await watcher.client.subscribeAsync('pawl/#', { qos: 1 })
    return watcher
  }

  texts(topic: string): string[] {
    return this.messages.filter(message => message.topic === topic).map(({ text }) => text)
  }

  /** All payloads of a topic, in the published shape. */
  all<Name extends TopicName>(name: Name): z.infer<typeof topics[Name]['payload']>[] {
    const { topic, payload } = topics[name]
    return this.texts(topic.replace('{camera}', 'belt').replace('{verb}', 'status')).map(text => payload.parse(name === 'availability' ? text : JSON.parse(text)) as never)
  }

  last<Name extends TopicName>(name: Name) {
    return this.all(name).at(-1)
  }
}

const pixelsOf = async (image: string) => [...await sharp(image).resize(28, 28).toColourspace('b-w').raw().toBuffer()]
const difference = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, index) => sum + Math.abs(value - (b[index] ?? 0)), 0)

/** What ffmpeg showed at that moment, from the frame that the agent stored then: independent of what it said of it. */
async function trueClass(capturedAtMs: number): Promise<string> {
  const entries = await readdir(join(folder, 'data', 'frames'), { recursive: true })
  const name = entries.find(entry => entry.includes(`/${String(capturedAtMs)}-`)) ?? ''
  const pixels = await pixelsOf(join(folder, 'data', 'frames', name))
  const [best] = shown.map(({ label, pixels: own }) => ({ label, away: difference(own, pixels) })).sort((a, b) => a.away - b.away)
  return best?.label ?? ''
}

/** Skipped only where a program is not installed; CI throws above. */
describe.skipIf(missing.length > 0)(`the daemon with ffmpeg and mosquitto${missing.length ? ` (skipped: ${missing.join(' and ')} missing)` : ''}`, () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pawl-real-'))
    cleanups.push(() => rm(folder, { recursive: true, force: true }))
    const files = (await Promise.all(classes.map(async label =>
      (await readdir(join(bundled('test'), label))).sort().slice(0, each).map(name => ({ label, path: join(bundled('test'), label, name) }))))).flat()
    const order = Array.from({ length: each }, (_, index) => files.filter((__, place) => place % each === index)).flat()
    shown = await Promise.all(order.map(async ({ label, path }) => ({ label, pixels: await pixelsOf(path) })))
    const list = join(folder, 'pictures.txt')
    await writeFile(list, order.map(({ path }) => `file '${path}'\nduration ${String(secondsShown)}\n`).join(''))

    const [brokerPort, cameraPort] = [await freePort(), await freePort()]
    const brokerConfig = join(folder, 'mosquitto.conf')
    await writeFile(brokerConfig, `listener ${String(brokerPort)} 127.0.0.1\nallow_anonymous true\n`)
    broker = new Broker(brokerConfig, brokerPort)
    cleanups.push(() => broker.kill())
    await broker.start()
    const url = `http://127.0.0.1:${String(cameraPort)}/video`
    camera = new FfmpegCamera(list, url)
    cleanups.push(() => camera.stop())
    camera.start()
    config = join(folder, 'pawl.yaml')
    await writeFile(config, stringify({
      device: 'site-7', data: 'data',
      cameras: [{ id: 'belt', source: 'mjpeg', url, crop: 'whole', silentAfterSeconds: 5 }],
      labels: { import: bundled('labeled'), importValidation: bundled('validation') },
      rounds: { schedule: '0 0 29 2 *', newFrames: 0, firstMinutes: 0.4, backend: 'onnxruntime', priority: 'low' },
      frames: { minFreeBytes: 0 },
      mqtt: { broker: broker.url },
    }))
    watcher = await Watcher.open()
    daemon = new Daemon()
  })

  afterAll(async () => { for (const cleanup of cleanups.reverse()) await cleanup() })

  it('is online with its camera and trains its first model, for every subscriber to see', async () => {
    await vi.waitFor(() => { expect(watcher.last('trainState')).toMatchObject({ state: 'running', round: 1, trigger: 'first' }) }, soon)
    await vi.waitFor(() => { expect(watcher.last('cameraStatus')).toMatchObject({ state: 'online', reason: null }) }, soon)
    const late = await Watcher.open()
    await vi.waitFor(() => { expect(late.last('trainState')).toBeDefined() }, soon)
    const kept = late.messages.filter(({ retained }) => retained).map(({ topic }) => topic)
    expect(kept).toEqual(expect.arrayContaining(['availability', 'info', 'train/state', 'camera/belt/status']))
    expect(late.all('availability')).toEqual(['online'])
    expect(late.last('info')).toMatchObject({ device: 'site-7' })
  })

  it('promotes the first model and publishes the evidence', async () => {
    await vi.waitFor(() => { expect(watcher.last('modelActive')).toBeDefined() }, { timeout: 200_000, interval: 100 })
    expect(watcher.last('modelActive')).toMatchObject({ version: 1, method: 'pawl' })
    expect(watcher.last('modelCandidate')).toMatchObject({ round: 1, promoted: true, reason: 'first-model', challenger: 1 })
    expect(watcher.last('modelCandidate')?.comparison?.images).toBeGreaterThan(200)
    await vi.waitFor(() => { expect(watcher.last('trainState')).toMatchObject({ state: 'idle', round: 1 }) }, soon)
  })

  it('names most of what ffmpeg shows rightly', async () => {
    await vi.waitFor(() => { expect(watcher.all('cameraPrediction').length).toBeGreaterThanOrEqual(13) }, { timeout: 120_000, interval: 100 })
    const predictions = watcher.all('cameraPrediction').slice(1)
    const truths = await Promise.all(predictions.map(({ capturedAtMs }) => trueClass(capturedAtMs)))
    expect(new Set(truths)).toEqual(new Set(classes))
    const right = predictions.filter(({ label }, index) => label === truths[index])
    expect(right.length, predictions.map(({ label }, index) => `${label}/${truths[index] ?? ''}`).join(' ')).toBeGreaterThanOrEqual(0.7 * predictions.length)
    expect(predictions.every(({ model, confidence }) => model === 1 && confidence > 0)).toBe(true)
  })

  it('answers a command', async () => {
    await watcher.client.publishAsync('pawl/site-7/request/status', '{"transaction":"t1"}', { qos: 1 })
    await vi.waitFor(() => {
      expect(watcher.last('response')).toMatchObject({ status: 'ok', transaction: 't1', data: { device: 'site-7', model: 1, training: false } })
    }, soon)
  })

  it('says that a camera is gone and why, and that it is back', async () => {
    await camera.stop()
    await vi.waitFor(() => { expect(watcher.last('cameraStatus')).toMatchObject({ state: 'offline', reason: expect.stringMatching(/./) as string }) }, soon)
    await vi.waitFor(() => { expect(watcher.last('health')).toMatchObject({ state: 'degraded', camerasOnline: 0 }) }, soon)
    camera.start()
    await vi.waitFor(() => { expect(watcher.last('cameraStatus')?.state).toBe('online') }, soon)
  })

  it('outlives the broker, and tells everything again to the one that comes back empty', async () => {
    await broker.kill()
    await sleep(1500)
    await broker.start()
    watcher = await Watcher.open()
    await vi.waitFor(() => {
      const topicsSeen = new Set(watcher.messages.map(({ topic }) => topic))
      for (const topic of ['availability', 'info', 'health', 'model/active', 'model/candidate', 'train/state', 'camera/belt/status', 'camera/belt/prediction']) {
        expect(topicsSeen).toContain(topic)
      }
    }, soon)
    expect(watcher.last('availability')).toBe('online')
    expect(watcher.last('modelActive')?.version).toBe(1)
    expect(daemon.child.exitCode).toBeNull()
  })

  it('is said to be offline by the broker when it is killed, and goes on with its model when it starts again', async () => {
    await daemon.end('SIGKILL')
    await vi.waitFor(() => { expect(watcher.last('availability')).toBe('offline') }, soon)
    const before = watcher.messages.length
    daemon = new Daemon()
    await vi.waitFor(() => {
      const since = watcher.messages.slice(before).map(({ topic }) => topic)
      expect(since, daemon.output).toContain('camera/belt/prediction')
    }, { timeout: 120_000, interval: 100 })
    expect([watcher.last('availability'), watcher.last('modelActive')?.version, watcher.last('trainState')?.state]).toEqual(['online', 1, 'idle'])
    expect(daemon.output).toContain('continuing with model 1')
    await daemon.end('SIGTERM')
    expect(daemon.child.exitCode).toBe(0)
  })
})
