/** What the exchange remembers over a restart: what this box gives, and how far it is with what others offer. */
import { z } from 'zod'
import { KeptFile } from '../lib/kept-file.js'
import { OfferSchema } from '../schemas.js'

/** Tries of one offer that may go wrong: fetches of what is not as it should be, and judgements that came to no verdict. */
export const mostTries = 3

const Tried = z.strictObject({
  box: z.string(),
  /** Of the key that signed it; its place in the history of its box, and the digest of its manifest. */
  key: z.string(),
  sequence: z.number().int(),
  digest: z.string(),
  tries: z.number().int().min(0),
  /** Nothing more comes of it. */
  over: z.boolean(),
})
/** The newest offer of a box that something was done with. */
export type Tried = z.infer<typeof Tried>

const Remembered = z.strictObject({
  published: z.strictObject({ version: z.number().int().positive(), offer: OfferSchema }).nullable(),
  /** One for each box. */
  tried: z.array(Tried),
})
type Remembered = z.infer<typeof Remembered>

export class ExchangeMemory {
  private readonly file: KeptFile<Remembered>
  private value: Remembered = { published: null, tried: [] }

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
    this.value = { ...this.value, published }
    await this.file.write(this.value)
  }

  /** Of a box; null: nothing of it was tried yet. */
  tried(box: string): Tried | null {
    return this.value.tried.find(tried => tried.box === box) ?? null
  }

  /** Resolves when it is on disk. */
  async setTried(tried: Tried): Promise<void> {
    this.value = { ...this.value, tried: [...this.value.tried.filter(({ box }) => box !== tried.box), tried] }
    await this.file.write(this.value)
  }

  async stop(): Promise<void> {
    await this.file.stop()
  }
}
