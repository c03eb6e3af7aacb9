import type { Address } from './address.js'
import { video, type VideoOptions } from './ffmpeg.js'
import type { CameraSource } from './source.js'

/** Microseconds without an answer after which ffmpeg gives a camera up: even where nobody is left to end it. */
const timeout = 15_000_000
/** How long ffmpeg studies a stream before its first picture: microseconds, and pictures for the rate, which is told by their times. */
const study = { analyzeduration: 500_000, fpsprobesize: 0 }
/** What a description may lead ffmpeg to open. */
const protocols = 'pipe,rtsp,rtsps,rtp,tcp,udp,tls,crypto,srtp'

/** RTSP over TCP or UDP. The address goes to ffmpeg as a script through its standard input, as it may hold a password. */
export function rtsp({ url, shown }: Address, { transport, ...options }: VideoOptions & { transport: 'tcp' | 'udp' }): CameraSource {
  const file = url.href.replaceAll('\'', '%27')
  const [outer, inner] = [Object.entries(study), Object.entries({ rtsp_transport: transport, timeout, ...study })]
  return video({
    open: [...outer.flatMap(([name, value]) => [`-${name}`, String(value)]), '-f', 'concat', '-safe', '0', '-protocol_whitelist', protocols, '-i', 'pipe:0'],
    script: ['ffconcat version 1.0', `file '${file}'`, ...inner.map(([name, value]) => `option ${name} ${String(value)}`), ''].join('\n'),
    shown,
    secret: file,
  }, options)
}
