/**
 * Commands to many boxes, and what each answers.
 *
 * INVARIANTS
 * - All answers together are bounded by bytes: each by its share of them, and of all commands the oldest are forgotten first, never the newest.
 */
import { z } from 'zod'
import { PawlError } from '../errors.js'
import { commands, verbs, type Verb } from '../report/commands.js'
import { Response } from '../report/topics.js'
import type { Answer, AnswerState, AskProgress } from './answers.js'
import { answerStates } from './words.js'

export const Ask = z.strictObject({
  verb: z.enum(verbs),
  devices: z.array(z.string().max(64)).min(1).max(20_000),
  /** As the command takes it, without a transaction. */
  payload: z.record(z.string(), z.unknown()).default({}),
})
export type Ask = z.infer<typeof Ask>

/** An answer as it is sent to a page: text has a size that can be counted. */
interface Kept {
  state: AnswerState
  json: string
}

interface Asked {
  id: string
  verb: Verb
  atMs: number
  over: boolean
  answers: Map<string, Kept>
  counts: Record<AnswerState, number>
  /** Boxes that have not answered. */
  waiting: Set<string>
  /** Of what the boxes said. */
  bytes: number
}

export interface AskingOptions {
  publish: (device: string, verb: Verb, payload: string) => Promise<void>
  isOnline: (device: string) => boolean
  answerMs: number
  newId: () => string
  nowMs: () => number
  /** Of all answers together; 32 MiB unless given. */
  mostBytes?: number
}

/** Requests that the broker has not acknowledged, at once. */
const atOnce = 50
const keptReports = 20
const longestText = 1000
const defaultMostBytes = 32 * 2 ** 20
/** Of one answer, however few were asked. A `status` with five decisions of ten classes is 5.5 kB. */
const mostAnswerBytes = 256 * 1024

export class Asking {
  private readonly options: AskingOptions
  private readonly asked = new Map<string, Asked>()
  private readonly timers = new Set<NodeJS.Timeout>()

  constructor(options: AskingOptions) {
    this.options = options
  }

  progress(id: string): AskProgress | undefined {
    const asked = this.asked.get(id)
    return asked && progressOf(asked)
  }

  /** AskReport as JSON, of `most` boxes. */
  answers(id: string, most = Infinity): string | undefined {
    const asked = this.asked.get(id)
    if (!asked) return undefined
    const inOrder = answerStates.flatMap(state => [...asked.answers].filter(([, answer]) => answer.state === state)).slice(0, most)
    const answers = inOrder.map(([device, { json }]) => `${JSON.stringify(device)}:${json}`)
    return `${JSON.stringify(progressOf(asked)).slice(0, -1)},"answers":{${answers.join(',')}}}`
  }

  /** Returns at once; answers are counted as they come. Errors: COMMAND_INVALID. */
  ask({ verb, devices, payload }: Ask): AskProgress {
    const { newId, nowMs, isOnline } = this.options
    const id = newId()
    const request = { ...payload, transaction: id }
    const parsed = commands[verb].payload.safeParse(request)
    if (!parsed.success) throw new PawlError('COMMAND_INVALID', `${verb}: ${parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')}`)
    const answers = new Map(devices.map(device => [device, plain[isOnline(device) ? 'waiting' : 'offline']]))
    const waiting = new Set([...answers].filter(([, { state }]) => state === 'waiting').map(([device]) => device))
    const counts = { error: 0, silent: 0, offline: answers.size - waiting.size, waiting: waiting.size, ok: 0 }
    const asked: Asked = { id, verb, atMs: nowMs(), over: false, answers, counts, waiting, bytes: 0 }
    this.asked.set(id, asked)
    this.forget()
    void this.send(asked, JSON.stringify(request))
    return progressOf(asked)
  }

  heard(device: string, payload: Buffer): void {
    const parsed = Response.safeParse(parse(payload))
    const { data: response } = parsed
    const asked = response?.transaction === undefined ? undefined : this.asked.get(response.transaction)
    const former = asked?.answers.get(device)
    if (!response || !asked || !former || former.state === 'ok' || former.state === 'error') return
    if (response.status === 'error') return this.fail(asked, device, response.error)
    const json = JSON.stringify({ state: 'ok', data: response.data ?? null } satisfies Answer)
    this.answer(asked, device, Buffer.byteLength(json) > this.roomFor(asked) ? plain.tooLong : { state: 'ok', json })
  }

  stop(): void {
    for (const timer of this.timers) clearTimeout(timer)
  }

  private async send(asked: Asked, payload: string): Promise<void> {
    const { publish, answerMs } = this.options
    const next = asked.waiting.values()
    const sendNext = async () => {
      for (const device of next) {
        await publish(device, asked.verb, payload).catch((cause: unknown) => {
          this.fail(asked, device, cause instanceof PawlError ? cause : new PawlError('BROKER_UNAVAILABLE', String(cause)))
        })
      }
    }
    await Promise.all(Array.from({ length: atOnce }, sendNext))
    asked.over = asked.waiting.size === 0
    if (asked.over) return
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      for (const device of asked.waiting) this.answer(asked, device, plain.silent)
    }, answerMs)
    this.timers.add(timer)
  }

  private fail(asked: Asked, device: string, { code, message }: { code: string; message: string }): void {
    const longest = Math.min(longestText, Math.floor(this.roomFor(asked) / 4))
    this.answer(asked, device, { state: 'error', json: JSON.stringify({ state: 'error', code: code.slice(0, 64), message: message.slice(0, longest) } satisfies Answer) })
  }

  private answer(asked: Asked, device: string, answer: Kept): void {
    const { answers, counts, waiting } = asked
    counts[answers.get(device)?.state ?? answer.state]--
    counts[answer.state]++
    answers.set(device, answer)
    waiting.delete(device)
    asked.over = waiting.size === 0
    asked.bytes += Buffer.byteLength(answer.json)
    this.forget()
  }

  /** Bytes that an answer may have, so that those of all that were asked fit. */
  private roomFor({ answers }: Asked): number {
    const { mostBytes = defaultMostBytes } = this.options
    return Math.min(mostAnswerBytes, mostBytes / answers.size)
  }

  private forget(): void {
    const { mostBytes = defaultMostBytes } = this.options
    let bytes = [...this.asked.values()].reduce((sum, asked) => sum + asked.bytes, 0)
    for (const [id, asked] of this.asked) {
      if (this.asked.size === 1 || (this.asked.size <= keptReports && bytes <= mostBytes)) break
      this.asked.delete(id)
      bytes -= asked.bytes
    }
  }
}

/** Answers without words of the box, shared by all that give them. */
const plain = {
  waiting: { state: 'waiting', json: '{"state":"waiting"}' },
  offline: { state: 'offline', json: '{"state":"offline"}' },
  silent: { state: 'silent', json: '{"state":"silent"}' },
  tooLong: { state: 'ok', json: '{"state":"ok","tooLong":true}' },
} as const satisfies Record<string, Kept>

const progressOf = ({ id, verb, atMs, over, counts }: Asked): AskProgress => ({ id, verb, atMs, over, counts: { ...counts } })

function parse(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'))
  } catch {
    return undefined
  }
}
