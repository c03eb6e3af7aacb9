import { loadConfig } from '../config.js'
import { packageVersion } from '../lib/package-root.js'
import { asyncApi } from '../report/asyncapi.js'
import { verbs } from '../report/commands.js'

/** The AsyncAPI document of a box with this configuration; without one, of any box. */
export async function schema({ config: file }: { config?: string }): Promise<void> {
  process.stdout.write(`${JSON.stringify(await documentFor(file), null, 2)}\n`)
}

async function documentFor(file: string | undefined): Promise<unknown> {
  const version = packageVersion()
  if (file === undefined) return asyncApi({ version, base: 'pawl', device: null, cameras: null, accepted: verbs, broker: null })
  const { device, cameras, mqtt: { base, commands, broker, port, protocol } } = await loadConfig(file)
  return asyncApi({
    version, base, device, cameras: cameras.map(({ id }) => id), accepted: commands,
    broker: { url: broker === 'embedded' ? `mqtt://127.0.0.1:${String(port)}` : broker, protocol },
  })
}
