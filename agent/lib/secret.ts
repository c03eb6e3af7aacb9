import { readFile } from 'node:fs/promises'
import { PawlError } from '../errors.js'

/** A secret from a file, without the line break at its end, else from the environment; "" where neither holds one. Errors: CONFIG_INVALID. */
export async function secretOf({ key, file, variable }: { key: string; file: string; variable: string }): Promise<string> {
  if (!file) return process.env[variable] ?? ''
  try {
    return (await readFile(file, 'utf8')).trimEnd()
  } catch (cause) {
    throw new PawlError('CONFIG_INVALID', `${key} is "${file}", which cannot be read; create it, or set ${variable}`, { cause })
  }
}
