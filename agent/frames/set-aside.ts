/**
 * Images that a round could not read leave their place: frames go, labels are put into quarantine. Each is looked at once more: a label that was
 * being copied in is whole by now, and a box that had no memory to spare has some. What cannot be looked at or moved is told, and stays.
 */
import { stat } from 'node:fs/promises'
import { fitImage, readImageFile } from '../../trainer/index.js'
import { isMissing } from '../lib/durable.js'
import type { LabelStore } from './label-store.js'
import type { FrameStore } from './store.js'

export interface Unreadable {
  path: string
  reason: string
}

export interface SetAsideOptions {
  frames: Pick<FrameStore, 'holds' | 'remove'>
  labels: Pick<LabelStore, 'quarantine'>
  /** Hears of each that was set aside. */
  onSetAside: (image: Unreadable) => void
  /** Hears once of those that could not be: of read-only labels, or a quarantine on a disk that is full. */
  onProblem: (message: string) => void
}

/** A file that changed so shortly before is still being written. */
const writingMs = 5000

/** Never raises. */
export async function setAside(images: readonly Unreadable[], { frames, labels, onSetAside, onProblem }: SetAsideOptions): Promise<void> {
  const stayed: string[] = []
  let why = ''
  for (const { path, reason } of images) {
    try {
      if (!await undecodable(path)) continue
      if (frames.holds(path)) await frames.remove(path)
      else if (!await labels.quarantine(path, reason)) continue
      onSetAside({ path, reason })
    } catch (cause) {
      stayed.push(path)
      why = cause instanceof Error ? cause.message : String(cause)
    }
  }
  const [first] = stayed
  if (first === undefined) return
  const others = stayed.length > 1 ? ` and ${String(stayed.length - 1)} more` : ''
  onProblem(`${first}${others} cannot be read, and could not be set aside either (${why}); rounds leave out what they cannot read`)
}

/** False also where it is gone, or still being written. Errors: what the file system says. */
async function undecodable(path: string): Promise<boolean> {
  try {
    await fitImage(await readImageFile(path), 8)
    return false
  } catch (cause) {
    if (isMissing(cause)) return false
    // Not the image but the reading of it failed.
    if (cause instanceof Error && 'code' in cause) throw cause
    return Math.abs(Date.now() - (await stat(path)).mtimeMs) > writingMs
  }
}
