/**
 * How a command at the box reaches the agent that runs there: a socket in the data folder, for the user that the agent runs as. A request is a verb
 * of report/commands.ts with its payload, over HTTP; the broker and its access list have no part in it.
 */
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { chmod, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { PawlError, type ErrorCode } from './errors.js'
import { carryOut } from './report/command-runner.js'
import type { CommandHandlers, Reply, Request, Verb } from './report/commands.js'
import { Response } from './report/topics.js'

export interface ControlOptions {
  /** The data folder, which this process holds. */
  data: string
  handlers: CommandHandlers
}

const socketName = '.control'
const answerMs = 60_000

export class Control {
  private readonly options: ControlOptions
  private server: Server | null = null

  constructor(options: ControlOptions) {
    this.options = options
  }

  /** Errors: what the file system says where it takes no socket. */
  async start(): Promise<void> {
    const server = createServer((asked, answer) => { void this.answer(asked, answer) })
    await withSocket(this.options.data, async path => {
      // A former agent's that was killed: whoever holds the folder is the only one.
      await rm(path, { force: true })
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(path, () => { resolve() })
      })
      await chmod(path, 0o600)
    })
    this.server = server.unref()
  }

  async stop(): Promise<void> {
    const { server } = this
    if (!server) return
    this.server = null
    const closed = new Promise<void>(resolve => { server.close(() => { resolve() }) })
    server.closeAllConnections()
    await closed
    await rm(join(this.options.data, socketName), { force: true })
  }

  private async answer(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const response = await buffer(asked)
      .then(bytes => carryOut(this.options.handlers, (asked.url ?? '').slice(1), bytes))
      .then((data): Response => ({ status: 'ok', data }), (cause: unknown): Response => ({
        status: 'error', error: { code: cause instanceof PawlError ? cause.code : 'INTERNAL', message: cause instanceof Error ? cause.message : String(cause) },
      }))
    answer.end(JSON.stringify(response))
  }
}

/** Asks the agent that works on a data folder; null: none does. Errors: what it answers. */
export async function ask<V extends Verb>(data: string, verb: V, payload: Omit<Request<V>, 'transaction'>): Promise<Reply<V> | null> {
  const answered = await withSocket(data, path => post(path, verb, JSON.stringify(payload)))
  if (answered === null) return null
  const response = Response.parse(JSON.parse(answered))
  if (response.status === 'error') throw new PawlError(response.error.code as ErrorCode, response.error.message)
  return response.data as Reply<V>
}

/** Null: nobody listens. */
function post(path: string, verb: string, body: string): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath: path, path: `/${verb}`, method: 'POST', timeout: answerMs }, answer => { text(answer).then(resolve, reject) })
    asking.on('timeout', () => { asking.destroy(new PawlError('DATA_LOCKED', `the agent that runs has not answered "${verb}" within ${String(answerMs / 1000)} s`)) })
    asking.on('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED') resolve(null)
      else if (cause.code === 'EACCES') reject(new PawlError('CONTROL_UNAVAILABLE', 'the agent that runs is another user\'s; give the command as that user (under systemd `sudo -u pawl …`)'))
      else reject(cause)
    })
    asking.end(body)
  })
}

/** The path of a socket has 107 bytes at most; by its open folder it is short. */
async function withSocket<T>(data: string, use: (path: string) => Promise<T>): Promise<T | null> {
  const folder = await open(data, 'r').catch(() => null)
  if (!folder) return null
  try {
    return await use(process.platform === 'linux' ? `/proc/self/fd/${String(folder.fd)}/${socketName}` : join(data, socketName))
  } finally {
    await folder.close()
  }
}
