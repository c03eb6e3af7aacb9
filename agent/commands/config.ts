import { configSchema, exampleConfig, loadConfig } from '../config.js'
import { withoutPasswords } from '../lib/logger.js'
import { print, type OutputOptions } from './output.js'

export async function check(file: string, options: OutputOptions): Promise<void> {
  const config = JSON.parse(JSON.stringify(await loadConfig(file)), (_, value: unknown) => (typeof value === 'string' ? withoutPasswords(value) : value)) as unknown
  print(options, { valid: true, config }, [`${file} is valid`])
}

export function schema(): void {
  process.stdout.write(`${JSON.stringify(configSchema(), null, 2)}\n`)
}

export function example(): void {
  process.stdout.write(exampleConfig())
}
