import { video, type VideoOptions } from './ffmpeg.js'
import type { CameraSource } from './source.js'

/** A video file at its own speed, over and over: to try the agent on a recording of the site. */
export function videoFile(path: string, options: VideoOptions): CameraSource {
  return video({ open: ['-protocol_whitelist', 'file', '-re', '-stream_loop', '-1', '-i', `file:${path}`], shown: path }, options)
}
