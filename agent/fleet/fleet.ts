/** The view of a fleet: its parts, in the order in which what boxes say flows through them. */
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import type { Clock } from '../lib/clock.js'
import type { Logger } from '../lib/logger.js'
import { packageRoot, packageVersion } from '../lib/package-root.js'
import { WebServer } from '../web/server.js'
import { fleetApi } from './api.js'
import { Asking } from './asking.js'
import { Boxes } from './boxes.js'
import { Changes } from './changes.js'
import type { FleetConfig } from './config.js'
import { FleetMetrics } from './metrics.js'
import { Watch, type BrokerState } from './watch.js'

export interface FleetOptions {
  config: FleetConfig
  /** Told when the connection to the broker comes, settles and goes. */
  onBroker: (state: BrokerState) => void
  clock: Clock
  random: () => number
  logger: Logger
}

/** Where the page lies once it is built. */
const built = join(packageRoot(), 'dist', 'agent', 'fleet', 'page')

export class Fleet {
  readonly boxes = new Boxes()
  readonly changes: Changes
  private readonly watch: Watch
  private readonly asking: Asking
  private readonly server: WebServer

  constructor({ config, onBroker, clock, random, logger }: FleetOptions) {
    const { boxes } = this
    const changes = this.changes = new Changes({ boxes, run: randomUUID(), nowMs: clock.monotonicMs })
    this.watch = new Watch({
      config: config.mqtt, boxes, clock, random, logger,
      onChange: device => { changes.mark(device) },
      onResponse: (device, _, payload) => { this.asking.heard(device, payload) },
      onBroker: state => {
        changes.setBroker(state)
        onBroker(state)
      },
    })
    const asking = this.asking = new Asking({
      publish: (device, verb, payload) => this.watch.ask(device, verb, payload),
      isOnline: device => boxes.box(device)?.values.availability === 'online',
      answerMs: config.answerSeconds * 1000, newId: randomUUID, nowMs: clock.nowMs,
    })
    const metrics = new FleetMetrics({ boxes, isConnected: () => changes.brokerState?.up === true })
    this.server = new WebServer({
      config: config.dashboard, page: built, cookie: 'pawl-fleet', logger, nowMs: clock.monotonicMs,
      routes: app => { app.route('/api', fleetApi({ version: packageVersion(), base: config.mqtt.base, answerSeconds: config.answerSeconds, boxes, changes, asking })) },
      programs: {
        paths: ['/metrics'],
        routes: app => { app.get('/metrics', async c => c.body(await metrics.text(), 200, { 'content-type': metrics.contentType })) },
      },
    })
  }

  /** Follows the boxes; a broker that is away is tried again and again. */
  start(): void {
    this.watch.start()
  }

  /** Gives the page's address; null: no port is free. Errors: CONFIG_INVALID. */
  serve(): Promise<string | null> {
    return this.server.start()
  }

  async stop(): Promise<void> {
    await this.server.stop()
    this.asking.stop()
    await this.watch.stop()
    this.changes.stop()
  }
}
