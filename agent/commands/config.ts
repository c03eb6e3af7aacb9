import { configSchema, exampleConfig, loadConfig, warningOf } from '../config.js'
import { withoutPasswords } from '../lib/logger.js'
import { print, type OutputOptions } from './output.js'

export async function check(file: string, options: OutputOptions): Promise<void> {
  const config = JSON.parse(JSON.stringify(await loadConfig(file)), (_, value: unknown) => (typeof value === 'string' ? withoutPasswords(value) : value)) as unknown
  const warning = await warningOf(file)
  print(options, { valid: true, warning, config }, [`${file} is valid`, ...warning === null ? [] : [`but ${warning}`]])
}

export function schema(): void {
  process.stdout.write(`${JSON.stringify(configSchema(), null, 2)}\n`)
}

export function example(): void {
  process.stdout.write(exampleConfig())
}
