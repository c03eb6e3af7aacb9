/** What can be asked for over MQTT. A new command is a row here and a handler in app.ts. */
import { z } from 'zod'
import { PawlError } from '../errors.js'
import type { Logger } from '../lib/logger.js'
import type { Response } from './topics.js'

const common = { transaction: z.string().max(256).optional() }

export const commands = {
  train: {
    description: 'Starts a round now; answers when it has started',
    payload: z.strictObject({ ...common, reason: z.string().max(256).default('command') }),
  },
  status: {
    description: 'Answers with the state of the agent',
    payload: z.strictObject(common),
  },
  promote: {
    description: 'Puts a model in service, whatever was proved of it; it is not on probation',
    payload: z.strictObject({ ...common, version: z.number().int().positive() }),
  },
  rollback: {
    description: 'Puts the model before the one in service back',
    payload: z.strictObject(common),
  },
  pin: {
    description: 'Keeps a model in service, whatever passes the gate: the one that serves, unless another is named',
    payload: z.strictObject({ ...common, version: z.number().int().positive().optional() }),
  },
  follow: {
    description: 'A challenger that passes the gate serves: ends `pin` and `pause`',
    payload: z.strictObject(common),
  },
  pause: {
    description: 'No round begins, and what passes in one that runs does not serve',
    payload: z.strictObject(common),
  },
  reload: {
    description: 'Reads the configuration anew, as SIGHUP does: what is wrong in it is the answer, and then nothing changes',
    payload: z.strictObject(common),
  },
} as const satisfies Record<string, { description: string; payload: z.ZodType }>

export type Verb = keyof typeof commands

/** What a handler returns becomes `data`; what it throws becomes `error`. */
export type CommandHandlers = { [V in Verb]: (payload: z.infer<(typeof commands)[V]['payload']>) => unknown }

export const maxPayloadBytes = 65_536
const maxRunning = 8
const verbPattern = /^[a-z][a-z0-9-]{0,31}$/

export interface CommandRunnerOptions {
  handlers: CommandHandlers
  logger: Logger
  respond: (verb: string, response: Response) => void
}

/** Checks requests, runs their handlers and answers each. More than 8 at once are answered with an error. */
export class CommandRunner {
  private readonly options: CommandRunnerOptions
  private running = 0

  constructor(options: CommandRunnerOptions) {
    this.options = options
  }

  async handle(verb: string, bytes: Buffer, retained: boolean): Promise<void> {
    const { logger, respond } = this.options
    if (retained || !verbPattern.test(verb)) {
      logger.warn({ verb: verb.slice(0, 64), retained }, 'a retained request, or one without a proper name, was ignored')
      return
    }
    let transaction: string | undefined
    const answer = (response: Response) => { respond(verb, transaction === undefined ? response : { ...response, transaction }) }
    this.running++
    try {
      if (this.running > maxRunning) throw invalid(`busy with ${String(maxRunning)} other commands; try again later`)
      const json = parse(bytes)
      transaction = z.object({ transaction: z.string().max(256) }).safeParse(json).data?.transaction
      answer({ status: 'ok', data: await this.run(verb, json) ?? null })
    } catch (error) {
      const code = error instanceof PawlError ? error.code : 'INTERNAL'
      const message = error instanceof Error ? error.message : String(error)
      logger.warn({ verb, code, message }, 'a command was not carried out')
      answer({ status: 'error', error: { code, message } })
    } finally {
      this.running--
    }
  }

  private async run(verb: string, json: unknown): Promise<unknown> {
    const { handlers } = this.options
    switch (verb) {
      case 'train':
        return await handlers.train(check(commands.train.payload, json))
      case 'status':
        return await handlers.status(check(commands.status.payload, json))
      case 'promote':
        return await handlers.promote(check(commands.promote.payload, json))
      case 'rollback':
        return await handlers.rollback(check(commands.rollback.payload, json))
      case 'pin':
        return await handlers.pin(check(commands.pin.payload, json))
      case 'follow':
        return await handlers.follow(check(commands.follow.payload, json))
      case 'pause':
        return await handlers.pause(check(commands.pause.payload, json))
      case 'reload':
        return await handlers.reload(check(commands.reload.payload, json))
      default:
        throw invalid(`there is no command "${verb}"; known: ${Object.keys(commands).join(', ')}`)
    }
  }
}

function parse(bytes: Buffer): unknown {
  if (bytes.length > maxPayloadBytes) throw invalid(`the payload has ${String(bytes.length)} bytes; at most ${String(maxPayloadBytes)} are read`)
  const text = bytes.toString('utf8').trim()
  if (!text) return {}
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new PawlError('COMMAND_INVALID', 'the payload is not JSON; send an object, or nothing', { cause })
  }
}

function check<T>(schema: z.ZodType<T>, json: unknown): T {
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  throw invalid(parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'payload'}: ${message}`).join('; '))
}

function invalid(message: string): PawlError {
  return new PawlError('COMMAND_INVALID', message)
}
