import { readFile, rm, writeFile } from 'node:fs/promises'
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

/** Writes a file that its owner alone may read, also where it was there before. Errors: COMMAND_INVALID. */
export async function writeSecret(path: string, text: string): Promise<void> {
  try {
    await rm(path, { force: true })
    await writeFile(path, text, { mode: 0o600, flag: 'wx' })
  } catch (cause) {
    throw new PawlError('COMMAND_INVALID', `${path} cannot be written (${cause instanceof Error ? cause.message : String(cause)}); choose another file, or run this as the user who owns it`, { cause })
  }
}
