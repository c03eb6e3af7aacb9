/** What two models make of the same images, one model after the other in a process of its own, at low priority. */
import { readFile } from 'node:fs/promises'
import { giveWay } from '../lib/priority.js'
import { ClassifierPool, type Answer, type ServedModel } from './pool.js'

/** One image. */
export interface Pair {
  /** Class that the former model, and the new one, names. */
  former: string
  now: string
  /** Calibrated confidence of the new model in its class minus that of the former in its own. */
  gain: number
}

/** JPEG bytes, or the path of an image, which is read when its turn comes. */
export type Image = Uint8Array | string

export interface SideBySideOptions {
  former: ServedModel
  now: ServedModel
  signal: AbortSignal
}

const loadMs = 60_000

/** One for each image; null: it cannot be read. Errors: MODEL_INVALID for a model that does not load; whatever the signal fires with. */
export async function sideBySide(images: readonly Image[], { former, now, signal }: SideBySideOptions): Promise<(Pair | null)[]> {
  const before = await answersOf(former, images, signal)
  const after = await answersOf(now, images, signal)
  return before.map((one, index) => {
    const other = after[index]
    return one && other ? { former: one.label, now: other.label, gain: other.confidence - one.confidence } : null
  })
}

/** Null where an image cannot be read. */
async function answersOf(model: ServedModel, images: readonly Image[], signal: AbortSignal): Promise<(Answer | null)[]> {
  const pool = new ClassifierPool({ threads: 1, loadMs, signal, onProblem: () => undefined })
  try {
    await pool.swap(model)
    if (pool.pid !== undefined) giveWay(pool.pid, 'low')
    const answers: (Answer | null)[] = []
    for (const image of images) {
      signal.throwIfAborted()
      answers.push(await answerOf(pool, image).catch(() => null))
    }
    return answers
  } finally {
    await pool.stop()
  }
}

async function answerOf(pool: ClassifierPool, image: Image): Promise<Answer> {
  return pool.classify(typeof image === 'string' ? await readFile(image) : image)
}
