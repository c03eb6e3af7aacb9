/** Commands to many boxes, and what each answers. */
import { z } from 'zod'
import { PawlError } from '../errors.js'
import { commands, verbs, type Verb } from '../report/commands.js'
import { Response } from '../report/topics.js'

export const Ask = z.strictObject({
  verb: z.enum(verbs),
  devices: z.array(z.string().max(64)).min(1).max(20_000),
  /** As the command takes it, without a transaction. */
  payload: z.record(z.string(), z.unknown()).default({}),
})
export type Ask = z.infer<typeof Ask>

/** offline: it was not asked, as the broker would keep nothing for it; silent: there was no answer in time. */
export type Answer =
  | { state: 'waiting' | 'offline' | 'silent' }
  | { state: 'ok'; data: unknown }
  | { state: 'error'; code: string; message: string }

export interface AskReport {
  id: string
  verb: Verb
  atMs: number
  /** Nothing more is waited for. */
  over: boolean
  answers: Record<string, Answer>
}

interface Asked {
  report: AskReport
  /** Boxes that have not answered. */
  waiting: Set<string>
}

export interface AskingOptions {
  publish: (device: string, verb: Verb, payload: string) => Promise<void>
  isOnline: (device: string) => boolean
  answerMs: number
  newId: () => string
  nowMs: () => number
}

/** Requests that the broker has not acknowledged, at once. */
const atOnce = 50
const keptReports = 20
const longestText = 1000
const mostDataBytes = 4000

export class Asking {
  private readonly options: AskingOptions
  private readonly asked = new Map<string, Asked>()
  private readonly timers = new Set<NodeJS.Timeout>()

  constructor(options: AskingOptions) {
    this.options = options
  }

  report(id: string): AskReport | undefined {
    return this.asked.get(id)?.report
  }

  /** Gives the report at once, which fills as they answer. Errors: COMMAND_INVALID. */
  ask({ verb, devices, payload }: Ask): AskReport {
    const { newId, nowMs, isOnline } = this.options
    const id = newId()
    const request = { ...payload, transaction: id }
    const parsed = commands[verb].payload.safeParse(request)
    if (!parsed.success) throw new PawlError('COMMAND_INVALID', `${verb}: ${parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ')}`)
    const answers = Object.fromEntries(devices.map((device): [string, Answer] => [device, { state: isOnline(device) ? 'waiting' : 'offline' }]))
    const report: AskReport = { id, verb, atMs: nowMs(), over: false, answers }
    const asked = { report, waiting: new Set(devices.filter(isOnline)) }
    this.asked.set(id, asked)
    for (const old of [...this.asked.keys()].slice(0, -keptReports)) this.asked.delete(old)
    void this.send(asked, JSON.stringify(request))
    return report
  }

  heard(device: string, payload: Buffer): void {
    const parsed = Response.safeParse(parse(payload))
    const { data: response } = parsed
    const asked = response?.transaction === undefined ? undefined : this.asked.get(response.transaction)
    const former = asked && Object.hasOwn(asked.report.answers, device) ? asked.report.answers[device] : undefined
    if (!response || !asked || !former || former.state === 'ok' || former.state === 'error') return
    this.answer(asked, device, response.status === 'ok' ? { state: 'ok', data: short(response.data) }
      : { state: 'error', code: response.error.code.slice(0, 64), message: response.error.message.slice(0, longestText) })
  }

  stop(): void {
    for (const timer of this.timers) clearTimeout(timer)
  }

  private async send(asked: Asked, payload: string): Promise<void> {
    const { publish, answerMs } = this.options
    const next = asked.waiting.values()
    const sendNext = async () => {
      for (const device of next) {
        await publish(device, asked.report.verb, payload).catch((cause: unknown) => {
          const { code, message } = cause instanceof PawlError ? cause : new PawlError('BROKER_UNAVAILABLE', String(cause))
          this.answer(asked, device, { state: 'error', code, message })
        })
      }
    }
    await Promise.all(Array.from({ length: atOnce }, sendNext))
    asked.report.over = asked.waiting.size === 0
    if (asked.report.over) return
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      for (const device of asked.waiting) this.answer(asked, device, { state: 'silent' })
    }, answerMs)
    this.timers.add(timer)
  }

  private answer({ report, waiting }: Asked, device: string, answer: Answer): void {
    report.answers[device] = answer
    waiting.delete(device)
    report.over = waiting.size === 0
  }
}

function parse(payload: Buffer): unknown {
  try {
    return JSON.parse(payload.toString('utf8'))
  } catch {
    return undefined
  }
}

/** What is too long to be kept for thousands of boxes is left out. */
function short(data: unknown): unknown {
  return JSON.stringify(data ?? null).length > mostDataBytes ? null : data
}
