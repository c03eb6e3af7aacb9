/** A new kind of camera is a file beside this one, and a row here. */
import type { CameraConfig } from '../config.js'
import { addressed } from './address.js'
import { folder } from './folder.js'
import { mjpeg } from './mjpeg.js'
import { rtsp } from './rtsp.js'
import { snapshot } from './snapshot.js'
import type { CameraSource } from './source.js'
import { v4l2 } from './v4l2.js'
import { videoFile } from './video-file.js'

/** `program`: ffmpeg. `memory`: where a source may keep how far it came, a file of its own; null: nowhere. */
export function sourceOf(camera: CameraConfig, program: string, memory: string | null = null): CameraSource {
  return cameraSources[camera.source](camera, program, memory)
}

/** The simulation serves MJPEG itself: cameras.ts starts it and fills in its address. */
const cameraSources: Record<CameraConfig['source'], (camera: CameraConfig, program: string, memory: string | null) => CameraSource> = {
  simulation: camera => addressed(camera, mjpeg),
  mjpeg: camera => addressed(camera, mjpeg),
  snapshot: camera => addressed(camera, address => snapshot(address, camera.maxPerSecond)),
  folder: ({ url, maxPerSecond }, _, memory) => folder(url, maxPerSecond, memory),
  rtsp: (camera, program) => addressed(camera, address => rtsp(address, { ...camera, program })),
  v4l2: (camera, program) => v4l2(camera.url, { ...camera, program }),
  video: (camera, program) => videoFile(camera.url, { ...camera, program }),
}
