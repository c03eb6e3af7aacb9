/**
 * What the monitor knows, kept over a restart: else a change during a power cut would be what the model is used to, and an alarm would be
 * forgotten. One file for the reference, written once a model; a small one for the alarm that stands.
 */
import { join } from 'node:path'
import { z } from 'zod'
import { removeHalfWritten } from '../lib/durable.js'
import { KeptFile } from '../lib/kept-file.js'
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
}).refine(({ dimensions, timesMs, columns }) => {
  const values = valuesOf(columns)
  return values.length === dimensions.length * timesMs.length && values.every(Number.isFinite)
}, 'the columns do not fit')

export interface DriftMemoryOptions {
  folder: string
  /** What could not be read or kept: the agent goes on without it. */
  onProblem: (message: string) => void
}

export class DriftMemory {
  private readonly folder: string
  private readonly reference: KeptFile<z.infer<typeof Stored>>
  private readonly alarm: KeptFile<DriftAlarm>

  constructor({ folder, onProblem }: DriftMemoryOptions) {
    this.folder = folder
    this.reference = new KeptFile({ path: join(folder, 'reference.json'), schema: Stored, onProblem })
    this.alarm = new KeptFile({ path: join(folder, 'alarm.json'), schema: DriftAlarmSchema, onProblem })
  }

  /** What cannot be read is as if it were not there: it is gathered anew. */
  async read(): Promise<DriftPast> {
    await removeHalfWritten(this.folder)
    const stored = await this.reference.read()
    return { gathered: stored && gatheredOf(stored), alarm: await this.alarm.read() }
  }

  keepReference({ model, dimensions, columns, timesMs }: Gathered): void {
    const bytes = Buffer.concat(columns.map(column => Buffer.from(column.buffer, column.byteOffset, column.byteLength)))
    void this.reference.write({ model, dimensions, timesMs, columns: bytes.toString('base64') })
  }

  /** Null: none stands any more. */
  keepAlarm(alarm: DriftAlarm | null): void {
    void this.alarm.write(alarm)
  }

  /** Resolves when all is written. */
  async stop(): Promise<void> {
    await Promise.all([this.reference.stop(), this.alarm.stop()])
  }
}

function valuesOf(columns: string): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(columns, 'base64'))
  return new Float32Array(bytes.buffer, 0, Math.floor(bytes.length / Float32Array.BYTES_PER_ELEMENT))
}

function gatheredOf({ model, dimensions, timesMs, columns }: z.infer<typeof Stored>): Gathered {
  const [values, { length }] = [valuesOf(columns), timesMs]
  return { model, dimensions, timesMs, columns: dimensions.map((_, index) => values.slice(index * length, (index + 1) * length)) }
}
