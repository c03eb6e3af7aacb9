import { setTimeout as sleep } from 'node:timers/promises'
import { PawlError } from '../errors.js'
import type { Address } from './address.js'
import { HttpCamera, typeOf } from './http.js'
import { largestPictureBytes, type CameraSource } from './source.js'

/** Single pictures over HTTP, asked for one after the other, no more often than they are looked at. */
export function snapshot(address: Address, maxPerSecond: number): CameraSource {
  return async function* (signal) {
    const camera = new HttpCamera(address)
    while (!signal.aborted) {
      const next = sleep(1000 / maxPerSecond, undefined, { signal }).catch(() => undefined)
      const response = await camera.get(signal)
      const type = typeOf(response)
      if (!type.startsWith('image/')) {
        response.destroy()
        throw new PawlError('CAMERA_UNAVAILABLE', `${camera.shown} sends "${type}", not an image`)
      }
      yield await picture(response, camera.shown)
      await next
    }
  }
}

async function picture(response: AsyncIterable<Uint8Array>, shown: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of response) {
    chunks.push(chunk)
    length += chunk.length
    if (length > largestPictureBytes) throw new PawlError('CAMERA_UNAVAILABLE', `${shown} sends a picture of more than ${String(largestPictureBytes)} bytes`)
  }
  return Buffer.concat(chunks)
}
