/** What two models make of the same images, one model after the other in a process of its own, at low priority. */
import { getPriority, setPriority } from 'node:os'
import { ClassifierPool, type Answer, type ServedModel } from './pool.js'

/** One image. */
export interface Pair {
  /** Class that the former model, and the new one, names. */
  former: string
  now: string
  /** Calibrated confidence of the new model in its class minus that of the former in its own. */
  gain: number
}

const lowPriority = 10
const loadMs = 60_000

/** Images that cannot be read are left out. Errors: MODEL_INVALID for a model that does not load. */
export async function sideBySide({ former, now }: Record<'former' | 'now', ServedModel>, jpegs: readonly Uint8Array[]): Promise<Pair[]> {
  const before = await answersOf(former, jpegs)
  const after = await answersOf(now, jpegs)
  return before.flatMap((one, index) => {
    const other = after[index]
    return one && other ? [{ former: one.label, now: other.label, gain: other.confidence - one.confidence }] : []
  })
}

/** Null where an image cannot be read. */
async function answersOf(model: ServedModel, jpegs: readonly Uint8Array[]): Promise<(Answer | null)[]> {
  const pool = new ClassifierPool({ threads: 1, loadMs, onProblem: () => undefined })
  try {
    await pool.swap(model)
    if (pool.pid !== undefined) setPriority(pool.pid, Math.max(lowPriority, getPriority()))
    const answers: (Answer | null)[] = []
    for (const jpeg of jpegs) answers.push(await pool.classify(jpeg).catch(() => null))
    return answers
  } finally {
    await pool.stop()
  }
}
