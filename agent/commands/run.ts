import { defaultConfig, loadConfig } from '../config.js'
import { runDaemon } from '../daemon.js'
import { Terminal } from '../report/terminal.js'

export async function run({ config }: { config?: string }, signal: AbortSignal): Promise<void> {
  // What is told here may be lost, as where a log file's disk is full or a pipe was closed; the box goes on.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)
  const terminal = new Terminal({ stream: process.stdout, nowMs: () => performance.now() })
  await runDaemon({ load: async () => (config === undefined ? defaultConfig() : loadConfig(config)), signal, terminal })
}
