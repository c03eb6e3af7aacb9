/** A new kind of camera is a file beside this one, and a row here. */
import type { CameraConfig } from '../config.js'
import { folder } from './folder.js'
import { mjpeg } from './mjpeg.js'
import type { CameraSource } from './source.js'

/** The simulation serves MJPEG itself: cameras.ts starts it and fills in its address. */
export const cameraSources = {
  simulation: ({ url }) => mjpeg(url),
  mjpeg: ({ url }) => mjpeg(url),
  folder: ({ url, maxPerSecond }) => folder(url, maxPerSecond),
} satisfies Record<CameraConfig['source'], (camera: CameraConfig) => CameraSource>
