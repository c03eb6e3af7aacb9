import { video, type VideoOptions } from './ffmpeg.js'
import type { CameraSource } from './source.js'

/** A camera on a USB or CSI port, by its device, such as /dev/video0. */
export function v4l2(device: string, options: VideoOptions): CameraSource {
  return video({ open: ['-f', 'v4l2', '-i', device], shown: device }, options)
}
