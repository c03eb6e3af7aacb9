/** The labels in the data folder: imported once, then a person's to edit. */
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { join, resolve, sep } from 'node:path'
import type { Config } from '../config.js'
import { syncFolder } from '../lib/durable.js'
import { importLabels, quarantine, readLabels, type LabelSplit } from './labels.js'

export interface LabelStoreOptions {
  /** The data folder. */
  data: string
  config: Config['labels']
}

export class LabelStore {
  private readonly options: LabelStoreOptions

  constructor(options: LabelStoreOptions) {
    this.options = options
  }

  /**
   * Copies the configured labels in while there are none; a folder that a person has filled is never touched.
   * Errors: LABELS_INSUFFICIENT when a folder to import cannot be read; then nothing was copied from it.
   */
  async start(): Promise<void> {
    const { config } = this.options
    for (const [from, to] of [[config.import, this.folder('labels')], [config.importValidation, this.folder('validation')]] as const) {
      await mkdir(to, { recursive: true })
      const empty = (await readdir(to)).length === 0
      if (!from || !empty) continue
      // All of them or none: a power cut must not leave a part that looks like a person's choice.
      const part = `${to}.part`
      await rm(part, { recursive: true, force: true })
      await mkdir(part, { recursive: true })
      await importLabels(from, part)
      await rename(part, to)
      await syncFolder(this.options.data)
    }
  }

  /** Errors: LABELS_INSUFFICIENT, saying which folder lacks what. */
  read(): Promise<LabelSplit> {
    return readLabels(this.folder('labels'), this.options.config.importValidation ? this.folder('validation') : null)
  }

  /** Puts an unreadable image aside, with the reason beside it. Says whether it did: only a label that is here is moved. */
  async quarantine(path: string, reason: string): Promise<boolean> {
    const own = (['labels', 'validation'] as const).some(part => resolve(path).startsWith(join(this.folder(part), sep)))
    return own && await quarantine(path, reason, this.folder('quarantine')) !== null
  }

  private folder(part: 'labels' | 'validation' | 'quarantine'): string {
    return join(this.options.data, part)
  }
}
