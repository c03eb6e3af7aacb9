/** The daemon: an agent at a terminal or under a service manager, until it is told to end. */
import { Agent } from './app.js'
import type { Config } from './config.js'
import { createLogger } from './lib/logger.js'
import type { Terminal } from './report/terminal.js'

/** Runs until the signal fires. Errors: those of `Agent.start`. */
export async function runDaemon(config: Config, { signal, terminal }: { signal: AbortSignal; terminal: Terminal }): Promise<void> {
  // What happens is told in plain lines; the log adds what only matters when something is wrong.
  const logger = createLogger({ level: config.logLevel === 'info' ? 'error' : config.logLevel })
  const agent = new Agent({ config, logger, onEvent: event => { terminal.accept(event) } })
  const ended = new Promise<null>(resolve => {
    if (signal.aborted) resolve(null)
    signal.addEventListener('abort', () => { resolve(null) }, { once: true })
  })
  const addresses = await Promise.race([agent.start(), ended])
  if (addresses === null) {
    terminal.say('stopping')
    await agent.stop()
    return
  }
  terminal.say(`pawl is running as "${config.device}"; data in ${config.data}`)
  terminal.say(`MQTT: ${addresses.broker}, topics ${config.mqtt.base}/${config.device}/#`)
  for (const [camera, url] of Object.entries(addresses.cameras)) terminal.say(`camera ${camera}: ${url.replace(/\/\/[^@/]*@/, '//')}`)
  const champion = agent.models.active()
  if (champion) terminal.say(`continuing with model ${String(champion.version)}`)
  await ended
  terminal.say('stopping')
  await agent.stop()
  terminal.stop()
}
