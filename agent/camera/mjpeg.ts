import { PawlError } from '../errors.js'
import type { Address } from './address.js'
import { HttpCamera } from './http.js'
import { largestPictureBytes, type CameraSource } from './source.js'

/** MJPEG over HTTP (multipart/x-mixed-replace): most IP cameras, mjpg-streamer, ffmpeg's mpjpeg. */
export function mjpeg(address: Address): CameraSource {
  return async function* (signal) {
    const camera = new HttpCamera(address)
    const { body, headers } = await camera.get(signal)
    const type = headers.get('content-type') ?? ''
    const boundary = /boundary="?([^";]+)"?/i.exec(type)?.[1]?.trim()
    if (!boundary || !body) {
      await body?.cancel()
      throw new PawlError('CAMERA_UNAVAILABLE', `${camera.shown} sends "${type}", not multipart/x-mixed-replace with a boundary`)
    }
    yield* parts(body, boundary.replace(/^--/, ''))
  }
}

/** Splits the body into its parts, by their length where they say it, else by the next boundary. */
export async function* parts(body: AsyncIterable<Uint8Array>, boundary: string): AsyncIterable<Uint8Array> {
  const delimiter = Buffer.from(`--${boundary}`)
  let buffer = Buffer.alloc(0)
  for await (const chunk of body) {
    buffer = Buffer.concat([buffer, chunk])
    for (;;) {
      const start = buffer.indexOf(delimiter)
      const from = start < 0 ? -1 : endOfHead(buffer, start)
      if (from < 0) break
      const length = /^content-length:\s*(\d+)/im.exec(buffer.toString('latin1', start, from))?.[1]
      const to = length === undefined ? buffer.indexOf(delimiter, from) : from + Number(length)
      if (to < 0 || to > buffer.length) break
      const end = length === undefined ? beforeLineBreak(buffer, from, to) : to
      if (end > from) yield Uint8Array.from(buffer.subarray(from, end))
      buffer = buffer.subarray(to)
    }
    if (buffer.length > largestPictureBytes) {
      throw new PawlError('CAMERA_UNAVAILABLE', `the stream has sent ${String(buffer.length)} bytes without finishing a picture`)
    }
  }
}

/** The place after the empty line that ends a part's header lines; some cameras end their lines with a line feed alone. */
function endOfHead(buffer: Buffer, start: number): number {
  const ends = ['\r\n\r\n', '\n\n'].map(blank => ({ blank, at: buffer.indexOf(blank, start) })).filter(({ at }) => at >= 0)
  const [first] = ends.sort((a, b) => a.at - b.at)
  return first ? first.at + first.blank.length : -1
}

/** The line break before a boundary belongs to the boundary, not to the picture (RFC 2046, section 5.1.1). */
function beforeLineBreak(buffer: Buffer, from: number, to: number): number {
  if (to === from || buffer[to - 1] !== 0x0a) return to
  return to - 2 >= from && buffer[to - 2] === 0x0d ? to - 2 : to - 1
}
