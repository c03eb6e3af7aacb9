/**
 * What the rounds showed, for people to look at: `<folder>/<round>/` holds `record.json` and its pictures. A record outlives the model that it
 * tells of, and the images that it shows.
 */
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { headOf, readImageFile, uprightImage, type RoundResult } from '../../trainer/index.js'
import { isMissing, writeDurably } from '../lib/durable.js'
import { LossPointSchema, ModelCardSchema } from '../schemas.js'

const Count = z.number().int().min(0)

export const RoundRecordSchema = z.strictObject({
  round: Count,
  card: ModelCardSchema,
  losses: z.array(LossPointSchema),
  /** Of the promotion images, by their labels; others than the model's own may be among them. */
  classes: z.array(z.string()),
  /** Images of the promotion split by what they show (rows) and what the challenger took them for. */
  confusion: z.array(z.array(Count)),
  /** What the challenger was surest of, wrongly. */
  mistakes: z.array(z.strictObject({
    /** Name of the picture; null: the image could not be read any more. */
    picture: z.string().nullable(), label: z.string(), predicted: z.string(), confidence: z.number(),
  })),
  /** Name of the picture of what the decoder makes of what it does not see; null: it learned from no frames. */
  reconstruction: z.string().nullable(),
})

export type RoundRecord = z.infer<typeof RoundRecordSchema>

export interface RecordsOptions {
  folder: string
  /** What could not be kept or read. */
  onProblem: (message: string) => void
}

const recordFile = 'record.json'
const reconstructionFile = 'reconstruction.png'
const pictureName = /^(reconstruction\.png|mistake-\d+\.jpg)$/
const [keptRecords, shownMistakes] = [100, 12]
/** Of a picture's longer side, in pixels. */
const pictureSize = 160

export class RoundRecords {
  private readonly options: RecordsOptions

  constructor(options: RecordsOptions) {
    this.options = options
  }

  /** Keeps what a round showed; `model` is the folder of its challenger. Never raises: without a record the round counts all the same. */
  async keep(round: number, { card, evidence, paths, losses }: RoundResult, model: string): Promise<void> {
    const folder = this.folderOf(round)
    try {
      // Pictures first: without its record.json a folder is none.
      const reconstruction = await readFile(join(model, reconstructionFile)).catch(() => null)
      if (reconstruction) await writeDurably(join(folder, reconstructionFile), reconstruction)
      const mistakes: RoundRecord['mistakes'] = []
      for (const [at, { index, ...mistake }] of worstOf(evidence).entries()) {
        mistakes.push({ ...mistake, picture: await this.keepPicture(paths[index] ?? '', folder, `mistake-${String(at + 1)}.jpg`) })
      }
      const record: RoundRecord = {
        round, card, losses, classes: evidence.classes, confusion: confusionOf(evidence), mistakes,
        reconstruction: reconstruction && reconstructionFile,
      }
      await writeDurably(join(folder, recordFile), `${JSON.stringify(record)}\n`)
      await this.forgetOld()
    } catch (cause) {
      this.options.onProblem(`what round ${String(round)} showed could not be kept in ${folder} (${cause instanceof Error ? cause.message : String(cause)})`)
    }
  }

  /** Null: nothing is kept of this round. */
  async read(round: number): Promise<RoundRecord | null> {
    const path = join(this.folderOf(round), recordFile)
    try {
      return RoundRecordSchema.parse(JSON.parse(await readFile(path, 'utf8')))
    } catch (cause) {
      if (!isMissing(cause)) this.options.onProblem(`${path} cannot be read`)
      return null
    }
  }

  /** JPEG or PNG bytes of a picture that a record names; null: there is none. */
  async picture(round: number, name: string): Promise<Uint8Array | null> {
    return pictureName.test(name) ? readFile(join(this.folderOf(round), name)).catch(() => null) : null
  }

  private async keepPicture(path: string, folder: string, name: string): Promise<string | null> {
    const small = await smaller(path).catch(() => null)
    if (small) await writeDurably(join(folder, name), small)
    return small && name
  }

  private async forgetOld(): Promise<void> {
    const rounds = (await readdir(this.options.folder)).filter(name => /^\d+$/.test(name)).map(Number).sort((a, b) => b - a)
    for (const round of rounds.slice(keptRecords)) await rm(this.folderOf(round), { recursive: true, force: true })
  }

  private folderOf(round: number): string {
    return join(this.options.folder, String(round))
  }
}

async function smaller(path: string): Promise<Uint8Array> {
  const image = await readImageFile(path)
  await headOf(image)
  return uprightImage(image).flatten({ background: '#000' })
    .resize(pictureSize, pictureSize, { fit: 'inside', withoutEnlargement: true }).jpeg({ quality: 85 }).toBuffer()
}

/** The images that the challenger has wrong, the surest first. */
function worstOf({ classes, labels, challenger: { predicted, confidence } }: RoundResult['evidence']) {
  return labels
    .map((label, index) => ({
      index, label: classes[label] ?? '', predicted: classes[predicted[index] ?? -1] ?? '', confidence: confidence[index] ?? 0,
    }))
    .filter(({ label, predicted: taken }) => label !== taken)
    .sort((a, b) => b.confidence - a.confidence).slice(0, shownMistakes)
}

/** Images by label (rows) and prediction (columns). */
function confusionOf({ classes, labels, challenger }: RoundResult['evidence']): number[][] {
  const counts = classes.map(() => classes.map(() => 0))
  labels.forEach((label, index) => {
    const [row, taken] = [counts[label], challenger.predicted[index] ?? -1]
    if (row && taken >= 0) row[taken] = (row[taken] ?? 0) + 1
  })
  return counts
}
