/** The data folder as the commands see it, while no daemon holds it or beside one that does. */
import { homedir } from 'node:os'
import { join } from 'node:path'
import { defaultConfig, loadConfig, type Config } from '../config.js'
import { checkFolder, openFolder } from '../data/folder.js'
import { systemClock } from '../lib/clock.js'
import { Registry } from '../registry/registry.js'

export async function configOf(options: { config?: string | undefined }): Promise<Config> {
  return options.config === undefined ? defaultConfig() : loadConfig(options.config)
}

/** Where the labels are. Errors: DATA_FORMAT. */
export async function labelsOf(options: { config?: string | undefined }): Promise<string> {
  const { data } = await configOf(options)
  await checkFolder(data)
  return join(data, 'labels')
}

/** The registry to read from; a running daemon does not mind. Problems go to stderr. */
export async function readRegistry(config: Config): Promise<Registry> {
  await checkFolder(config.data)
  const registry = registryOf(config)
  await registry.read()
  return registry
}

/** The registry to change. Errors: DATA_LOCKED while a daemon runs on the folder. */
export async function changeRegistry<T>(config: Config, change: (registry: Registry) => Promise<T>): Promise<T> {
  const release = await openFolder(config.data, what => { process.stderr.write(`pawl: ${what}\n`) })
  try {
    const registry = registryOf(config)
    await registry.start()
    const result = await change(registry)
    await registry.stop()
    return result
  } finally {
    await release()
  }
}

function registryOf(config: Config): Registry {
  return new Registry({
    data: config.data, clock: systemClock,
    onProblem: error => { process.stderr.write(`pawl: ${error.code}: ${error.message}\n`) },
  })
}

/** The file that remembers which engines were verified, for commands that run without a data folder. */
export function ownEngines(): string {
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'pawl', 'engines.json')
}
