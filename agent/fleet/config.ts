/** The file of `pawl fleet`: how the broker is reached and how the page is served, by the same keys as in that of a box. */
import { resolve } from 'node:path'
import { z } from 'zod'
import { brokerUrl, checkTls, linkKeys, pageKeys, withSecretPaths } from '../config.js'
import { PawlError } from '../errors.js'
import { withoutPasswords } from '../lib/logger.js'
import { parseChecked, readText } from '../lib/checked-yaml.js'

const FleetConfig = z.strictObject({
  mqtt: z.strictObject({
    broker: brokerUrl.default('mqtt://127.0.0.1:1883').describe('Broker that the boxes report to'),
    ...linkKeys,
  }).superRefine(checkTls).prefault({}),
  dashboard: z.strictObject({ ...pageKeys, port: pageKeys.port.unwrap().min(1).default(8471) }).prefault({}),
  answerSeconds: z.number().min(1).max(3600).default(20).describe('Time that a box has to answer a command'),
})

export type FleetConfig = z.infer<typeof FleetConfig>

/** On the command line. */
export interface FleetGiven {
  /** The file. */
  config?: string
  broker?: string
  base?: string
  port?: number
  address?: string
}

/**
 * What the command line says goes before what the file does. Errors: CONFIG_INVALID, as for the file of a box; COMMAND_INVALID for a
 * password on the command line.
 */
export async function fleetConfig({ config: path, broker, base, port, address }: FleetGiven): Promise<FleetConfig> {
  const hint = 'see agent/fleet/README.md'
  if (broker !== undefined && withoutPasswords(broker) !== broker) {
    throw new PawlError('COMMAND_INVALID', '--broker holds a password, which every user of this machine can see there; put user and password into the file, as mqtt.username and mqtt.passwordFile, or the password into PAWL_MQTT_PASSWORD')
  }
  const check = (text: string, file: string) => parseChecked(FleetConfig, { text, file, hint })
  const file = path === undefined ? null : resolve(path)
  const read = check(file === null ? '' : await readText(file, hint), path ?? '')
  const { mqtt, dashboard } = read
  const given = {
    ...read,
    mqtt: { ...mqtt, ...broker !== undefined && { broker }, ...base !== undefined && { base } },
    dashboard: { ...dashboard, ...port !== undefined && { port }, ...address !== undefined && { address } },
  }
  const config = check(JSON.stringify(given), 'command line')
  const folder = file === null ? process.cwd() : resolve(file, '..')
  return { ...config, mqtt: withSecretPaths(config.mqtt, folder), dashboard: withSecretPaths(config.dashboard, folder) }
}
