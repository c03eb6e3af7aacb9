import { defaultConfig, loadConfig } from '../config.js'
import { runDaemon } from '../daemon.js'
import { Terminal } from '../report/terminal.js'

export async function run({ config }: { config?: string }, signal: AbortSignal): Promise<void> {
  const terminal = new Terminal({ stream: process.stdout, nowMs: () => performance.now() })
  await runDaemon({ load: async () => (config === undefined ? defaultConfig() : loadConfig(config)), signal, terminal })
}
