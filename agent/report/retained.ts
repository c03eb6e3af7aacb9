/**
 * What this box has retained at the broker, remembered on disk: a camera, Home Assistant or a name that is taken out of the configuration leaves
 * topics there that nobody would clear.
 *
 * INVARIANTS
 * - A topic is on disk before anything is retained in it, and leaves the disk after the broker has cleared it: a kill -9 anywhere forgets none.
 * - What another box has taken over is left alone (former-names.ts).
 */
import { z } from 'zod'
import { KeptFile } from '../lib/kept-file.js'
import type { Logger } from '../lib/logger.js'

const Row = z.strictObject({
  topic: z.string(),
  /** `<base>/<device>` of the box then. */
  prefix: z.string(),
  /** Of an announcement to Home Assistant: platforms by the name of the component. */
  components: z.record(z.string(), z.string()).optional(),
})
type Row = z.infer<typeof Row>

/** Of more, those of the longest past are forgotten. */
const mostFormer = 2000

export interface RetainedMemoryOptions {
  path: string
  prefix: string
  /** Everything that is retained from now on, by its full topic. */
  topics: readonly string[]
  announcement: { topic: string; components: Readonly<Record<string, string>> } | null
  logger: Logger
}

export class RetainedMemory {
  private readonly options: RetainedMemoryOptions
  private readonly file: KeptFile<Row[]>
  private former: Row[] = []

  constructor(options: RetainedMemoryOptions) {
    const { path, logger } = options
    this.options = options
    this.file = new KeptFile({ path, schema: z.array(Row), onProblem: message => { logger.warn({ message }, 'what is no more may stay at the broker') } })
  }

  /** Resolves when all that will be retained is on disk. */
  async start(): Promise<void> {
    const { topics, announcement } = this.options
    const current = new Set([...topics, ...announcement ? [announcement.topic] : []])
    const rows = await this.file.read() ?? []
    this.former = rows
      .filter(({ topic, components = {} }) => !current.has(topic) || Object.keys(this.goneOf(components)).length > 0)
      .slice(-mostFormer)
    await this.save()
  }

  /** Topics of this box, under its name of now, that are no more. */
  get stale(): string[] {
    const { prefix } = this.options
    return this.former.filter(row => row.prefix === prefix && row.topic !== this.options.announcement?.topic).map(({ topic }) => topic)
  }

  /** Names that this box had. */
  get formerPrefixes(): string[] {
    return [...new Set(this.former.map(({ prefix }) => prefix))].filter(prefix => prefix !== this.options.prefix)
  }

  staleOf(formerPrefix: string): string[] {
    return this.former.filter(({ prefix, topic }) => prefix === formerPrefix && topic !== this.options.announcement?.topic).map(({ topic }) => topic)
  }

  /** What Home Assistant is to take away from a device that stays. */
  get goneComponents(): Record<string, string> {
    return Object.assign({}, ...this.former.filter(({ topic }) => topic === this.options.announcement?.topic)
      .map(({ components = {} }) => this.goneOf(components))) as Record<string, string>
  }

  /** The broker has cleared it; or an announcement has arrived without what is gone. */
  cleared(topic: string): void {
    this.forget(row => row.topic === topic)
  }

  /** Another box has this name. */
  leave(formerPrefix: string): void {
    this.forget(({ prefix }) => prefix === formerPrefix)
  }

  /** Resolves when all is written. */
  async stop(): Promise<void> {
    await this.file.stop()
  }

  private forget(which: (row: Row) => boolean): void {
    const rest = this.former.filter(row => !which(row))
    if (rest.length === this.former.length) return
    this.former = rest
    void this.save()
  }

  private goneOf(components: Readonly<Record<string, string>>): Record<string, string> {
    const present = this.options.announcement?.components ?? {}
    return Object.fromEntries(Object.entries(components).filter(([id]) => !(id in present)))
  }

  private save(): Promise<void> {
    const { prefix, topics, announcement } = this.options
    return this.file.write([
      ...this.former,
      ...topics.map(topic => ({ topic, prefix })),
      ...announcement ? [{ ...announcement, prefix }] : [],
    ])
  }
}
