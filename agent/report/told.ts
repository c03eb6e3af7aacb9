/**
 * Which decisions were told. A decision is on disk before its event is: whatever happens in between, the next start tells it.
 *
 * INVARIANT: the round in the file is not newer than any whose event is on disk or with the broker.
 */
import { z } from 'zod'
import { KeptFile } from '../lib/kept-file.js'
import type { Logger } from '../lib/logger.js'
import type { PromotionRecord } from '../rounds/promotion.js'

const Stored = z.object({ round: z.number().int().min(0) })

export interface ToldOptions {
  path: string
  logger: Logger
}

export class Told {
  private readonly file: KeptFile<z.infer<typeof Stored>>
  /** The newest; null: not known yet. */
  private round: number | null = null
  private last = Promise.resolve()

  constructor({ path, logger }: ToldOptions) {
    this.file = new KeptFile({ path, schema: Stored, onProblem: message => { logger.warn({ message }, 'a decision may be told again') } })
  }

  /** Of those that the registry knows, oldest first. Where nothing is on record, all of before count as told. */
  async start(decisions: readonly PromotionRecord[]): Promise<void> {
    const stored = await this.file.read()
    if (stored) this.round = stored.round
    else this.tell(Math.max(0, ...decisions.map(({ round }) => round)))
  }

  untold(decisions: readonly PromotionRecord[]): PromotionRecord[] {
    return decisions.filter(({ round }) => round > (this.round ?? Infinity))
  }

  /** Its event is on disk, or with the broker. */
  tell(round: number): void {
    if (round <= (this.round ?? -1)) return
    this.round = round
    this.last = this.file.write({ round })
  }

  async stop(): Promise<void> {
    await this.last
  }
}
