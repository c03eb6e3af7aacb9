/** The labels in the data folder: imported once, then a person's to edit. */
import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { basename, join, resolve, sep } from 'node:path'
import { imageName, type LabeledImage } from '../../trainer/index.js'
import type { Config } from '../config.js'
import { PawlError } from '../errors.js'
import { syncFolder } from '../lib/durable.js'
import { groupBy } from '../lib/group.js'
import { InTurn } from '../lib/in-turn.js'
import { classNameOf } from './class-name.js'
import { addLabel, decodingProblem, importLabels, quarantine, readClassFolders, readLabels, type LabelSplit } from './labels.js'

export interface LabelStoreOptions {
  /** The data folder. */
  data: string
  config: Config['labels']
}

export class LabelStore {
  private readonly options: LabelStoreOptions
  private readonly turns = new InTurn()

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

  /** The class folders, those without an image too, and how many images each holds. Errors: LABELS_INSUFFICIENT when they cannot be read. */
  async classes(): Promise<{ label: string; images: number }[]> {
    const { images, empty } = await readClassFolders(this.folder('labels'))
    const counts = [...groupBy(images, ({ label }) => label)].map(([label, own]) => ({ label, images: own.length }))
    return [...counts, ...empty.map(label => ({ label, images: 0 }))].sort((a, b) => a.label.localeCompare(b.label))
  }

  /** The class by the name that its folder has, or would have. Errors: COMMAND_INVALID for a name that no class can have. */
  async nameOf(label: string): Promise<string> {
    const entries = await readdir(this.folder('labels'), { withFileTypes: true }).catch(() => [])
    return classNameOf(label, entries.filter(entry => entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name))
  }

  /** Where an image of a class lies, or would, by the name that its folder has. */
  pathOf(label: string, name: string): string {
    return join(this.folder('labels'), label, name)
  }

  /** All images with a label, by class and name. Errors: LABELS_INSUFFICIENT when they cannot be read. */
  async images(): Promise<LabeledImage[]> {
    return (await readClassFolders(this.folder('labels'))).images
  }

  /** Takes in an image of a class. False: it is there already, to the byte. Errors: COMMAND_INVALID for a name or a picture that cannot be. */
  async add(label: string, name: string, image: Uint8Array): Promise<boolean> {
    const file = basename(name.replaceAll('\\', '/'))
    const refused = (why: string) => new PawlError('COMMAND_INVALID', `"${label.slice(0, 40)}/${file.slice(0, 80)}" was not taken: ${why}`)
    if (!imageName.test(file) || /\p{Cc}/u.test(file)) throw refused('its name is not that of a JPEG, PNG or WebP image')
    const path = this.pathOf(await this.nameOf(label), file)
    const problem = await decodingProblem(image)
    if (problem !== null) throw refused(`it cannot be decoded (${problem})`)
    // Two of one name, sent at once, are two images.
    return await this.turns.run(() => addLabel(image, path))
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
