/** The page on the box: connects what people see and do there with the parts that know and do it. */
import { join } from 'node:path'
import { knownEngines } from '../trainer/index.js'
import type { ClassifierPool } from './classifier/pool.js'
import type { Config } from './config.js'
import { Dashboard } from './dashboard/dashboard.js'
import { Journal } from './dashboard/journal.js'
import { Live } from './dashboard/live.js'
import type { AgentEvent } from './events.js'
import { Disagreement, type ModelPair } from './frames/disagreement.js'
import { Labeling } from './frames/labeling.js'
import type { LabelStore } from './frames/label-store.js'
import type { FrameStore } from './frames/store.js'
import type { Intake } from './intake.js'
import type { Clock } from './lib/clock.js'
import { withoutPasswords, type Logger } from './lib/logger.js'
import { machineOf } from './lib/machine.js'
import { packageVersion } from './lib/package-root.js'
import type { Registry } from './registry/registry.js'
import { carryOut } from './report/command-runner.js'
import type { CommandHandlers } from './report/commands.js'
import type { StateChange } from './report/state.js'
import { Terminal } from './report/terminal.js'
import type { RoundRecords } from './rounds/records.js'
import type { Serving } from './serving.js'

export interface PageOptions {
  config: Config
  frames: FrameStore
  labels: LabelStore
  classifier: ClassifierPool
  intake: Intake
  registry: Registry
  records: RoundRecords
  serving: Serving
  handlers: CommandHandlers
  clock: Clock
  logger: Logger
  /** The agent ends. */
  signal: AbortSignal
}

export class Page {
  private readonly options: PageOptions
  private readonly live = new Live()
  private readonly terminal: Terminal
  private readonly labeling: Labeling
  private readonly dashboard: Dashboard

  constructor(options: PageOptions) {
    this.options = options
    const { config, frames, labels, classifier, intake, registry, records, handlers, clock, logger, signal } = options
    const journal = new Journal({ nowMs: clock.nowMs })
    this.terminal = new Terminal({ stream: journal, nowMs: clock.monotonicMs })
    this.labeling = new Labeling({
      frames,
      labels,
      file: join(config.data, 'skipped.json'),
      judge: jpeg => classifier.classify(jpeg),
      disagreement: new Disagreement({
        key: () => JSON.stringify([registry.active()?.version, registry.list().filter(({ status }) => status === 'former').map(({ version }) => version)]),
        pair: () => this.modelPair(),
        nowMs: clock.monotonicMs,
        onProblem: message => { if (!signal.aborted) logger.warn({ message }, 'where two models differ is not known') },
      }),
      onProblem: message => { logger.warn({ message }, 'frames that were passed over come again') },
    })
    this.dashboard = new Dashboard({
      config: config.dashboard,
      site: {
        device: config.device,
        version: packageVersion(),
        cameras: config.cameras.map(({ id }) => id),
        live: this.live,
        journal,
        frames,
        labels,
        labeling: this.labeling,
        newestOf: camera => intake.newestOf(camera)?.jpeg ?? null,
        models: () => registry.list(),
        active: () => registry.active()?.version ?? null,
        history: () => registry.history(),
        decisions: () => registry.decisions(),
        records,
        command: (verb, payload) => carryOut(handlers, verb, payload),
        now: async () => ({
          machine: await machineOf(config.data),
          frames: frames.count,
          frameBytes: frames.totalBytes,
          engines: await knownEngines({ memory: join(config.data, 'engines.json'), preset: config.rounds.preset }),
        }),
      },
      nowMs: clock.monotonicMs,
      logger,
    })
  }

  accept(event: AgentEvent): void {
    this.terminal.accept(event)
    if (event.type === 'broker') this.live.tell({ topic: 'broker', value: { ...event, url: withoutPasswords(event.url) } })
    if (event.type !== 'frame-stored') return
    this.live.tell({ topic: `camera/${event.camera}/kept`, value: { id: event.id, reason: event.reason, atMs: this.options.clock.nowMs() } })
  }

  state(change: StateChange): void {
    this.live.state(change)
  }

  /** Gives its address; null: no port is free. Errors: CONFIG_INVALID for a password or a certificate that cannot be read. */
  async start(): Promise<string | null> {
    await this.labeling.start()
    return this.dashboard.start()
  }

  async stop(): Promise<void> {
    await this.dashboard.stop()
    await this.labeling.stop()
  }

  /** The model in service and the one that served before it; null: there are not two. */
  private async modelPair(): Promise<ModelPair | null> {
    const { registry, serving } = this.options
    const [model, former] = [registry.active(), await registry.former().catch(() => null)]
    if (!model || !former) return null
    return { compare: paths => serving.bothAnswer({ former, model }, paths) }
  }
}
