/**
 * Fetches what other boxes offer, until it can be judged here.
 *
 * INVARIANTS
 * - Only the newest offer of a box stands, and one that cannot be fetched stands in no other's way.
 * - What is older than the last offer of a box that was tried is not taken. An offer is judged once, whatever is said of it again; what was begun and
 *   came to no verdict counts as a try.
 * - One model at a time waits for its round. Whatever is in the folder is gone with the end of the agent: what has not been judged is fetched anew.
 */
import { mkdir, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ModelCard } from '../../trainer/contract.js'
import { PawlError } from '../errors.js'
import { Backoff } from '../lib/backoff.js'
import type { GivenModel } from '../rounds/learning.js'
import { Books, older, type BooksOptions } from './books.js'
import { mostTries } from './memory.js'
import { objectionTo, partsOf, proven, provenCard, type Offer, type TrustedBox, type Wanted } from './offer.js'
import type { Repository } from './repository.js'
import { reasonOf } from './requests.js'

export interface ReceiverOptions extends BooksOptions {
  /** For what is fetched, on the disk of the models. */
  folder: string
  boxes: readonly TrustedBox[]
  repository: Repository
  /** Bytes of the weights of a model at most. */
  maxBytes: number
  /** Bytes on the disk that stay free. */
  minFreeBytes: number
  wanted: () => Wanted
  /** Told once for each reason. */
  onProblem: (cause: unknown) => void
  signal: AbortSignal
  random: () => number
  /** Least milliseconds between two models of one box that are judged: each look at the promotion images makes the next one weigh less. */
  leastBetweenMs?: number
  /** From a fetch or a judgement that could not be to the next try, milliseconds; it doubles, up to an hour. */
  retryMs?: number
}

/** How a round ended that was to judge. */
export type Judgement = 'verdict' | 'failed' | 'stopped'

interface Standing {
  offer: Offer
  /** It is withdrawn, or another takes its place. */
  gone: AbortController
  state: 'due' | 'fetching' | 'fetched'
  card: ModelCard | null
}

/** What one box offers. */
interface Line {
  box: TrustedBox
  standing: Standing | null
  /** Over all of its offers: a box that makes many is not asked for more often. */
  backoff: Backoff
  /** On the monotonic clock. */
  notBeforeMs: number
  /** Why the registry could not be used for what stands; null: it could. */
  away: string | null
}

const mostSleepMs = 60_000

export class Receiver {
  private readonly options: ReceiverOptions
  private readonly books: Books
  private readonly lines: readonly Line[]
  /** In its round, whatever becomes of its offer. */
  private judging: { line: Line; standing: Standing } | null = null
  /** Something changed since the folder was last swept. */
  private woken = false
  private endSleep: () => void = () => undefined
  private loop: Promise<void> | null = null

  constructor(options: ReceiverOptions) {
    const { boxes, random, retryMs = 5000 } = options
    this.options = options
    this.books = new Books(options)
    this.lines = boxes.map(box => ({
      box, standing: null, backoff: new Backoff({ firstMs: retryMs, longestMs: 3_600_000, random }), notBeforeMs: -Infinity, away: null,
    }))
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
    const line = this.lines.find(({ box }) => box.name === name)
    if (!line) return
    if (payload.length === 0) {
      this.drop(line)
      return
    }
    try {
      this.consider(line, proven(payload, line.box))
    } catch (cause) {
      this.options.onProblem(cause)
    }
  }

  /** Why the registry cannot be used for what stands; null: it can, or nothing does. */
  get away(): string | null {
    return this.lines.find(({ away }) => away !== null)?.away ?? null
  }

  /** Whether a model waits to be judged. */
  get ready(): boolean {
    const line = this.judging ? undefined : this.fetched()
    return line !== undefined && this.options.clock.monotonicMs() >= line.notBeforeMs
  }

  /** What is to be judged now; null: it was withdrawn, or is of no use any more. The try is on disk by then. */
  async take(): Promise<GivenModel | null> {
    const line = this.judging ? undefined : this.fetched()
    const { standing } = line ?? {}
    if (!line || !standing?.card) return null
    const { box } = line
    const { offer } = standing
    try {
      // What serves may be another by now, and know more.
      this.refuseUnfit(standing.card)
    } catch (cause) {
      this.options.onProblem(about(box, offer, cause))
      this.drop(line)
      return null
    }
    this.judging = { line, standing }
    await this.books.write(box, offer, { tries: this.books.tries(box, offer) + 1 })
    return { folder: this.folderOf(offer), from: { box: box.name, version: offer.signed.entry.version ?? 0, digest: offer.manifest } }
  }

  /** `stopped`: it waits for another round; so it does, later, where it `failed` and has not been tried too often. */
  async settle(judgement: Judgement): Promise<void> {
    if (!this.judging) return
    const { clock, leastBetweenMs = sixHoursMs } = this.options
    const { line, standing: { offer } } = this.judging
    const { box, backoff } = line
    const tries = this.books.tries(box, offer)
    const over = judgement === 'verdict' || (judgement === 'failed' && tries >= mostTries)
    await this.books.write(box, offer, { over, tries: judgement === 'stopped' ? tries - 1 : tries })
    line.notBeforeMs = clock.monotonicMs() + (judgement === 'failed' ? leastBetweenMs : backoff.nextMs())
    if (line.standing === this.judging.standing) {
      if (over) this.drop(line)
      // What lies in the folder is looked at once more then; meanwhile models of other boxes may come.
      else line.standing.state = 'due'
    }
    this.judging = null
    this.wake()
  }

  /** Errors: OFFER_REFUSED. */
  private consider(line: Line, offer: Offer): void {
    try {
      const { standing } = line
      if (standing?.offer.manifest === offer.manifest || this.books.isOver(line.box, offer)) return
      const { key, sequence } = offer.signed.entry
      const former = standing?.offer.signed.entry
      if (former?.key === key && sequence < former.sequence) throw older(sequence)
      this.drop(line)
      // What is said beside the signature is for a first look: nothing is remembered of it.
      this.refuseUnfit(offer)
      line.standing = { offer, gone: new AbortController(), state: 'due', card: null }
      this.wake()
    } catch (cause) {
      throw about(line.box, offer, cause)
    }
  }

  /** Its offer stands no longer. What is being judged is judged to the end. */
  private drop(line: Line): void {
    line.standing?.gone.abort()
    line.standing = null
    line.away = null
    this.wake()
  }

  private async run(): Promise<void> {
    const { signal, clock } = this.options
    while (!signal.aborted) {
      this.woken = false
      await this.sweep()
      const due = this.judging ?? this.fetched() ? null : this.nextDue()
      const waitMs = due ? this.earliestMs(due) - clock.monotonicMs() : mostSleepMs
      if (due && waitMs <= 0) await this.fetch(due)
      else await this.sleep(Math.min(waitMs, mostSleepMs))
    }
    await remove(this.options.folder)
  }

  private wake(): void {
    this.woken = true
    this.endSleep()
  }

  private async sleep(ms: number): Promise<void> {
    if (this.options.signal.aborted || this.woken) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, ms)
      this.endSleep = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  private async fetch(line: Line): Promise<void> {
    const { signal, clock, onProblem } = this.options
    const { box, standing, backoff } = line
    if (!standing) return
    const { offer, gone } = standing
    standing.state = 'fetching'
    try {
      // It was withdrawn and offered again while it was judged.
      if (this.books.isOver(box, offer)) {
        this.drop(line)
        return
      }
      if (this.books.tries(box, offer) >= mostTries) throw new PawlError('OFFER_REFUSED', `it was tried ${String(mostTries)} times`)
      standing.card = await this.bring(offer, AbortSignal.any([signal, gone.signal]))
      gone.signal.throwIfAborted()
      standing.state = 'fetched'
      for (const each of this.lines) each.away = null
      line.notBeforeMs = -Infinity
      backoff.reset()
    } catch (cause) {
      if (signal.aborted) return
      line.notBeforeMs = clock.monotonicMs() + backoff.nextMs()
      if (gone.signal.aborted) return
      standing.state = 'due'
      line.away = reasonOf(cause)
      onProblem(about(box, offer, cause))
      if (!(cause instanceof PawlError && cause.code === 'OFFER_REFUSED')) return
      const tries = this.books.tries(box, offer) + 1
      await this.books.write(box, offer, { tries, over: tries >= mostTries })
      if (tries >= mostTries && line.standing === standing) this.drop(line)
    }
  }

  /** Its card. Errors: OFFER_REFUSED, EXCHANGE_UNAVAILABLE, DISK_FULL. */
  private async bring(offer: Offer, signal: AbortSignal): Promise<ModelCard> {
    const { repository, maxBytes, minFreeBytes } = this.options
    const folder = this.folderOf(offer)
    await mkdir(folder, { recursive: true })
    const { card, weights } = partsOf(await repository.manifest(offer.manifest, signal))
    if (weights.size > maxBytes) throw new PawlError('OFFER_REFUSED', `its weights have ${String(weights.size)} bytes, more than exchange.maxBytes (${String(maxBytes)})`)
    await repository.pull(card, join(folder, 'card'), signal)
    const told = provenCard(await readFile(join(folder, 'card')), { offer, weights })
    this.refuseUnfit(told)
    const { bavail, bsize } = await statfs(folder)
    // As fetched, and once more as a model of this box with its model.onnx.
    if (bavail * bsize < 3 * weights.size + minFreeBytes) {
      throw new PawlError('DISK_FULL', `${String(weights.size)} bytes are to be fetched, and with them less than frames.minFreeBytes would be free; free some space`)
    }
    await repository.pull(weights, join(folder, 'weights.safetensors'), signal)
    // The card as it was checked: its shape is what the trainer relies on.
    await writeFile(join(folder, 'card.json'), JSON.stringify(told), { flush: true })
    return told
  }

  /** Removes what was brought of offers that stand no longer. */
  private async sweep(): Promise<void> {
    const standing = [...this.lines.map(line => line.standing), this.judging?.standing]
    const kept = new Set(standing.map(each => (each ? this.folderOf(each.offer) : '')))
    const paths = (await readdir(this.options.folder).catch(() => [])).map(name => join(this.options.folder, name))
    await Promise.all(paths.filter(path => !kept.has(path)).map(remove))
  }

  /** Errors: OFFER_REFUSED for what is of no use here. */
  private refuseUnfit(model: Pick<ModelCard, 'preset' | 'classes'>): void {
    const objection = objectionTo(model, this.options.wanted())
    if (objection !== null) throw new PawlError('OFFER_REFUSED', objection)
  }

  /** Whose model was brought whole. */
  private fetched(): Line | undefined {
    return this.lines.find(({ standing }) => standing?.state === 'fetched')
  }

  private nextDue(): Line | null {
    return this.lines.filter(({ standing }) => standing?.state === 'due').toSorted((a, b) => this.earliestMs(a) - this.earliestMs(b))[0] ?? null
  }

  /** When a model of this box may be fetched, on the monotonic clock. */
  private earliestMs({ box, notBeforeMs }: Line): number {
    const { clock, leastBetweenMs = sixHoursMs } = this.options
    return Math.max(notBeforeMs, clock.monotonicMs() + leastBetweenMs - this.books.sinceVerdictMs(box))
  }

  private folderOf({ manifest }: Offer): string {
    return join(this.options.folder, manifest.slice('sha256:'.length))
  }
}

const sixHoursMs = 6 * 3_600_000

function about({ name }: TrustedBox, { signed: { entry } }: Offer, cause: unknown): unknown {
  return cause instanceof PawlError ? new PawlError(cause.code, `model ${String(entry.version)} of ${name} is not taken: ${cause.message}`, { cause }) : cause
}

/** What cannot be removed now is at the next start. */
async function remove(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(() => undefined)
}
