/** A small value that outlives the process: one JSON file, written whole. */
import { readFile, rm } from 'node:fs/promises'
import type { z } from 'zod'
import { isMissing, writeDurably } from './durable.js'

export interface KeptFileOptions<T> {
  path: string
  schema: z.ZodType<T>
  /** What could not be read or written: the agent goes on without it. */
  onProblem: (message: string) => void
}

export class KeptFile<T> {
  private readonly options: KeptFileOptions<T>
  private pending: { value: T | null } | null = null
  private writing: Promise<void> | null = null

  constructor(options: KeptFileOptions<T>) {
    this.options = options
  }

  /** Null: there is none, or none that can be read, which is told. */
  async read(): Promise<T | null> {
    const { path, schema, onProblem } = this.options
    try {
      return schema.parse(JSON.parse(await readFile(path, 'utf8')))
    } catch (cause) {
      if (!isMissing(cause)) onProblem(`${path} cannot be read; it begins anew`)
      return null
    }
  }

  /** Null: there is to be none. Resolves when this value, or a newer one, is on disk; or when it cannot be, which is told. Never raises. */
  write(value: T | null): Promise<void> {
    this.pending = { value }
    this.writing ??= this.writeAll()
    return this.writing
  }

  /** Resolves when all is written. */
  async stop(): Promise<void> {
    await this.writing
  }

  private async writeAll(): Promise<void> {
    const { path, onProblem } = this.options
    while (this.pending) {
      const { value } = this.pending
      this.pending = null
      await (value === null ? rm(path, { force: true }) : writeDurably(path, `${JSON.stringify(value)}\n`)).catch((cause: unknown) => {
        onProblem(`${path} cannot be written (${cause instanceof Error ? cause.message : String(cause)})`)
      })
    }
    this.writing = null
  }
}
