/** Eight cameras, five pictures a second each: whether all are answered, how late, and what that costs. */
import { setTimeout as sleep } from 'node:timers/promises'
import { RtspCamera } from '../cameras/rtsp-camera.js'
import { MjpegCamera } from './mjpeg-camera.js'
import { quantile, type Part, type PartOptions, type PartResult } from './part.js'
import { pictures } from './pictures.js'
import { coreShare, costOf } from './processes.js'
import type { CameraRow } from './site.js'

const [count, perSecond] = [8, 5]
const viewer = { user: 'viewer', password: 'secret' }
const ids = Array.from({ length: count }, (_, index) => `camera-${String(index + 1)}`)

export const cameras: Part = async options => {
  const jpegs = await pictures(32, { width: 640, height: 480 })
  const results = [await overHttp(options, jpegs), await overRtsp(options, jpegs)]
  return { figures: results.flatMap(({ figures }) => figures), details: results.map(({ details }) => details) }
}

async function overHttp(options: PartOptions, jpegs: readonly Buffer[]): Promise<PartResult> {
  const many = ids.map((_, index) => new MjpegCamera(jpegs, 4 * index))
  try {
    for (const camera of many) await camera.appear()
    return await watched(options, {
      name: 'MJPEG',
      rows: ids.map((id, index) => ({ id, source: 'mjpeg', url: many[index]!.url, crop: 'whole' })),
      play: async () => {
        for (const camera of many) {
          camera.play(perSecond)
          await sleep(1000 / perSecond / count)
        }
      },
      sent: () => many.reduce((total, { sentAtMs }) => total + sentAtMs.length, 0),
    })
  } finally {
    for (const camera of many) await camera.stop()
  }
}

/** One picture that is taken eight times: the cameras' own work is not to weigh on the box. */
async function overRtsp(options: PartOptions, jpegs: readonly Buffer[]): Promise<PartResult> {
  const shown = new MjpegCamera(jpegs)
  await shown.appear()
  shown.play(perSecond)
  const rtsp = new RtspCamera({ stream: shown.url, ...viewer })
  const names = ids.map(id => `PAWL_CAMERA_${id.toUpperCase().replace('-', '_')}_PASSWORD`)
  try {
    for (const name of names) process.env[name] = viewer.password
    const url = await rtsp.start()
    return await watched(options, {
      name: 'RTSP',
      rows: ids.map(id => ({ id, source: 'rtsp', url, username: viewer.user, crop: 'whole' })),
      play: () => Promise.resolve(),
      sent: () => count * shown.sentAtMs.length,
    })
  } finally {
    for (const name of names) Reflect.deleteProperty(process.env, name)
    await rtsp.stop()
    await shown.stop()
  }
}

interface Watch {
  name: string
  rows: CameraRow[]
  play: () => Promise<void>
  /** Pictures that all cameras have sent so far. */
  sent: () => number
}

async function watched({ site: newSite, seconds, say }: PartOptions, { name, rows, play, sent }: Watch): Promise<PartResult> {
  const site = await newSite()
  try {
    await site.configure(rows)
    const listener = await site.listen()
    const daemon = await site.start()
    await play()
    for (const { id } of rows) await listener.prediction(0, ({ camera }) => camera === id)
    await sleep(5000)
    say(`cameras: ${String(count)} over ${name} for ${String(seconds)} s`)
    const [from, sentBefore, answeredBefore] = [await costOf(daemon.pid), sent(), listener.arrivals.length]
    await sleep(1000 * seconds)
    const [to, sentAfter, answeredAfter] = [await costOf(daemon.pid), sent(), listener.arrivals.length]
    const arrivals = listener.arrivals.slice(answeredBefore, answeredAfter)
    const lateMs = arrivals.map(({ atMs, capturedAtMs }) => atMs - capturedAtMs)
    const share = arrivals.length / (sentAfter - sentBefore)
    const least = Math.min(...rows.map(({ id }) => arrivals.filter(({ camera }) => camera === id).length)) / seconds
    const percent = 100 * coreShare(from, to)
    const what = `${String(count)} cameras, ${name}`
    return {
      figures: [
        { what: `${what}: predictions a second`, measured: arrivals.length / seconds, unit: `of ${String(count * perSecond)}`, asked: count * perSecond * 0.99, atLeast: true },
        { what: `${what}: of the slowest camera`, measured: least, unit: `of ${String(perSecond)}`, asked: perSecond * 0.99, atLeast: true },
        { what: `${what}: share of the pictures answered`, measured: 100 * share, unit: '%', asked: 99, atLeast: true },
        { what: `${what}: picture taken to MQTT client, p50`, measured: quantile(lateMs, 0.5), unit: 'ms', asked: null },
        { what: `${what}: picture taken to MQTT client, p99`, measured: quantile(lateMs, 0.99), unit: 'ms', asked: null },
        { what: `${what}: CPU of all its processes`, measured: percent, unit: '% of a core', asked: 200 },
      ],
      details: {
        name, seconds, sent: sentAfter - sentBefore, answered: arrivals.length, share, least, percent,
        p50Ms: quantile(lateMs, 0.5), p99Ms: quantile(lateMs, 0.99), processes: to.processes,
      },
    }
  } finally {
    await site.stop()
  }
}
