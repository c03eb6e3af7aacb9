/**
 * A stored frame's name tells when it was captured and why it was kept: `<time>-<hash>-<reason>-<worth>.jpg`, the time in milliseconds since 1970, the
 * worth in hundredths. So what is known of a frame is on the disk with it, whole or not at all. Frames of before have neither reason nor worth.
 */
import { createHash } from 'node:crypto'
import type { Frame, Kept } from '../events.js'

const form = /^(\d+)-[0-9a-f]{12}(?:-([a-z]{1,20})-(100|\d{1,2}))?\.jpg$/
/** What is taken for a frame that nobody judged. */
const unjudged: Kept = { reason: 'unknown', worth: 0.5 }

export interface FrameName extends Kept {
  capturedAtMs: number
}

/** The name, and what it will be read as. */
export function nameFrame({ capturedAtMs, jpeg, kept = unjudged }: Pick<Frame, 'capturedAtMs' | 'jpeg' | 'kept'>): { name: string; known: FrameName } {
  const hash = createHash('sha256').update(jpeg).digest('hex').slice(0, 12)
  const reason = kept.reason.toLowerCase().replaceAll(/[^a-z]/g, '').slice(0, 20) || unjudged.reason
  const worth = Math.round(100 * Math.min(1, Math.max(0, kept.worth)))
  return { name: `${String(capturedAtMs)}-${hash}-${reason}-${String(worth)}.jpg`, known: { capturedAtMs, reason, worth: worth / 100 } }
}

/** Null for the name of no frame. */
export function readFrameName(name: string): FrameName | null {
  const [, time, reason, worth] = form.exec(name) ?? []
  if (time === undefined) return null
  return { capturedAtMs: Number(time), ...reason === undefined ? unjudged : { reason, worth: Number(worth) / 100 } }
}
