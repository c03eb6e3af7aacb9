/** Images that a round could not read leave their place: frames go, labels are put into quarantine. What cannot be moved is told, and stays. */
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

/** Never raises. */
export async function setAside(images: readonly Unreadable[], { frames, labels, onSetAside, onProblem }: SetAsideOptions): Promise<void> {
  const stayed: string[] = []
  let why = ''
  for (const { path, reason } of images) {
    try {
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
