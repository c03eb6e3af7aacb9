import { PawlError } from '../errors.js'
import type { Address } from './address.js'
import { HttpCamera, typeOf } from './http.js'
import { largestPictureBytes, type CameraSource } from './source.js'

/** MJPEG over HTTP (multipart/x-mixed-replace): most IP cameras, mjpg-streamer, ffmpeg's mpjpeg. */
export function mjpeg(address: Address): CameraSource {
  return async function* (signal) {
    const camera = new HttpCamera(address)
    const response = await camera.get(signal)
    const boundary = /boundary="?([^";]+)"?/i.exec(response.headers['content-type'] ?? '')?.[1]?.trim()
    if (!boundary) {
      response.destroy()
      throw new PawlError('CAMERA_UNAVAILABLE', `${camera.shown} sends "${typeOf(response)}", not multipart/x-mixed-replace with a boundary`)
    }
    yield* parts(response as AsyncIterable<Uint8Array>, boundary.replace(/^--/, ''))
  }
}

/** Splits the body into its parts, by their length where they say it, else by the next boundary. No byte is looked at twice. */
export async function* parts(body: AsyncIterable<Uint8Array>, boundary: string): AsyncIterable<Uint8Array> {
  const delimiter = Buffer.from(`--${boundary}`)
  const waiting = new Waiting()
  /** Of the part that is coming; null: its boundary has not been found, or its head has not ended. */
  let part: { from: number; length: number | undefined } | null = null
  let begun = false
  /** What is looked for begins no sooner. */
  let at = 0
  for await (const chunk of body) {
    waiting.add(chunk)
    for (;;) {
      const { bytes } = waiting
      if (!begun) {
        const start = bytes.indexOf(delimiter, at)
        if (start < 0) break
        waiting.drop(start)
        begun = true
        at = delimiter.length
        continue
      }
      if (!part) {
        const from = endOfHead(bytes, at)
        if (from < 0) break
        const length = /^content-length:\s*(\d+)/im.exec(bytes.toString('latin1', 0, from))?.[1]
        part = { from, length: length === undefined ? undefined : Number(length) }
        at = from
      }
      const to = part.length === undefined ? bytes.indexOf(delimiter, at) : part.from + part.length
      if (to < 0 || to > bytes.length) break
      const end = part.length === undefined ? beforeLineBreak(bytes, part.from, to) : to
      if (end > part.from) yield Uint8Array.from(bytes.subarray(part.from, end))
      waiting.drop(to)
      part = null
      begun = false
      at = 0
    }
    const { length } = waiting.bytes
    // A boundary or the end of a head may have come in part.
    at = Math.max(at, length - delimiter.length - longestBlank, 0)
    if (length > largestPictureBytes) {
      throw new PawlError('CAMERA_UNAVAILABLE', `the stream has sent ${String(length)} bytes without finishing a picture`)
    }
  }
}

/** Bytes that came and were not used yet. The room for them doubles, so that a long picture costs no more for each byte than a short one. */
class Waiting {
  private room = Buffer.alloc(0)
  private from = 0
  private to = 0

  get bytes(): Buffer {
    return this.room.subarray(this.from, this.to)
  }

  add(chunk: Uint8Array): void {
    if (this.to + chunk.length > this.room.length) {
      const { bytes } = this
      this.room = Buffer.allocUnsafe(2 * (bytes.length + chunk.length))
      bytes.copy(this.room)
      this.from = 0
      this.to = bytes.length
    }
    this.room.set(chunk, this.to)
    this.to += chunk.length
  }

  drop(count: number): void {
    this.from += count
  }
}

/** The place after the empty line that ends a part's header lines; some cameras end their lines with a line feed alone. */
function endOfHead(buffer: Buffer, start: number): number {
  const ends = ['\r\n\r\n', '\n\n'].map(blank => ({ blank, at: buffer.indexOf(blank, start) })).filter(({ at }) => at >= 0)
  const [first] = ends.sort((a, b) => a.at - b.at)
  return first ? first.at + first.blank.length : -1
}

const longestBlank = 4

/** The line break before a boundary belongs to the boundary, not to the picture (RFC 2046, section 5.1.1). */
function beforeLineBreak(buffer: Buffer, from: number, to: number): number {
  if (to === from || buffer[to - 1] !== 0x0a) return to
  return to - 2 >= from && buffer[to - 2] === 0x0d ? to - 2 : to - 1
}
