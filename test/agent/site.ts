/** A box with trained models, its broker and its cameras, for figures of the built daemon. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { stringify } from 'yaml'
import { bundled } from '../../agent/config.js'
import { systemClock } from '../../agent/lib/clock.js'
import { Registry } from '../../agent/registry/registry.js'
import { ModelCardSchema } from '../../agent/schemas.js'
import { Daemon } from '../site/daemon.js'
import { seldom } from '../site/labels.js'
import { Mosquitto } from '../site/mosquitto.js'
import { record } from '../challenger.js'
import { Listener } from './listener.js'

const device = 'box-5'
export const prefix = `pawl/${device}`
const program = join(import.meta.dirname, '../../dist/agent/main.js')
const run = promisify(execFile)

export type CameraRow = { id: string; source: 'mjpeg' | 'rtsp'; url: string } & Record<string, unknown>

/** Models of few steps: what they say is not what is measured. Those that are there are taken. */
export async function trainModels(folder: string, preset: string): Promise<string[]> {
  const folders = [1, 2].map(seed => join(folder, `${preset}-${String(seed)}`))
  for (const [index, out] of folders.entries()) {
    if (existsSync(join(out, 'card.json'))) continue
    await run(process.execPath, [
      program, 'train', '--labeled', bundled('labeled'), '--validation', bundled('validation'), '--out', out,
      '--preset', preset, '--method', 'supervised', '--steps', '2', '--seed', String(index + 1), '--json',
    ])
  }
  return folders
}

export class Site {
  readonly folder: string
  readonly broker: Mosquitto
  /** Folders of the trained models. */
  readonly models: readonly string[]
  private daemon: Daemon | null = null
  private listeners: Listener[] = []

  private constructor(folder: string, broker: Mosquitto, models: readonly string[]) {
    this.folder = folder
    this.broker = broker
    this.models = models
  }

  /** `models`: folders of finished ones, which get the versions from 1 on; the first is in service. */
  static async in(folder: string, models: readonly string[]): Promise<Site> {
    await rm(folder, { recursive: true, force: true })
    await mkdir(folder, { recursive: true })
    const broker = await Mosquitto.in(join(folder, 'broker'))
    await broker.start()
    const site = new Site(folder, broker, models)
    await site.register()
    return site
  }

  get config(): string {
    return join(this.folder, 'pawl.yaml')
  }

  /** Everything at its default but what `changes` says, by section; no rounds, every prediction is told. */
  async configure(cameras: readonly CameraRow[], changes: Record<string, object> = {}): Promise<void> {
    await writeFile(this.config, stringify({
      device, data: 'data', cameras, labels: { import: '' }, monitoring: { port: 0 }, ...changes,
      rounds: { schedule: seldom, newFrames: 0, newLabels: 0, onDrift: false, ...changes.rounds },
      mqtt: { broker: this.broker.url, predictionEveryMs: 0, ...changes.mqtt },
    }))
  }

  /** Starts it; resolves once a model is in service. */
  async start(): Promise<Daemon> {
    this.daemon = new Daemon({ config: this.config })
    await this.daemon.said(/^pawl is running/)
    return this.daemon
  }

  async listen(): Promise<Listener> {
    const listener = await Listener.open(this.broker.url, prefix)
    this.listeners.push(listener)
    return listener
  }

  async pawl(...args: string[]): Promise<void> {
    await run(process.execPath, [program, ...args, '--config', this.config])
  }

  async stop(): Promise<void> {
    for (const listener of this.listeners.splice(0)) await listener.close()
    if (this.daemon?.running) await this.daemon.end()
    await this.broker.stop()
    await rm(this.folder, { recursive: true, force: true })
  }

  private async register(): Promise<void> {
    const data = join(this.folder, 'data')
    const registry = new Registry({ data, clock: systemClock, onProblem: error => { throw error } })
    await registry.start()
    for (const [index, from] of this.models.entries()) {
      const given = join(this.folder, `given-${String(index)}`)
      await cp(from, given, { recursive: true })
      const card = ModelCardSchema.parse(JSON.parse(await readFile(join(given, 'card.json'), 'utf8')))
      await registry.register({ folder: given, card, decision: version => record(index + 1, version) })
    }
    await registry.promote(1, { why: 'the first' })
    await registry.stop()
  }
}
