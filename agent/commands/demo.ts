import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { defaultConfig, type Config } from '../config.js'
import { playDemo } from '../demo.js'
import { PawlError } from '../errors.js'
import { createLogger } from '../lib/logger.js'
import { Terminal } from '../report/terminal.js'
import { percent, print, table, type OutputOptions } from './output.js'

/** Rounds as short as the story bears; they start when the story says so. */
const firstMinutes = 2
const laterMinutes = 1.5
const neverScheduled = '0 0 29 2 *'

export async function demo(options: OutputOptions & { data?: string | undefined }, signal: AbortSignal): Promise<void> {
  if (options.data !== undefined && existsSync(options.data) && (await readdir(options.data)).length > 0) {
    throw new PawlError('DEMO_FAILED', `${options.data} is not empty; the demonstration mixes up labels and wants a folder of its own`)
  }
  const temporary = options.data === undefined ? await mkdtemp(join(tmpdir(), 'pawl-demo-')) : null
  const terminal = new Terminal({ stream: options.json ? process.stderr : process.stdout, nowMs: () => performance.now() })
  try {
    const report = await playDemo({
      config: demoConfig(temporary ?? resolve(options.data ?? '')),
      logger: createLogger({ level: 'error' }),
      signal,
      onEvent: event => { terminal.accept(event) },
      tell: text => { terminal.say(`— ${text}`, 'bold') },
    })
    terminal.stop()
    const { rounds, frames, predictions, mqttMessages, confidence, seconds } = report
    const accuracy = (share: number | null) => (share === null ? '–' : percent(share))
    print(options, report, [
      '',
      ...table(['round', 'story', 'version', 'decision', 'champion', 'challenger'], rounds.map(round => [
        round.round, round.story, round.version ?? '–', `${round.promoted ? 'promoted' : 'refused'} (${round.reason})`,
        accuracy(round.accuracyChampion), accuracy(round.accuracyChallenger),
      ])),
      `${String(frames)} frames kept, ${String(predictions)} predictions and ${String(mqttMessages)} messages over MQTT in ${seconds.toFixed(0)} s;`
      + ` mean confidence ${percent(confidence.beforeDrift)} before the site changed, ${percent(confidence.afterDrift)} after`,
    ])
  } finally {
    terminal.stop()
    if (temporary) await rm(temporary, { recursive: true, force: true })
  }
}

function demoConfig(data: string): Config {
  const config = defaultConfig()
  const told = { schedule: neverScheduled, newFrames: 0, newLabels: 0, onDrift: false }
  return { ...config, data, rounds: { ...config.rounds, firstMinutes, minutes: laterMinutes, ...told } }
}
