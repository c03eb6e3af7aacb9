/** A camera that speaks RTSP: GStreamer's server in a process of its own, which shows what an MJPEG stream shows. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ended } from '../../agent/lib/child.js'

export interface RtspOptions {
  /** MJPEG over HTTP. */
  stream: string
  user: string
  password: string
}

export class RtspCamera {
  private readonly options: RtspOptions
  private child: ChildProcess | null = null
  private port = 0

  constructor(options: RtspOptions) {
    this.options = options
  }

  /** At the same port as before, where it ran before. Gives its address, without user and password. */
  async start(): Promise<string> {
    const { stream, user, password } = this.options
    const child = spawn('/usr/bin/python3', [join(import.meta.dirname, 'rtsp-server.py'), stream, user, password, String(this.port)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.child = child
    const [line] = await Promise.race([
      once(createInterface({ input: child.stdout }), 'line') as Promise<[string]>,
      ended(child).then(({ code }) => { throw new Error(`the RTSP server ended with ${String(code)}; it needs Debian's python3-gi, gir1.2-gst-rtsp-server-1.0 and GStreamer's plugins`) }),
    ])
    this.port = Number(line)
    return `rtsp://127.0.0.1:${line}/door`
  }

  async stop(): Promise<void> {
    if (!this.child) return
    this.child.kill('SIGKILL')
    await ended(this.child)
    this.child = null
  }
}
