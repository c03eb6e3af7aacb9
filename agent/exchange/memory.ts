/** What the exchange remembers over a restart: what this box gives, and what became of the offers of others. */
import { z } from 'zod'
import { KeptFile } from '../lib/kept-file.js'
import { OfferSchema } from '../schemas.js'

/** Tries of one offer that may go wrong: fetches of what is not as it should be, and judgements that were cut off. */
export const mostTries = 3
/** Offers of which it is remembered what became of them; those of the longest past are forgotten. */
const mostOffers = 500

const Heard = z.strictObject({
  /** Of the manifest. */
  digest: z.string(),
  box: z.string(),
  tries: z.number().int().min(0),
  /** Nothing more comes of it. */
  over: z.boolean(),
  /** When it was judged here, milliseconds since 1970; null: it was not. */
  judgedAtMs: z.number().nullable(),
})
type Heard = z.infer<typeof Heard>

const Remembered = z.strictObject({
  published: z.strictObject({ version: z.number().int().positive(), offer: OfferSchema }).nullable(),
  offers: z.array(Heard),
})
type Remembered = z.infer<typeof Remembered>

export class ExchangeMemory {
  private readonly file: KeptFile<Remembered>
  private value: Remembered = { published: null, offers: [] }

  constructor(options: { path: string; onProblem: (message: string) => void }) {
    this.file = new KeptFile({ ...options, schema: Remembered })
  }

  async start(): Promise<void> {
    this.value = await this.file.read() ?? this.value
  }

  /** The newest model that was published, and its offer; null: none was. */
  get published(): Remembered['published'] {
    return this.value.published
  }

  async publish(published: NonNullable<Remembered['published']>): Promise<void> {
    this.value.published = published
    await this.file.write(this.value)
  }

  isOver(digest: string): boolean {
    return this.find(digest)?.over ?? false
  }

  triesOf(digest: string): number {
    return this.find(digest)?.tries ?? 0
  }

  /** When a model of this box was judged last, milliseconds since 1970; null: none was. */
  judgedAtMs(box: string): number | null {
    const times = this.value.offers.flatMap(heard => (heard.box === box && heard.judgedAtMs !== null ? [heard.judgedAtMs] : []))
    return times.length ? Math.max(...times) : null
  }

  /** Resolves when it is on disk. */
  async change(digest: string, box: string, change: Partial<Pick<Heard, 'tries' | 'over' | 'judgedAtMs'>>): Promise<void> {
    const former = this.find(digest) ?? { digest, box, tries: 0, over: false, judgedAtMs: null }
    const others = this.value.offers.filter(heard => heard.digest !== digest)
    this.value = { ...this.value, offers: [...others, { ...former, ...change }].slice(-mostOffers) }
    await this.file.write(this.value)
  }

  async stop(): Promise<void> {
    await this.file.stop()
  }

  private find(digest: string): Heard | undefined {
    return this.value.offers.find(heard => heard.digest === digest)
  }
}
