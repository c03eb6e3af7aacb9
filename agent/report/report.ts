/** Everything that goes out: the embedded broker where there is no other, and the reporter on whichever there is, with Sparkplug beside it. */
import { join } from 'node:path'
import type { Config } from '../config.js'
import type { AgentEvent } from '../events.js'
import { secretOf } from '../lib/secret.js'
import type { PromotionRecord } from '../rounds/promotion.js'
import { EmbeddedBroker } from './broker.js'
import { Reporter, type Connection, type ReporterOptions } from './reporter.js'
import { Sparkplug } from './sparkplug/sparkplug.js'
import type { Health } from './topics.js'

export interface ReportOptions extends Pick<ReporterOptions, 'device' | 'cameras' | 'version' | 'handlers' | 'offers' | 'away' | 'emit' | 'onState' | 'clock' | 'random' | 'logger'> {
  config: Config['mqtt']
  /** The data folder: the outbox is in it. */
  data: string
}

/** Events kept until the start. */
const mostEarly = 100

export class Report {
  private readonly options: ReportOptions
  private broker: EmbeddedBroker | null = null
  private reporter: Reporter | null = null
  private sparkplug: Sparkplug | null = null
  private early: AgentEvent[] = []

  constructor(options: ReportOptions) {
    this.options = options
  }

  /** Gives the broker's URL. Errors: BROKER_UNAVAILABLE, CONFIG_INVALID for a password file that cannot be read. */
  async start(former: ReporterOptions['former']): Promise<string> {
    const { config, data, ...options } = this.options
    let url = config.broker
    if (url === 'embedded') {
      this.broker = new EmbeddedBroker({ port: config.port })
      url = await this.broker.start()
    }
    const connection = connectionTo(url, config, options.device)
    // Now rather than at the first try: a file that is not there is to be seen at once.
    await connection.password()
    const folder = join(data, 'report')
    if (config.sparkplug.group !== '') this.sparkplug = new Sparkplug({ ...options, ...config.sparkplug, connection, folder })
    this.reporter = new Reporter({
      ...options,
      former,
      connection,
      base: config.base,
      homeAssistant: config.homeAssistant,
      accepted: config.commands,
      predictionEveryMs: config.predictionEveryMs,
      eventsPerSecond: config.eventsPerSecond,
      outbox: { folder: join(data, 'outbox'), maxEvents: config.outboxEvents },
      folder,
      vacantMs: 60_000,
      echoMs: 10_000,
      onState: change => {
        this.sparkplug?.accept(change)
        options.onState(change)
      },
    })
    await this.reporter.start()
    this.sparkplug?.start()
    for (const event of this.early.splice(0)) this.reporter.accept(event)
    return url
  }

  /** What happens before the start is told then: a registry that had to be restored, say. */
  accept(event: AgentEvent): void {
    if (this.reporter) this.reporter.accept(event)
    else this.early = [...this.early, event].slice(-mostEarly)
  }

  /** Once it is known what serves: tells of decisions, oldest first, that a power cut kept from being told. */
  async catchUp(decisions: readonly PromotionRecord[]): Promise<void> {
    await this.reporter?.catchUp(decisions)
  }

  get health(): Health | null {
    return this.reporter?.health ?? null
  }

  async stop(): Promise<void> {
    await Promise.all([this.reporter?.stop(), this.sparkplug?.stop()])
    await this.broker?.stop()
  }
}

/** How a broker is reached, by a box of this name or, null, by who is none. */
export function connectionTo(
  url: string, config: Pick<Config['mqtt'], 'username' | 'passwordFile' | 'tls' | 'protocol' | 'longestWaitSeconds'>, device: string | null,
): Connection {
  return {
    url,
    device,
    username: config.username,
    password: () => secretOf({ key: 'mqtt.passwordFile', file: config.passwordFile, variable: 'PAWL_MQTT_PASSWORD' }),
    tls: config.tls,
    protocol: config.protocol,
    longestWaitMs: config.longestWaitSeconds * 1000,
  }
}
