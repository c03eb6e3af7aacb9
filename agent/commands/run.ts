import { defaultConfig, loadConfig } from '../config.js'
import { runDaemon } from '../daemon.js'
import { Terminal } from '../report/terminal.js'

export async function run(options: { config?: string }, signal: AbortSignal): Promise<void> {
  const config = options.config === undefined ? defaultConfig() : await loadConfig(options.config)
  const terminal = new Terminal({ stream: process.stdout, nowMs: () => performance.now() })
  await runDaemon(config, { signal, terminal })
}
