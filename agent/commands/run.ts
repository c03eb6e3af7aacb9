import { defaultConfig, loadConfig, warningOf } from '../config.js'
import { runDaemon } from '../daemon.js'
import { createLogger } from '../lib/logger.js'
import { LogLines } from '../report/log-lines.js'
import { Terminal } from '../report/terminal.js'

/** With `json` each thing that happens is a line of JSON on standard error, as what is logged is; else a line for people on standard output. */
export async function run({ config, json = false }: { config?: string; json?: boolean }, signal: AbortSignal): Promise<void> {
  // What is told here may be lost, as where a log file's disk is full or a pipe was closed; the box goes on.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  const load = async () => (config === undefined ? defaultConfig() : loadConfig(config))
  const level = json ? (await load()).logLevel : 'info'
  const teller = json ? new LogLines(createLogger({ level })) : new Terminal({ stream: process.stdout, nowMs: () => performance.now() })
  const warning = config === undefined ? null : await warningOf(config).catch(() => null)
  if (warning !== null) teller.say(warning, 'yellow')
  await runDaemon({ load, file: config, signal, teller, plain: !json })
}
