/**
 * Whether what a camera sends shows anything: one that repeats a picture to the bit, whatever it notes beside it, or sends blackness, is as good as
 * silent. Only time in which it sends counts.
 */
import { createHash } from 'node:crypto'
import { headOf, uprightImage } from '../../trainer/index.js'
import type { Clock } from '../lib/clock.js'

/** Milliseconds between two looks for blackness, at most. */
const lookEveryMs = 5000
/** Pixels a side of the picture that is looked at, and the grey level, of 255, that some part of a picture of anything passes. */
const [side, darkest] = [16, 12]

export class Content {
  private readonly clock: Clock
  private readonly patienceMs: number
  private hash = ''
  private changedAtMs: number
  private seenAtMs: number
  private lookedAtMs = -Infinity
  /** Of the newest picture; the time until the next one counts unless the camera began anew. */
  private newestAtMs: number
  private anew = false

  /** `patienceMs`: 0: whatever a camera shows is good. */
  constructor({ clock, patienceMs }: { clock: Clock; patienceMs: number }) {
    this.clock = clock
    this.patienceMs = patienceMs
    this.changedAtMs = clock.monotonicMs()
    this.seenAtMs = this.changedAtMs
    this.newestAtMs = this.changedAtMs
  }

  /** The camera is asked for pictures anew. */
  begin(): void {
    this.anew = true
  }

  /** What is wrong, in words; null: nothing that is known yet. While something is, every picture is looked at. */
  async wrongWith(jpeg: Uint8Array): Promise<string | null> {
    if (this.patienceMs === 0) return null
    const nowMs = this.clock.monotonicMs()
    if (this.anew) {
      this.changedAtMs += nowMs - this.newestAtMs
      this.seenAtMs += nowMs - this.newestAtMs
    }
    this.anew = false
    this.newestAtMs = nowMs
    const hash = hashOf(jpeg)
    if (hash !== this.hash) this.changedAtMs = nowMs
    this.hash = hash
    const due = nowMs - this.lookedAtMs >= Math.min(lookEveryMs, this.patienceMs / 4)
    if (due || nowMs - this.seenAtMs >= this.patienceMs) {
      this.lookedAtMs = nowMs
      if (!await black(jpeg)) this.seenAtMs = nowMs
    }
    const long = `for ${String(this.patienceMs / 1000)} s or more`
    if (nowMs - this.seenAtMs >= this.patienceMs) return `its pictures have been black ${long}`
    if (nowMs - this.changedAtMs >= this.patienceMs) return `it has shown the same picture, to the bit, ${long}`
    return null
  }
}

/** Of what is drawn: a JPEG's comments and headers of applications, which may tell the time, are passed over. */
function hashOf(picture: Uint8Array): string {
  const hash = createHash('sha1')
  let at = 2
  // Segments of a marker, a length that counts itself, and what they hold; from the first scan on all is drawn.
  while (picture[at] === 0xff && picture[at + 1] !== 0xda) {
    const marker = picture[at + 1] ?? 0
    const next = at + 2 + 256 * (picture[at + 2] ?? 0) + (picture[at + 3] ?? 0)
    const isDrawn = marker !== 0xfe && (marker < 0xe0 || marker > 0xef)
    if (isDrawn) hash.update(picture.subarray(at, next))
    at = next
  }
  return hash.update(picture.subarray(at)).digest('base64')
}

/** A picture that cannot be read is not black: the sampler says what is wrong with it. */
async function black(jpeg: Uint8Array): Promise<boolean> {
  try {
    await headOf(jpeg)
    const pixels = await uprightImage(jpeg).resize(side, side, { fit: 'fill' }).toColourspace('b-w').raw().toBuffer()
    return pixels.every(value => value <= darkest)
  } catch {
    return false
  }
}
