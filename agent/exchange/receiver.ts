/**
 * Fetches what other boxes offer, until it can be judged here.
 *
 * INVARIANTS
 * - Only the newest offer of a box waits, and one that cannot be fetched stands in no other's way.
 * - An offer is judged once, whatever is said of it again; what was begun and cut off counts as a try.
 * - Whatever is in the folder is gone with the end of the agent: what has not been judged is fetched anew.
 */
import { mkdir, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PawlError } from '../errors.js'
import { Backoff } from '../lib/backoff.js'
import type { Clock } from '../lib/clock.js'
import type { GivenModel } from '../rounds/learning.js'
import { mostTries, type ExchangeMemory } from './memory.js'
import { objectionTo, partsOf, proven, provenCard, type Offer, type TrustedBox, type Wanted } from './offer.js'
import type { Repository } from './repository.js'
import { reasonOf } from './requests.js'

export interface ReceiverOptions {
  /** For what is fetched, on the disk of the models. */
  folder: string
  boxes: readonly TrustedBox[]
  repository: Repository
  memory: ExchangeMemory
  /** Bytes of the weights of a model at most. */
  maxBytes: number
  /** Bytes on the disk that stay free. */
  minFreeBytes: number
  wanted: () => Wanted
  /** Whether there is a decision on what this digest stands for: the registry knows also where a crash came before this was written down here. */
  isDecided: (digest: string) => boolean
  /** Told once for each reason. */
  onProblem: (cause: unknown) => void
  clock: Clock
  signal: AbortSignal
  random: () => number
  /** Least milliseconds between two models of one box that are judged: each look at the promotion images makes the next one weigh less. */
  leastBetweenMs?: number
  /** From a fetch or a judgement that could not be to the next try, milliseconds; it doubles, up to an hour. */
  retryMs?: number
}

interface Waiting {
  box: TrustedBox
  offer: Offer
  backoff: Backoff
  /** On the monotonic clock. */
  notBeforeMs: number
  /** It is withdrawn, or another takes its place. */
  gone: AbortController
}

/** What was fetched. */
interface Fetched {
  given: GivenModel
  /** Its round has begun. */
  taken: boolean
  backoff: Backoff
  /** On the monotonic clock. */
  notBeforeMs: number
}

const mostSleepMs = 60_000

export class Receiver {
  private readonly options: ReceiverOptions
  private readonly waiting = new Map<string, Waiting>()
  /** What was fetched and waits for its round, or is in it. */
  private fetched: Fetched | null = null
  private wake: () => void = () => undefined
  private loop: Promise<void> | null = null
  private reason: string | null = null

  constructor(options: ReceiverOptions) {
    this.options = options
  }

  start(): void {
    this.loop = this.run()
  }

  /** Before, the signal must have fired. */
  async stop(): Promise<void> {
    this.wake()
    await this.loop
  }

  /** What stands below the name of a box; empty: it offers nothing. */
  heard(name: string, payload: Uint8Array): void {
    const { boxes, memory, wanted, isDecided } = this.options
    const box = boxes.find(each => each.name === name)
    if (!box) return
    if (payload.length === 0) {
      this.drop(name)
      return
    }
    try {
      const offer = proven(payload, box)
      const same = this.waiting.get(name)?.offer.manifest === offer.manifest || this.fetched?.given.from.digest === offer.manifest
      if (same || memory.isOver(offer.manifest) || isDecided(offer.manifest)) return
      this.drop(name)
      // What is said beside the signature is for a first look: nothing is remembered of it.
      const objection = objectionTo(offer, wanted())
      if (objection !== null) throw new PawlError('OFFER_REFUSED', `${describe(box, offer)} is not fetched: ${objection}`)
      this.waiting.set(name, { box, offer, backoff: this.backoff(), notBeforeMs: this.earliestMs(name), gone: new AbortController() })
      this.wake()
    } catch (cause) {
      this.options.onProblem(cause)
    }
  }

  /** Why the last fetch failed that is to be tried again; null: it did not, or nothing waits. */
  get away(): string | null {
    return this.waiting.size === 0 ? null : this.reason
  }

  get ready(): boolean {
    const { fetched, options: { clock } } = this
    return fetched !== null && !fetched.taken && clock.monotonicMs() >= fetched.notBeforeMs
  }

  /** What is to be judged now; null: it was withdrawn, or has been tried too often. The try is on disk by then. */
  async take(): Promise<GivenModel | null> {
    const { fetched } = this
    if (!fetched || fetched.taken) return null
    fetched.taken = true
    await this.failed(fetched.given.from.digest, fetched.given.from.box)
    return fetched.given
  }

  /** `judged`: there is a decision; else its round was stopped, and it waits for another. */
  async settle({ from: { digest, box } }: GivenModel, judged: boolean): Promise<void> {
    const { memory, clock } = this.options
    if (judged) {
      await memory.change(digest, box, { over: true, judgedAtMs: clock.nowMs() })
      await this.clear()
    } else {
      await memory.change(digest, box, { tries: Math.max(0, memory.triesOf(digest) - 1) })
      if (!this.fetched) return
      this.fetched.taken = false
      this.fetched.notBeforeMs = clock.monotonicMs() + this.fetched.backoff.nextMs()
    }
  }

  private drop(name: string): void {
    this.waiting.get(name)?.gone.abort()
    this.waiting.delete(name)
    if (this.fetched?.given.from.box === name && !this.fetched.taken) void this.clear()
  }

  private async run(): Promise<void> {
    const { signal, clock } = this.options
    while (!signal.aborted) {
      const due = [...this.waiting.values()].toSorted((a, b) => a.notBeforeMs - b.notBeforeMs)[0]
      const waitMs = due && this.fetched === null ? due.notBeforeMs - clock.monotonicMs() : mostSleepMs
      if (due && waitMs <= 0) await this.fetch(due)
      else await this.sleep(Math.min(waitMs, mostSleepMs))
    }
    await remove(this.options.folder)
  }

  private async sleep(ms: number): Promise<void> {
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, ms)
      this.wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  private async fetch(waiting: Waiting): Promise<void> {
    const { memory, signal, clock, onProblem } = this.options
    const { box, offer, backoff, gone } = waiting
    try {
      if (memory.triesOf(offer.manifest) >= mostTries) throw new PawlError('OFFER_REFUSED', `it was tried ${String(mostTries)} times`)
      const given = await this.bring(waiting, AbortSignal.any([signal, gone.signal]))
      gone.signal.throwIfAborted()
      this.waiting.delete(box.name)
      this.reason = null
      this.fetched = { given, taken: false, backoff: this.backoff(), notBeforeMs: -Infinity }
    } catch (cause) {
      if (signal.aborted) return
      if (gone.signal.aborted) {
        await remove(this.folderOf(offer))
        return
      }
      this.reason = reasonOf(cause)
      onProblem(cause instanceof PawlError ? new PawlError(cause.code, `${describe(box, offer)} is not fetched: ${cause.message}`, { cause }) : cause)
      const bad = cause instanceof PawlError && cause.code === 'OFFER_REFUSED'
      if (bad) await this.failed(offer.manifest, box.name)
      if (bad && memory.triesOf(offer.manifest) >= mostTries) {
        await memory.change(offer.manifest, box.name, { over: true })
        await remove(this.folderOf(offer))
        this.waiting.delete(box.name)
      }
      waiting.notBeforeMs = clock.monotonicMs() + backoff.nextMs()
    }
  }

  /** Errors: OFFER_REFUSED, EXCHANGE_UNAVAILABLE, DISK_FULL. */
  private async bring({ box, offer }: Waiting, signal: AbortSignal): Promise<GivenModel> {
    const { repository, maxBytes, minFreeBytes, wanted } = this.options
    const folder = this.folderOf(offer)
    await mkdir(folder, { recursive: true })
    const { card, weights } = partsOf(await repository.manifest(offer.manifest, signal))
    if (weights.size > maxBytes) throw new PawlError('OFFER_REFUSED', `its weights have ${String(weights.size)} bytes, more than exchange.maxBytes (${String(maxBytes)})`)
    await repository.pull(card, join(folder, 'card'), signal)
    const told = provenCard(await readFile(join(folder, 'card')), { offer, weights })
    const objection = objectionTo(told, wanted())
    if (objection !== null) throw new PawlError('OFFER_REFUSED', objection)
    const { bavail, bsize } = await statfs(folder)
    // As fetched, and once more as a model of this box with its model.onnx.
    if (bavail * bsize < 3 * weights.size + minFreeBytes) {
      throw new PawlError('DISK_FULL', `${String(weights.size)} bytes are to be fetched, and with them less than frames.minFreeBytes would be free; free some space`)
    }
    await repository.pull(weights, join(folder, 'weights.safetensors'), signal)
    // The card as it was checked: its shape is what the trainer relies on.
    await writeFile(join(folder, 'card.json'), JSON.stringify(told), { flush: true })
    return { folder, from: { box: box.name, version: offer.signed.entry.version ?? 0, digest: offer.manifest } }
  }

  /** A try is over, and nothing good came of it. */
  private async failed(digest: string, box: string): Promise<void> {
    const { memory } = this.options
    await memory.change(digest, box, { tries: memory.triesOf(digest) + 1 })
  }

  private async clear(): Promise<void> {
    const folder = this.fetched?.given.folder
    this.fetched = null
    if (folder !== undefined) await remove(folder)
    this.wake()
  }

  private backoff(): Backoff {
    const { random, retryMs = 5000 } = this.options
    return new Backoff({ firstMs: retryMs, longestMs: 3_600_000, random })
  }

  /** When a model of this box may be judged next, on the monotonic clock. */
  private earliestMs(name: string): number {
    const { memory, clock, leastBetweenMs = 6 * 3_600_000 } = this.options
    const judgedAtMs = memory.judgedAtMs(name)
    const sinceMs = judgedAtMs === null ? Infinity : Math.abs(clock.nowMs() - judgedAtMs)
    return clock.monotonicMs() + Math.max(0, leastBetweenMs - sinceMs)
  }

  private folderOf({ manifest }: Offer): string {
    return join(this.options.folder, manifest.slice('sha256:'.length))
  }
}

function describe(box: TrustedBox, { signed }: Offer): string {
  return `model ${String(signed.entry.version)} of ${box.name}`
}

/** What cannot be removed now is at the next start. */
async function remove(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(() => undefined)
}
