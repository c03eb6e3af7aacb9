import { z } from 'zod'
import { KeptFile } from '../../lib/kept-file.js'
import type { Logger } from '../../lib/logger.js'

const numbers = 256
const Stored = z.strictObject({ bdSeq: z.number().int().min(0).lt(numbers) })

/**
 * The number that ties a birth to the death that the broker holds: a new one for each CONNECT, 0 to 255 and over again, also over restarts.
 * It is on disk before it is used, so that no two sessions in a row have the same.
 */
export class BirthDeathNumber {
  private readonly file: KeptFile<z.infer<typeof Stored>>
  private last: number | null = null

  constructor({ path, logger }: { path: string; logger: Logger }) {
    this.file = new KeptFile({ path, schema: Stored, onProblem: message => { logger.warn({ message }, 'the number of the Sparkplug session is in memory alone') } })
  }

  async next(): Promise<number> {
    this.last = ((this.last ?? (await this.file.read())?.bdSeq ?? -1) + 1) % numbers
    await this.file.write({ bdSeq: this.last })
    return this.last
  }
}
