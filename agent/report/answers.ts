/**
 * Answers by transaction: a request that comes again, after a lost connection or a restart, is answered again and not carried out twice.
 *
 * INVARIANTS
 * - An answer is kept for an hour. Of more than 200, or more than 1 MB, the oldest go first; never one that is still waited for.
 * - Of a command that changes something it is on disk that it begins before it does, and its answer before that is sent.
 */
import { z } from 'zod'
import { PawlError } from '../errors.js'
import type { Clock } from '../lib/clock.js'
import { KeptFile } from '../lib/kept-file.js'
import type { Logger } from '../lib/logger.js'
import { Response } from './topics.js'

const keptMs = 3_600_000
const mostAnswers = 200
const mostBytes = 1_000_000

const Stored = z.array(z.strictObject({
  key: z.string(), request: z.string(), atMs: z.number(),
  /** Null: it began, and there is no answer yet. */
  response: Response.nullable(),
}))

interface Kept {
  /** Of the request, so that another one under the same transaction is told apart. */
  request: string
  onDisk: boolean
  /** On the monotonic clock. */
  sinceMs: number
  answer: Promise<Response>
  response: Response | null
  /** Of the response. */
  bytes: number
}

export interface Asked {
  verb: string
  transaction: string
  /** Any text that differs where the request does. */
  request: string
  /** Whether it is to be remembered over a restart. */
  changes: boolean
}

export interface AnswersOptions {
  path: string
  clock: Clock
  logger: Logger
}

export class Answers {
  private readonly options: AnswersOptions
  private readonly file: KeptFile<z.infer<typeof Stored>>
  /** Oldest first. */
  private readonly kept = new Map<string, Kept>()
  private stopped = false

  constructor(options: AnswersOptions) {
    const { path, logger } = options
    this.options = options
    this.file = new KeptFile({ path, schema: Stored, onProblem: message => { logger.warn({ message }, 'answers are kept in memory alone') } })
  }

  async start(): Promise<void> {
    const { clock } = this.options
    for (const { key, request, atMs, response } of await this.file.read() ?? []) {
      // A clock that jumped back makes nothing older than it is.
      const sinceMs = clock.monotonicMs() - Math.max(0, clock.nowMs() - atMs)
      const answer = response ?? interrupted
      this.kept.set(key, { request, onDisk: true, sinceMs, answer: Promise.resolve(answer), response: answer, bytes: JSON.stringify(answer).length })
    }
    this.forgetOld()
  }

  /** Resolves when all is written, and nothing is any more: what is still carried out then counts as interrupted. */
  async stop(): Promise<void> {
    this.stopped = true
    await this.file.stop()
  }

  /** What was answered to this transaction before, else what `carryOut` gives. Errors: COMMAND_INVALID for the transaction of another request. */
  async once({ verb, transaction, request, changes }: Asked, carryOut: () => Promise<Response>): Promise<Response> {
    const key = `${verb}/${transaction}`
    this.forgetOld()
    const known = this.kept.get(key)
    if (known) {
      if (known.request !== request) throw new PawlError('COMMAND_INVALID', `transaction "${transaction}" was that of another request; choose a new one`)
      return known.answer
    }
    const sinceMs = this.options.clock.monotonicMs()
    const kept: Kept = { request, onDisk: changes, sinceMs, answer: Promise.resolve(interrupted), response: null, bytes: 0 }
    this.kept.set(key, kept)
    kept.answer = this.first(kept, carryOut)
    return kept.answer
  }

  private async first(kept: Kept, carryOut: () => Promise<Response>): Promise<Response> {
    if (kept.onDisk) await this.save()
    kept.response = await carryOut()
    kept.bytes = JSON.stringify(kept.response).length
    this.forgetOld()
    if (kept.onDisk) await this.save()
    return kept.response
  }

  private forgetOld(): void {
    const nowMs = this.options.clock.monotonicMs()
    let [answers, bytes] = [0, 0]
    for (const [key, { sinceMs, response, ...size }] of [...this.kept].reverse()) {
      if (!response) continue
      answers++
      bytes += size.bytes
      if (nowMs - sinceMs > keptMs || answers > mostAnswers || (bytes > mostBytes && answers > 1)) this.kept.delete(key)
    }
  }

  private save(): Promise<void> {
    if (this.stopped) return Promise.resolve()
    const { clock } = this.options
    const ageMs = (sinceMs: number) => clock.monotonicMs() - sinceMs
    return this.file.write([...this.kept].filter(([, { onDisk }]) => onDisk)
      .map(([key, { request, sinceMs, response }]) => ({ key, request, atMs: clock.nowMs() - ageMs(sinceMs), response })))
  }
}

const interrupted: Response = {
  status: 'error',
  error: {
    code: 'COMMAND_INTERRUPTED',
    message: 'the agent ended while it carried this out, and does not know how far it came; look at its state, and ask under another transaction if need be',
  },
}
