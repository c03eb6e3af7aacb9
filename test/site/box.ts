/** A box under test: its folder, its broker, who listens to it. */
import { copyFile, mkdir, readdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { bundled } from '../../agent/config.js'
import { Daemon, type DaemonOptions } from './daemon.js'
import { copyLabels, shortRounds } from './labels.js'
import { Mosquitto } from './mosquitto.js'
import { Subscriber } from './subscriber.js'

const device = 'box-9'
const perClass = { labels: 10, validation: 20 }

export class Box {
  readonly folder: string
  readonly data: string
  readonly config: string
  readonly broker: Mosquitto
  readonly onlooker: Subscriber
  private given = 0

  private constructor(folder: string, broker: Mosquitto, onlooker: Subscriber) {
    this.folder = folder
    this.data = join(folder, 'data')
    this.config = join(folder, 'pawl.yaml')
    this.broker = broker
    this.onlooker = onlooker
  }

  /** `changes` to its configuration, by section; a list replaces its own. */
  static async in(folder: string, changes: Record<string, object> = {}): Promise<Box> {
    const broker = await Mosquitto.in(join(folder, 'broker'), { persistent: true })
    await broker.start()
    const onlooker = await Subscriber.open({ url: broker.url, prefix: `pawl/${device}` })
    const box = new Box(folder, broker, onlooker)
    for (const part of ['labels', 'validation'] as const) await copyLabels(part === 'labels' ? 'labeled' : part, perClass[part], box.source(part))
    await box.configure(changes)
    return box
  }

  /** Writes the configuration anew. */
  async configure(changes: Record<string, object>): Promise<void> {
    const config: Record<string, unknown> = {
      device, data: 'data',
      cameras: [{ id: 'belt', source: 'simulation', crop: 'whole', maxPerSecond: 5 }],
      labels: { import: this.source('labels'), importValidation: this.source('validation') },
      frames: { minFreeBytes: 0, maxBytes: 1_000_000 },
      rounds: shortRounds,
      drift: { everySeconds: 0, reference: 50, window: 20 },
      monitoring: { port: 0 },
      mqtt: { broker: this.broker.url, longestWaitSeconds: 0.5 },
    }
    for (const [section, change] of Object.entries(changes)) {
      config[section] = Array.isArray(change) ? change : { ...config[section] as object, ...change }
    }
    await writeFile(this.config, stringify(config))
  }

  start(options: Omit<DaemonOptions, 'config'> = {}): Daemon {
    return new Daemon({ config: this.config, ...options })
  }

  /** Has a round begin: as soon as the one before is over. Gives the place in what the daemon says from which it is told. */
  async train(daemon: Daemon): Promise<number> {
    const from = daemon.lines.length
    for (let tries = 0; tries < 20; tries++) {
      await this.onlooker.ask('train')
      const begun = await daemon.said(/^round \d+ \(/, { from, withinMs: 3000 }).catch(() => null)
      if (begun) return from
    }
    throw new Error(`no round begins:\n${daemon.text}`)
  }

  /** Where labels are imported from. */
  source(part: 'labels' | 'validation'): string {
    return join(this.folder, `given-${part}`)
  }

  /** A person labels one more image. Gives its path below the data folder. */
  async label(): Promise<string> {
    const names = (await readdir(join(bundled('test'), 'bag'))).sort()
    const name = names[this.given++ % names.length] ?? ''
    const path = join('labels', 'bag', name)
    const fresh = join(this.folder, 'fresh.png')
    await mkdir(join(this.data, 'labels', 'bag'), { recursive: true })
    await copyFile(join(bundled('test'), 'bag', name), fresh)
    await rename(fresh, join(this.data, path))
    return path
  }

  async close(): Promise<void> {
    await this.onlooker.close()
    await this.broker.stop()
  }
}
