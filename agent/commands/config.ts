import { configSchema, exampleConfig, loadConfig } from '../config.js'
import { print, type OutputOptions } from './output.js'

export async function check(file: string, options: OutputOptions): Promise<void> {
  print(options, { valid: true, config: await loadConfig(file) }, [`${file} is valid`])
}

export function schema(): void {
  process.stdout.write(`${JSON.stringify(configSchema(), null, 2)}\n`)
}

export function example(): void {
  process.stdout.write(exampleConfig())
}
