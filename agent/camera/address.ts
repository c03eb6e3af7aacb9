/** Where a camera is. Its password comes from a file or the environment, and appears in what is asked of the camera and nowhere else. */
import type { CameraConfig } from '../config.js'
import { PawlError } from '../errors.js'
import { withoutPasswords } from '../lib/logger.js'
import { secretOf } from '../lib/secret.js'
import type { CameraSource } from './source.js'

export interface Address {
  /** With user and password where the camera wants them. */
  url: URL
  /** For people: without them, and without the query, where some cameras want their password. */
  shown: string
}

/** The environment variable that holds a camera's password: PAWL_CAMERA_FRONT_DOOR_PASSWORD for `front-door`. */
export function passwordVariable(id: string): string {
  return `PAWL_CAMERA_${id.toUpperCase().replaceAll('-', '_')}_PASSWORD`
}

/** A source whose address is looked up at every start: a password that was changed counts at the next one. */
export function addressed({ id, url, username, passwordFile }: CameraConfig, source: (address: Address) => CameraSource): CameraSource {
  return async function* (signal) {
    const address = addressOf(url)
    if (username !== '') {
      const password = await secretOf({ key: `passwordFile of camera ${id}`, file: passwordFile, variable: passwordVariable(id) })
      address.url.username = encodeURIComponent(username)
      address.url.password = encodeURIComponent(password)
    }
    yield* source(address)(signal)
  }
}

/** Errors: CAMERA_UNAVAILABLE for what is no URL. */
export function addressOf(text: string): Address {
  if (!URL.canParse(text)) throw new PawlError('CAMERA_UNAVAILABLE', 'the camera\'s url is not one; it looks like http://192.168.1.20/video.mjpg')
  const url = new URL(text)
  return { url, shown: withoutPasswords(`${url.protocol}//${url.host}${url.pathname}`) }
}
