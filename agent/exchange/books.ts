/** How far this box is with the offers of each other box: tries that are on disk, and verdicts of the registry's history. */
import { PawlError } from '../errors.js'
import type { Clock } from '../lib/clock.js'
import type { ExchangeMemory, Tried } from './memory.js'
import type { Offer, TrustedBox } from './offer.js'

export interface BooksOptions {
  memory: ExchangeMemory
  /** Verdicts on models of a box: the registry knows them also where a crash came before they were written down here. */
  verdicts: (box: string) => { digest: string; atMs: number }[]
  clock: Clock
}

export class Books {
  private readonly options: BooksOptions

  constructor(options: BooksOptions) {
    this.options = options
  }

  /** Whether nothing more comes of an offer. Errors: OFFER_REFUSED for what is older than what was tried. */
  isOver({ name }: TrustedBox, { manifest, signed: { entry } }: Offer): boolean {
    if (this.options.verdicts(name).some(({ digest }) => digest === manifest)) return true
    const former = this.options.memory.tried(name)
    if (former?.key !== entry.key) return false
    if (former.digest === manifest) return former.over
    if (entry.sequence < former.sequence) throw older(entry.sequence)
    return false
  }

  tries({ name }: TrustedBox, { manifest }: Offer): number {
    const former = this.options.memory.tried(name)
    return former?.digest === manifest ? former.tries : 0
  }

  /** Resolves when it is on disk. */
  async write({ name: box }: TrustedBox, { manifest: digest, signed }: Offer, change: Pick<Tried, 'tries'> & Partial<Tried>): Promise<void> {
    const { key, sequence } = signed.entry
    await this.options.memory.setTried({ box, key, sequence, digest, over: false, ...change })
  }

  /** Milliseconds since the last verdict on a model of a box; infinite: there was none. One in the future was before the clock was set back. */
  sinceVerdictMs({ name }: TrustedBox): number {
    const { verdicts, clock } = this.options
    return Math.min(...verdicts(name).map(({ atMs }) => Math.abs(clock.nowMs() - atMs)))
  }
}

export function older(sequence: number): PawlError {
  return new PawlError('OFFER_REFUSED', `it is entry ${String(sequence)} of the history of its box, older than what was offered before`)
}
