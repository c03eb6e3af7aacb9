/**
 * A stored frame's name tells when it was captured and why it was kept: `<time>-<hash>-<reason>-<worth>.jpg`, the time in milliseconds since
 * 1970, the worth in hundredths. So what is known of a frame is on the disk with it, whole or not at all. Frames of before have neither reason
 * nor worth.
 */
import { createHash } from 'node:crypto'
import type { Frame } from '../events.js'

const form = /^(\d+)-[0-9a-f]{12}(?:-([a-z]{1,20})-(100|\d{1,2}))?\.jpg$/

/** Why a frame is kept, in a word of at most 20 small letters, and what it is worth, 0 to 1. */
export interface KeptFor {
  reason: string
  worth: number
}

/** Of a frame that nobody judged. */
const unjudged: KeptFor = { reason: 'unknown', worth: 0.5 }

export interface FrameName extends KeptFor {
  capturedAtMs: number
}

/** The name, and what it will be read as. */
export function nameFrame(
  { capturedAtMs, jpeg }: Pick<Frame, 'capturedAtMs' | 'jpeg'>, kept: KeptFor = unjudged,
): { name: string; known: FrameName } {
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

/** The name of the same frame, captured at another time. */
export function nameAnew(name: string, capturedAtMs: number): string {
  return name.replace(/^\d+/, String(capturedAtMs))
}

/** The folder of its day, by UTC. */
export function dayOf({ capturedAtMs }: Pick<Frame, 'capturedAtMs'>): string {
  return new Date(capturedAtMs).toISOString().slice(0, 10)
}
