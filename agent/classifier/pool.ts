/**
 * The model in service. A new one loads in a child of its own and proves itself there while the old one goes on; then it takes
 * over between two frames, and the old child answers what it has been given and ends.
 *
 * INVARIANTS
 * - Every frame is answered by exactly one model, or refused with an error; none is lost in a swap.
 * - A model that does not load, or a child that dies while it loads, changes nothing.
 * - Once it is to end nothing comes into service, and no child outlives it.
 */
import type { ChildProcess } from 'node:child_process'
import { fitImage, squared, type FittedImage } from '../../trainer/index.js'
import { PawlError } from '../errors.js'
import { Backoff } from '../lib/backoff.js'
import { ended, forkModule, hasEnded } from '../lib/child.js'
import type { Classification, ClassifierReply, ClassifierRequest } from './protocol.js'

export interface ServedModel {
  version: number
  path: string
  sha256: string
}

export interface Answer extends Classification {
  version: number
}

export interface PoolOptions {
  threads: number
  /** Time to load and to prove itself. */
  loadMs: number
  /** The agent ends: no model loads any more, and what a child has not answered within a second it does not answer. */
  signal?: AbortSignal
  /** The child in service died and has been replaced, or could not be. */
  onProblem: (message: string) => void
}

/** Frames that wait at most; beyond, the oldest is refused: a fresh frame is worth more than a late one. */
const longestQueue = 64
/** A frame takes milliseconds. */
const longestAnswerMs = 10_000
/** At the end there is less time. */
const lastAnswerMs = 1000
/** A child that lives as long was no victim of what ended the one before it. */
const settledMs = 60_000
const childModule = new URL('./process.js', import.meta.url)

export class ClassifierPool {
  private readonly options: PoolOptions
  private readonly ending = new AbortController()
  private readonly signal: AbortSignal
  private live: Child | null = null

  constructor(options: PoolOptions) {
    this.options = options
    this.signal = options.signal ? AbortSignal.any([options.signal, this.ending.signal]) : this.ending.signal
  }

  /** Version in service; null: none. */
  get version(): number | null {
    return this.live?.model.version ?? null
  }

  /** Process id of the child in service. */
  get pid(): number | undefined {
    return this.live?.process.pid
  }

  /** Puts a model in service. Errors: MODEL_INVALID, with the former model still in service. */
  async swap(model: ServedModel): Promise<void> {
    const next = await this.launch(model)
    const former = this.live
    this.serve(next)
    await former?.drain()
  }

  /** Pixels a side of what the model in service reads; null: none. */
  get size(): number | null {
    return this.live?.size ?? null
  }

  /** `fitted`: the same, decoded already. Errors: no model in service, an image that cannot be read, or a queue that was full. */
  async classify(jpeg: Uint8Array, fitted?: FittedImage): Promise<Answer> {
    const { size } = this
    const decoded = size === null || fitted?.size === size ? fitted : await fitImage(jpeg, size)
    const { live } = this
    if (!live || !decoded) throw new PawlError('MODEL_INVALID', 'no model is in service yet')
    // Meanwhile one may have taken over that reads another size.
    if (decoded.size !== live.size) return this.classify(jpeg)
    return { ...await live.classify(squared(decoded)), version: live.model.version }
  }

  async stop(): Promise<void> {
    this.ending.abort()
    const { live } = this
    this.live = null
    await live?.drain()
  }

  /** `backoff`: of the restarts before it; null: it is none. */
  private serve(child: Child, backoff: Backoff | null = null): void {
    this.live = child
    const servedAtMs = performance.now()
    void ended(child.process).then(() => this.replace(child, performance.now() - servedAtMs < settledMs ? backoff : null))
  }

  private async launch(model: ServedModel): Promise<Child> {
    const { signal, options } = this
    let child: Child | null = null
    try {
      signal.throwIfAborted()
      child = new Child(model, signal)
      await child.load(options)
      signal.throwIfAborted()
      return child
    } catch (cause) {
      child?.process.kill('SIGKILL')
      const reason = signal.aborted ? 'the agent ends' : cause instanceof Error ? cause.message : String(cause)
      const kept = this.live ? `model ${String(this.live.model.version)} stays in service` : 'no model is in service'
      throw new PawlError('MODEL_INVALID', `model ${String(model.version)} cannot be served: ${reason}; ${kept}`, { cause })
    }
  }

  /** The child in service died by itself: the same model starts again, at once unless `former` restarts came to nothing, and again until it does. */
  private async replace(dead: Child, former: Backoff | null): Promise<void> {
    if (this.live !== dead || this.signal.aborted) return
    this.options.onProblem(`the classifier of model ${String(dead.model.version)} ended; starting it again`)
    const backoff = former ?? new Backoff({ firstMs: 1000, longestMs: 60_000, random: () => 1 })
    await former?.wait(this.signal)
    while (this.live === dead && !this.signal.aborted) {
      try {
        const next = await this.launch(dead.model)
        if (this.live !== dead) return void next.drain()
        this.serve(next, backoff)
      } catch (cause) {
        if (this.signal.aborted) return
        this.options.onProblem(cause instanceof Error ? cause.message : String(cause))
        await backoff.wait(this.signal)
      }
    }
  }
}

interface Waiting {
  resolve: (classification: Classification) => void
  reject: (reason: Error) => void
}

class Child {
  readonly model: ServedModel
  readonly process: ChildProcess
  /** Pixels a side of what the model reads; 0: it has not loaded yet. */
  size = 0
  private readonly waiting = new Map<number, Waiting>()
  private nextId = 0
  private loaded: { resolve: () => void; reject: (reason: Error) => void } | null = null
  private readonly signal: AbortSignal

  constructor(model: ServedModel, signal: AbortSignal) {
    this.model = model
    this.signal = signal
    const end = () => { this.end() }
    signal.addEventListener('abort', end)
    this.process = forkModule(childModule, { serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    this.process.on('message', (reply: ClassifierReply) => { this.received(reply) })
    this.process.on('error', () => undefined)
    void ended(this.process).then(({ code, signal: killedBy }) => {
      signal.removeEventListener('abort', end)
      const reason = new Error(`the classifier process ended with ${killedBy ?? `code ${String(code)}`}`)
      this.loaded?.reject(reason)
      for (const { reject } of this.waiting.values()) reject(reason)
      this.waiting.clear()
    })
  }

  async load({ threads, loadMs }: PoolOptions): Promise<void> {
    const { path, sha256 } = this.model
    let timer: NodeJS.Timeout | undefined
    try {
      await new Promise<void>((resolve, reject) => {
        this.loaded = { resolve, reject }
        timer = setTimeout(() => { reject(new Error(`it did not answer within ${String(loadMs)} ms`)) }, loadMs)
        this.send({ type: 'load', path, sha256, threads })
      })
    } finally {
      clearTimeout(timer)
      this.loaded = null
    }
  }

  classify(pixels: Uint8Array): Promise<Classification> {
    if (hasEnded(this.process)) return Promise.reject(new Error('the classifier process has ended; it is starting again'))
    if (this.waiting.size >= longestQueue) {
      const [oldest] = this.waiting
      oldest?.[1].reject(new Error(`${String(longestQueue)} newer frames wait`))
      if (oldest) this.waiting.delete(oldest[0])
    }
    return new Promise((resolve, reject) => {
      const id = this.nextId++
      // A child that hangs is as good as dead: ended, it is replaced.
      const timer = setTimeout(() => { this.process.kill('SIGKILL') }, this.signal.aborted ? lastAnswerMs : longestAnswerMs)
      this.waiting.set(id, {
        resolve: classification => {
          clearTimeout(timer)
          resolve(classification)
        },
        reject: reason => {
          clearTimeout(timer)
          reject(reason)
        },
      })
      this.send({ type: 'classify', id, pixels })
    })
  }

  /** Lets the child answer what it has, then ends it. */
  async drain(): Promise<void> {
    const deadlineMs = performance.now() + 2000
    while (this.waiting.size && performance.now() < deadlineMs) await new Promise(resolve => { setTimeout(resolve, 5) })
    if (this.process.connected) this.process.disconnect()
    const timer = setTimeout(() => { this.process.kill('SIGKILL') }, 1000)
    await ended(this.process)
    clearTimeout(timer)
  }

  /** One that loads is of no use any more; one that does not answer is not waited for. */
  private end(): void {
    if (this.loaded) return void this.process.kill('SIGKILL')
    const asked = this.nextId
    const timer = setTimeout(() => { if ([...this.waiting.keys()].some(id => id < asked)) this.process.kill('SIGKILL') }, lastAnswerMs)
    void ended(this.process).then(() => { clearTimeout(timer) })
  }

  private send(request: ClassifierRequest): void {
    // A dead child is noticed by its exit; a failed send adds nothing.
    if (this.process.connected) this.process.send(request, () => undefined)
  }

  private received(reply: ClassifierReply): void {
    switch (reply.type) {
      case 'ready':
        this.size = reply.metadata.size
        return this.loaded?.resolve()
      case 'refused': return this.loaded?.reject(new Error(reply.message))
      case 'classified': return this.settle(reply.id, waiting => { waiting.resolve(reply.classification) })
      case 'failed': return this.settle(reply.id, waiting => { waiting.reject(new Error(reply.message)) })
    }
  }

  private settle(id: number, by: (waiting: Waiting) => void): void {
    const waiting = this.waiting.get(id)
    this.waiting.delete(id)
    if (waiting) by(waiting)
  }
}
