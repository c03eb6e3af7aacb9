/** Pictures of whatever ffmpeg opens: decoded, scaled and thinned out there, as JPEG through a pipe. */
import { spawn, type ChildProcess } from 'node:child_process'
import { PawlError } from '../errors.js'
import { ended, hasEnded } from '../lib/child.js'
import { parts } from './mjpeg.js'
import type { CameraSource } from './source.js'

export interface VideoOptions {
  /** The program; "": `FFMPEG_PATH`, else the one on the PATH. */
  program: string
  maxPerSecond: number
  /** Pixels; wider pictures are scaled down. */
  maxWidth: number
  /** Hardware that decodes, as ffmpeg's -hwaccel names it; "": none. */
  decoder: string
  /** Decodes no other picture than those that need none before them. */
  keyframesOnly: boolean
}

export interface VideoInput {
  /** Arguments that open it. */
  open: readonly string[]
  /** What is given to ffmpeg on its standard input: anything secret, as arguments are seen by every user of the box. */
  script?: string
  /** What it is called where people read it. */
  shown: string
  /** Taken out of what ffmpeg says. */
  secret?: string
}

const boundary = 'pawl'
/** Milliseconds after which an ffmpeg that was asked to end is made to. */
const patienceMs = 2000
/** Letters of its complaints that are kept. */
const complaintLength = 4000

export function ffmpegOf(program: string): string {
  return program || (process.env.FFMPEG_PATH ?? '') || 'ffmpeg'
}

export function video({ open, script, shown, secret = '' }: VideoInput, { program, maxPerSecond, maxWidth, decoder, keyframesOnly }: VideoOptions): CameraSource {
  // Pictures that come too soon are left out; none is made up where they come late, or their clock is set.
  const thinned = `isnan(prev_selected_t)+gte(t-prev_selected_t,${String(0.9 / maxPerSecond)})+lt(t,prev_selected_t)`
  const args = [
    '-hide_banner', '-loglevel', 'error', '-nostats', ...script === undefined ? ['-nostdin'] : [],
    // One thread a camera: many cameras share the cores, and none takes them from the others.
    '-threads', '1', ...decoder === '' ? [] : ['-hwaccel', decoder], ...keyframesOnly ? ['-skip_frame', 'nokey'] : [],
    ...open, '-map', '0:v:0', '-vf', `select='${thinned}',scale='min(${String(maxWidth)},iw)':-2`, '-fps_mode', 'passthrough',
    '-threads', '1', '-q:v', '3', '-f', 'mpjpeg', '-boundary_tag', boundary, '-flush_packets', '1', 'pipe:1',
  ]
  return async function* (signal) {
    if (signal.aborted) return
    const child: ChildProcess = spawn(ffmpegOf(program), args, { stdio: ['pipe', 'pipe', 'pipe'] })
    const complaint = complaintOf(child)
    const end = ended(child)
    const stop = () => { stopped(child) }
    signal.addEventListener('abort', stop)
    try {
      child.stdin?.on('error', () => undefined)
      child.stdin?.end(script ?? '')
      // Without a pipe where the process has no descriptors left.
      if (child.stdout) yield* parts(child.stdout, boundary)
      await end
      if (!signal.aborted) throw new PawlError('CAMERA_UNAVAILABLE', `${shown}: ${readable(complaint(), { shown, secret })}`)
    } catch (cause) {
      // A pipe that is closed in the middle of a picture.
      if (!signal.aborted) throw cause
    } finally {
      signal.removeEventListener('abort', stop)
      stop()
      await end
    }
  }
}

function stopped(child: ChildProcess): void {
  if (hasEnded(child)) return
  child.kill('SIGTERM')
  // Nobody reads any more: what waits to write must not wait for ever.
  child.stdout?.destroy()
  const insist = setTimeout(() => { child.kill('SIGKILL') }, patienceMs)
  child.once('exit', () => { clearTimeout(insist) })
}

/** Gives what the program has said so far on its standard error. */
function complaintOf(child: ChildProcess): () => string {
  let said = ''
  child.once('error', (cause: NodeJS.ErrnoException) => {
    said = cause.code === 'ENOENT' ? `${child.spawnfile} is not there; install ffmpeg, or name it in \`ffmpeg\` of the configuration` : cause.message
  })
  child.stderr?.on('data', (chunk: Buffer) => { said = (said + chunk.toString()).slice(-complaintLength) })
  return () => said
}

/** The last line of what ffmpeg said, without the secret and without where in ffmpeg it comes from. */
function readable(complaint: string, { shown, secret }: { shown: string; secret: string }): string {
  const lines = complaint.split('\n').map(line => line.replace(/^(\[[^\]]*\] )+/, '').trim()).filter(line => line !== '')
  const last = lines.at(-1) ?? 'ffmpeg ended'
  return (secret === '' ? last : last.replaceAll(secret, '***')).replace(/^pipe:0: |^Error opening input: /, '').replaceAll(`${shown}: `, '')
}
