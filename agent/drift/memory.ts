/**
 * What the monitor knows, kept over a restart: else a change during a power cut would be what the model is used to, and an alarm would be
 * forgotten. One file for the reference, written once a model; a small one for the alarm that stands.
 */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { removeHalfWritten, writeDurably } from '../lib/durable.js'
import { DriftAlarmSchema, DimensionSchema } from '../schemas.js'
import type { DriftAlarm } from './alarm.js'
import type { DriftPast } from './monitor.js'
import type { Gathered } from './reference.js'

const Stored = z.object({
  model: z.number().int(),
  dimensions: z.array(DimensionSchema).min(1),
  timesMs: z.array(z.number()).min(1),
  /** The columns one after the other, float32, little-endian, base64. */
  columns: z.base64(),
})

export interface DriftMemoryOptions {
  folder: string
  /** What could not be kept: the agent goes on without it. */
  onProblem: (message: string) => void
}

export class DriftMemory {
  private readonly options: DriftMemoryOptions
  /** Writes follow one another, the newest last. */
  private last: Promise<void> = Promise.resolve()

  constructor(options: DriftMemoryOptions) {
    this.options = options
  }

  /** What cannot be read is as if it were not there: it is gathered anew. */
  async read(): Promise<DriftPast> {
    await removeHalfWritten(this.options.folder)
    const gathered = await this.parsed(this.referencePath, value => gatheredOf(Stored.parse(value)))
    return { gathered, alarm: await this.parsed(this.alarmPath, value => DriftAlarmSchema.parse(value)) }
  }

  keepReference({ model, dimensions, columns, timesMs }: Gathered): void {
    const bytes = Buffer.concat(columns.map(column => Buffer.from(column.buffer, column.byteOffset, column.byteLength)))
    this.write(() => writeDurably(this.referencePath, JSON.stringify({ model, dimensions, timesMs, columns: bytes.toString('base64') })))
  }

  /** Null: none stands any more. */
  keepAlarm(alarm: DriftAlarm | null): void {
    this.write(() => (alarm ? writeDurably(this.alarmPath, JSON.stringify(alarm)) : rm(this.alarmPath, { force: true })))
  }

  /** Resolves when all is written. */
  async stop(): Promise<void> {
    await this.last
  }

  private write(task: () => Promise<void>): void {
    this.last = this.last.then(async () => {
      try {
        await mkdir(this.options.folder, { recursive: true })
        await task()
      } catch (cause) {
        this.options.onProblem(`what the model in service is used to could not be kept over a restart: ${cause instanceof Error ? cause.message : String(cause)}`)
      }
    })
  }

  private async parsed<T>(path: string, parse: (value: unknown) => T): Promise<T | null> {
    try {
      return parse(JSON.parse(await readFile(path, 'utf8')))
    } catch {
      return null
    }
  }

  private get referencePath(): string {
    return join(this.options.folder, 'reference.json')
  }

  private get alarmPath(): string {
    return join(this.options.folder, 'alarm.json')
  }
}

/** Errors: columns that are not as long as there are pictures. */
function gatheredOf({ model, dimensions, timesMs, columns }: z.infer<typeof Stored>): Gathered {
  const values = new Float32Array(Uint8Array.from(Buffer.from(columns, 'base64')).buffer)
  if (values.length !== dimensions.length * timesMs.length || !values.every(Number.isFinite)) throw new RangeError('the columns do not fit')
  return { model, dimensions, timesMs, columns: dimensions.map((_, index) => values.slice(index * timesMs.length, (index + 1) * timesMs.length)) }
}
