import { PawlError } from '../errors.js'
import { largestPictureBytes, type CameraSource } from './source.js'

/**
 * MJPEG over HTTP (multipart/x-mixed-replace): most IP cameras, mjpg-streamer, ffmpeg's mpjpeg. User and password in the URL go
 * as HTTP basic authentication and appear nowhere else.
 */
export function mjpeg(address: string): CameraSource {
  const url = new URL(address)
  const headers = url.username
    ? { authorization: `Basic ${Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`).toString('base64')}` }
    : {}
  url.username = ''
  url.password = ''
  return async function* (signal) {
    const response = await fetch(url, { signal, headers })
    if (!response.ok || !response.body) {
      throw new PawlError('CAMERA_UNAVAILABLE', `${url.href} answered ${String(response.status)} ${response.statusText}`)
    }
    const type = response.headers.get('content-type') ?? ''
    const boundary = /boundary="?([^";]+)"?/i.exec(type)?.[1]
    if (!boundary) throw new PawlError('CAMERA_UNAVAILABLE', `${url.href} sends "${type}", not multipart/x-mixed-replace with a boundary`)
    yield* parts(response.body, boundary.replace(/^--/, ''))
  }
}

/** Splits the body into its parts, by their length where they say it, else by the next boundary. */
export async function* parts(body: AsyncIterable<Uint8Array>, boundary: string): AsyncIterable<Uint8Array> {
  const delimiter = Buffer.from(`--${boundary}`)
  const headerEnd = Buffer.from('\r\n\r\n')
  let buffer = Buffer.alloc(0)
  for await (const chunk of body) {
    buffer = Buffer.concat([buffer, chunk])
    for (;;) {
      const start = buffer.indexOf(delimiter)
      const blank = start < 0 ? -1 : buffer.indexOf(headerEnd, start)
      if (blank < 0) break
      const from = blank + headerEnd.length
      const length = /content-length:\s*(\d+)/i.exec(buffer.toString('latin1', start, blank))?.[1]
      const to = length === undefined ? buffer.indexOf(delimiter, from) : from + Number(length)
      if (to < 0 || to > buffer.length) break
      if (to > from) yield Uint8Array.from(buffer.subarray(from, to))
      buffer = buffer.subarray(to)
    }
    if (buffer.length > largestPictureBytes) {
      throw new PawlError('CAMERA_UNAVAILABLE', `the stream has sent ${String(buffer.length)} bytes without finishing a picture`)
    }
  }
}
