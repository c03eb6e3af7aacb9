import { createHash } from 'node:crypto'
import { z } from 'zod'
import { PawlError } from '../errors.js'
import type { Logger } from '../lib/logger.js'
import type { Answers } from './answers.js'
import { commands, verbs, type CommandHandlers, type Request, type Verb } from './commands.js'
import type { Response } from './topics.js'

const maxPayloadBytes = 65_536
const maxRunning = 8
/** Characters of an error that is answered: it may repeat what was asked. */
const longestMessage = 1000
const verbPattern = /^[a-z][a-z0-9-]{0,31}$/

export interface CommandRunnerOptions {
  handlers: CommandHandlers
  /** Those that are carried out; the others are refused. */
  accepted: readonly Verb[]
  answers: Answers
  logger: Logger
  respond: (verb: string, response: Response) => void
}

/** Checks requests, runs their handlers, each transaction once, and answers each request. More than 8 at once are answered with an error. */
export class CommandRunner {
  private readonly options: CommandRunnerOptions
  private running = 0

  constructor(options: CommandRunnerOptions) {
    this.options = options
  }

  async handle(name: string, bytes: Buffer, retained: boolean): Promise<void> {
    const { handlers, logger, respond } = this.options
    if (retained || !verbPattern.test(name)) {
      logger.warn({ verb: name.slice(0, 64), retained }, 'a retained request, or one without a proper name, was ignored')
      return
    }
    let transaction: string | undefined
    this.running++
    const response = await this.attempt(name, async () => {
      const json = parse(bytes)
      transaction = z.object({ transaction: z.string().max(256) }).safeParse(json).data?.transaction
      if (this.running > maxRunning) throw invalid(`busy with ${String(maxRunning)} other commands; try again later`)
      const verb = this.verb(name)
      return this.answer({ verb, handler: handlers[verb], json, transaction })
    })
    this.running--
    respond(name, transaction === undefined ? response : { ...response, transaction })
  }

  private verb(name: string): Verb {
    const { accepted } = this.options
    const verb = verbOf(name)
    if (accepted.includes(verb)) return verb
    const others = accepted.length ? `accepted are: ${accepted.join(', ')}` : 'so is every other'
    throw new PawlError('COMMAND_OFF', `"${verb}" is switched off on this box by the key mqtt.commands; ${others}`)
  }

  private async answer<V extends Verb>({ verb, handler, json, transaction }: Told<V>): Promise<Response> {
    const { payload, changes } = rows[verb]
    const request = check(payload, json)
    const carryOut = () => this.attempt(verb, async () => ({ status: 'ok', data: await handler(request) }))
    if (transaction === undefined) return carryOut()
    const fingerprint = createHash('sha256').update(JSON.stringify(request)).digest('base64')
    return this.options.answers.once({ verb, transaction, request: fingerprint, changes }, carryOut)
  }

  /** Errors become answers. */
  private async attempt(verb: string, work: () => Promise<Response>): Promise<Response> {
    try {
      return await work()
    } catch (error) {
      const code = error instanceof PawlError ? error.code : 'INTERNAL'
      const message = (error instanceof Error ? error.message : String(error)).slice(0, longestMessage)
      this.options.logger.warn({ verb, code, message }, 'a command was not carried out')
      return { status: 'error', error: { code, message } }
    }
  }
}

/** For somebody at the box itself: every verb is accepted, and each request carried out. Errors: COMMAND_INVALID, and those of the handlers. */
export async function carryOut(handlers: CommandHandlers, name: string, bytes: Buffer): Promise<unknown> {
  const verb = verbOf(name)
  const handled = <V extends Verb>(own: V, handler: CommandHandlers[V]) => handler(check(rows[own].payload, parse(bytes)))
  return await handled(verb, handlers[verb])
}

function verbOf(name: string): Verb {
  const verb = verbs.find(known => known === name)
  if (!verb) throw invalid(`there is no command "${name}"; known: ${verbs.join(', ')}`)
  return verb
}

/** The table, in the form that a verb known only when it runs can be looked up in. */
const rows: { [V in Verb]: { payload: z.ZodType<Request<V>>; changes: boolean } } = commands

interface Told<V extends Verb> {
  verb: V
  handler: CommandHandlers[V]
  json: unknown
  transaction: string | undefined
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
