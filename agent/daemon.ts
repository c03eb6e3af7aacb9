/** The daemon: an agent at a terminal or under a service manager, until it is told to end; with a new configuration, a new agent. */
import { Agent } from './app.js'
import type { Config } from './config.js'
import type { AgentEvent } from './events.js'
import { createLogger, withoutPasswords } from './lib/logger.js'
import { ServiceManager } from './lib/service-manager.js'
import type { LogLines } from './report/log-lines.js'
import type { Terminal } from './report/terminal.js'
import { openSecrets } from './secret-files.js'

export interface DaemonOptions {
  /** Reads the configuration: at the start, and whenever it is to be read anew. Errors: CONFIG_INVALID. */
  load: () => Promise<Config>
  /** The file that it reads. */
  file?: string | undefined
  signal: AbortSignal
  /** Hears what happens. */
  teller: Teller
  /** It tells people, in plain lines: the log adds what only matters when something is wrong. */
  plain: boolean
}

type Teller = Terminal | LogLines

/** Time for an agent to stop, milliseconds: it takes less than five seconds, unless a part hangs for ever, as on a device that answers no more. */
const stopMs = 15_000
/** Time for the answer to the command that asks for another configuration, milliseconds. */
const answerMs = 300

/** Runs until the signal fires. Errors: those of `load` and `Agent.start` at the start; later ones are told and leave the former configuration. */
export async function runDaemon({ load, file, signal, teller, plain }: DaemonOptions): Promise<void> {
  const manager = new ServiceManager({ environment: process.env, onProblem: message => { teller.say(message, 'yellow') } })
  const reloads = new Reloads(load)
  let daemon: Running | null = null
  const reload = async () => {
    await reloads.ask().catch((cause: unknown) => {
      daemon?.refused(cause)
      throw cause
    })
  }
  // Heard from the first moment to the last: else it would end the process.
  const onHangUp = () => { void reload().catch(() => undefined) }
  process.on('SIGHUP', onHangUp)
  const ended = new Promise<null>(resolve => {
    if (signal.aborted) resolve(null)
    signal.addEventListener('abort', () => { resolve(null) }, { once: true })
  })
  let config = await load()
  let former: Config | null = null
  /** Why the configuration that was to take the place of this one could not. */
  let failed: unknown = null
  for (;;) {
    daemon = new Running(config, { reload, teller, plain, manager })
    if (failed !== null) daemon.refused(failed)
    failed = null
    const { open } = await openSecrets(config, file)
    if (open.length) teller.say(`every user of this box may read ${open.join(', ')}; \`chmod o= …\``, 'yellow')
    try {
      const next = await daemon.untilTold(ended, () => reloads.next())
      if (next === null) break
      [former, config] = [config, next]
      await manager.reloading()
      teller.say('starting anew with another configuration')
    } catch (cause) {
      if (former === null) throw cause
      failed = cause;
      [former, config] = [null, former]
    } finally {
      if (signal.aborted) {
        teller.say('stopping')
        await manager.stopping()
      }
      await ending(daemon, teller)
    }
  }
  process.off('SIGHUP', onHangUp)
  teller.stop()
}

/** Stops the agent. Where it does not, the process ends: its service manager starts another. */
async function ending(daemon: Running, teller: Teller): Promise<void> {
  const insist = setTimeout(() => {
    teller.say(`the agent did not stop within ${String(stopMs / 1000)} s: the process ends without it`, 'red')
    process.exit(1)
  }, stopMs)
  await daemon.stop()
  clearTimeout(insist)
}

/** Configurations that take the place of the one that runs. */
class Reloads {
  private readonly load: DaemonOptions['load']
  private newest: Config | null = null
  private heard: () => void = () => undefined

  constructor(load: DaemonOptions['load']) {
    this.load = load
  }

  /** Errors: CONFIG_INVALID; then nothing changes. */
  async ask(): Promise<void> {
    this.newest = await this.load()
    setTimeout(() => { this.heard() }, answerMs)
  }

  /** The newest that was asked for, as soon as one was. */
  async next(): Promise<Config> {
    while (this.newest === null) await new Promise<void>(resolve => { this.heard = resolve })
    const config = this.newest
    this.newest = null
    return config
  }
}

/** One agent, as long as its configuration holds. */
class Running {
  private readonly agent: Agent
  private readonly config: Config
  private readonly options: Pick<DaemonOptions, 'teller' | 'plain'> & { manager: ServiceManager; reload: () => Promise<void> }
  private readonly state = new StatusLine()

  constructor(config: Config, options: Running['options']) {
    this.config = config
    this.options = options
    const logger = createLogger({ level: options.plain && config.logLevel === 'info' ? 'error' : config.logLevel })
    this.agent = new Agent({
      config,
      logger,
      onEvent: event => {
        options.teller.accept(event)
        void options.manager.say(this.state.after(event))
      },
      reload: options.reload,
    })
  }

  /** Starts; gives the next configuration, which is to take the place of this one, or null once `ended` is. */
  async untilTold(ended: Promise<null>, next: () => Promise<Config>): Promise<Config | null> {
    const { teller, manager } = this.options
    const addresses = await Promise.race([this.agent.start(), ended])
    if (addresses === null) return null
    const { device, data, mqtt } = this.config
    teller.say(`pawl is running as "${device}"; data in ${data}`)
    if (addresses.dashboard !== null) teller.say(`page: ${addresses.dashboard}`)
    teller.say(`MQTT: ${withoutPasswords(addresses.broker)}, topics ${mqtt.base}/${device}/#`)
    if (addresses.monitoring !== null) teller.say(`metrics: ${addresses.monitoring}/metrics`)
    for (const [camera, url] of Object.entries(addresses.cameras)) teller.say(`camera ${camera}: ${url}`)
    const champion = this.agent.models.active()
    if (champion) teller.say(`continuing with model ${String(champion.version)}`)
    await manager.ready()
    return Promise.race([next(), ended])
  }

  async stop(): Promise<void> {
    await this.agent.stop()
  }

  /** Tells that another configuration was not taken. */
  refused(cause: unknown): void {
    this.agent.problem('CONFIG_INVALID', `${cause instanceof Error ? cause.message : String(cause)}; the former configuration goes on`)
  }
}

/** How the agent stands, in one line. */
class StatusLine {
  private readonly cameras = new Map<string, string>()
  private model = 'no model yet'
  private round = ''
  private paused = false

  after(event: AgentEvent): string {
    if (event.type === 'camera') this.cameras.set(event.status.camera, event.status.state)
    if (event.type === 'model-active') this.model = `model ${String(event.model.version)} in service`
    if (event.type === 'round-started') this.round = `, round ${String(event.round)}`
    if (event.type === 'round-event' && event.event.type === 'progress') {
      // In tenths: more often nobody looks.
      this.round = `, round ${String(event.round)}: ${String(10 * Math.floor(10 * event.event.fraction))} %`
    }
    if (event.type === 'round-event' && event.event.type === 'pause') this.paused = event.event.reason !== null
    if (event.type === 'round-started' || event.type === 'round-ended') this.paused = false
    if (event.type === 'round-ended') this.round = `, round ${String(event.round)}: ${event.decision.promoted ? 'promoted' : 'refused'}`
    const online = [...this.cameras.values()].filter(state => state === 'online').length
    return `${this.model}, ${String(online)} of ${String(this.cameras.size)} cameras online${this.round}${this.paused ? ', stands still' : ''}`
  }
}
