/** A box in the middle of what is thrown at it: it must go on, be the same, and say what it says well. */
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../../trainer/index.js'
import { errorCatalogue } from '../../agent/errors.js'
import { topics, type Response } from '../../agent/report/topics.js'
import { processOf } from '../chaos/box.js'
import type { HttpCamera } from '../cameras/http-camera.js'
import type { Box } from '../site/box.js'
import type { Daemon } from '../site/daemon.js'
import type { Pictures } from './pictures.js'
import type { Sandbox } from './sandbox.js'
import type { WireCamera } from './wires.js'

export interface TargetOptions {
  box: Box
  sandbox: Sandbox
  pictures: Pictures
  /** By their ids. */
  cameras: Readonly<Record<string, HttpCamera>>
  /** A camera for a stream and one for snapshots each. */
  wires: readonly (readonly WireCamera[])[]
  secrets: readonly string[]
  random: Random
}

/** For what it should do at once: the machine may be busy. */
const longestMs = 40_000

export class Target {
  readonly options: TargetOptions
  readonly problems: string[] = []
  /** What was thrown, and how often. */
  readonly thrown: Record<string, Record<string, number>> = {}
  /** Most memory that each of its processes had, MB. */
  readonly peakMb: Record<string, number> = {}
  /** All that former daemons said. */
  private said = ''
  private running: Daemon | null = null
  private classifier = 0
  /** Place in what it says from which the newest round is told. */
  private roundFrom = 0

  constructor(options: TargetOptions) {
    this.options = options
  }

  get daemon(): Daemon {
    if (!this.running) throw new Error('the box is down')
    return this.running
  }

  get text(): string {
    return `${this.said}\n${this.running?.text ?? ''}`
  }

  threw(what: string, kind: string): void {
    const kinds = this.thrown[what] ??= {}
    kinds[kind] = (kinds[kind] ?? 0) + 1
  }

  start(): Daemon {
    const { box, sandbox } = this.options
    this.running = box.start({ cwd: sandbox.cwd, environment: sandbox.environment })
    return this.running
  }

  /** It serves: the process that does is to stay the same. */
  async serves(): Promise<void> {
    this.classifier = await processOf(this.daemon, 'classifier')
  }

  async cut(): Promise<void> {
    await this.running?.cut()
  }

  async roundBegins(): Promise<void> {
    this.roundFrom = await this.options.box.train(this.daemon)
  }

  /** The round that was begun comes to an end of its own, with a model or without. */
  async roundEnds(): Promise<void> {
    const ended = await this.daemon.said(/^round \d+: (promoted|refused \((\S+)\))/, { from: this.roundFrom })
    if (['crashed', 'out-of-memory', 'out-of-time', 'labels'].includes(ended[2] ?? '')) this.problems.push(`a round was ended by what it learned from: ${ended.input}`)
  }

  async ends(): Promise<void> {
    await this.measure()
    const { code, signal } = await this.daemon.end()
    if (code !== 0) this.problems.push(`told to end, it ended with ${signal ?? `code ${String(code)}`}`)
    this.said = this.text
    this.running = null
  }

  /** It runs, its classifier is the one it was, and a picture of the good camera is answered that was taken from now on. */
  async alive(after: string): Promise<void> {
    if (!this.daemon.running) throw new Error(`after ${after} it is gone:\n${this.daemon.lines.slice(-30).join('\n')}`)
    const { onlooker } = this.options.box
    const heard = () => onlooker.timesOf('cameraPrediction', 'good').length
    const before = heard()
    const untilMs = performance.now() + longestMs
    while (heard() < before + 2 && performance.now() < untilMs) await sleep(20)
    if (heard() < before + 2) this.problems.push(`after ${after} the good camera is not answered within ${String(longestMs / 1000)} s`)
    const now = await processOf(this.daemon, 'classifier')
    if (now !== this.classifier) this.problems.push(`after ${after} another process classifies`)
    this.classifier = now
    await this.measure()
  }

  /** Sends a request and gives its answer; null: none came, which is a problem. */
  async answer(verb: string, payload: Buffer | string, kind: string): Promise<Response | null> {
    const { onlooker } = this.options.box
    const from = onlooker.messages.length
    await onlooker.client.publishAsync(`${onlooker.prefix}/request/${verb}`, payload, { qos: 1 })
    const found = () => onlooker.messages.slice(from).filter(({ topic }) => topic === `response/${verb}`)
    const untilMs = performance.now() + longestMs
    while (found().length === 0 && performance.now() < untilMs && this.daemon.running) await sleep(2)
    const [first] = found()
    const parsed = first && topics.response.payload.safeParse(JSON.parse(first.text))
    if (parsed?.success) return parsed.data
    this.problems.push(`${verb} with ${kind}: ${first ? `answered by ${first.text.slice(0, 200)}` : 'not answered'}`)
    return null
  }

  /** An error of a known code, of a length that anybody can read. */
  isRefusal(response: Response | null, what: string): void {
    if (response === null) return
    if (response.status === 'ok') this.problems.push(`${what} was carried out`)
    else if (!Object.hasOwn(errorCatalogue, response.error.code) || response.error.message.length > 1000) {
      this.problems.push(`${what} was answered by ${JSON.stringify(response).slice(0, 300)}`)
    }
  }

  /** What may stand nowhere that somebody reads. */
  judgeWords(): void {
    const { box: { onlooker }, secrets } = this.options
    const heard = [...onlooker.messages.map(({ text }) => text), ...[...onlooker.events.values()].map(event => JSON.stringify(event))].join('\n')
    for (const secret of secrets) {
      if (this.text.includes(secret)) this.problems.push(`it said the secret ${secret}: ${this.text.split('\n').find(line => line.includes(secret))?.slice(0, 300) ?? ''}`)
      if (heard.includes(secret)) this.problems.push(`the secret ${secret} went over MQTT`)
    }
    for (const line of this.text.split('\n')) {
      if (/[\p{Cc}\u202e]/u.test(line)) this.problems.push(`it said what steers a terminal: ${JSON.stringify(line.slice(0, 300))}`)
      if (line.startsWith('model 77 is in service')) this.problems.push('a name was told as a message')
      if (/^\s+at .*:\d+:\d+\)?$/.test(line)) this.problems.push(`an unexpected error: ${line}`)
      if (line.length > 5000) this.problems.push(`a line of ${String(line.length)} characters: ${line.slice(0, 200)}`)
    }
    this.problems.push(...onlooker.wrong)
  }

  /** Most memory since their start, of the processes that run now. */
  async measure(): Promise<void> {
    const children = await this.daemon.children()
    for (const { pid, program } of [{ pid: this.daemon.pid, program: 'agent' }, ...children]) {
      const name = /(classifier|trainer)\/process/.exec(program)?.[1] ?? program
      const status = await readFile(`/proc/${String(pid)}/status`, 'utf8').catch(() => '')
      this.peakMb[name] = Math.max(this.peakMb[name] ?? 0, Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024))
    }
  }
}
