import { read } from 'read'
import { hashOf } from '../web/access.js'
import { PawlError } from '../errors.js'
import { writeSecret } from '../lib/secret.js'
import { print, type OutputOptions } from './output.js'

/** Asks for a password, twice at a terminal, and writes its hash: never the password. Errors: COMMAND_INVALID. */
export async function password({ out, ...options }: OutputOptions & { out?: string | undefined }): Promise<void> {
  const hash = await hashOf(process.stdin.isTTY ? await asked() : await piped())
  if (out !== undefined) await writeSecret(out, `${hash}\n`)
  print(options, { hash: out === undefined ? hash : undefined, file: out }, out === undefined
    ? [hash]
    : [`the hash of the password is in ${out}, which its owner alone may read; name it in dashboard.passwordFile`])
}

async function asked(): Promise<string> {
  const ask = (prompt: string) => read({ prompt, silent: true, replace: '*', output: process.stderr })
  const [first, second] = [await ask('Password: '), await ask('Once more: ')]
  if (first !== second) throw new PawlError('COMMAND_INVALID', 'the two passwords differ; nothing was written')
  return first
}

/** The first line of what comes in. */
async function piped(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8').split(/\r?\n/, 1)[0] ?? ''
}
