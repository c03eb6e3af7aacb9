/** What the daemon costs while it only watches one camera, a picture a second. */
import { setTimeout as sleep } from 'node:timers/promises'
import { RtspCamera } from '../cameras/rtsp-camera.js'
import { MjpegCamera } from './mjpeg-camera.js'
import type { Part, PartOptions, PartResult } from './part.js'
import { pictures } from './pictures.js'
import { costOf, coreShare, sum } from './processes.js'
import type { CameraRow } from './site.js'

const settleMs = 15_000
const viewer = { user: 'viewer', password: 'secret' }

export const idle: Part = async options => {
  const camera = new MjpegCamera(await pictures(32, { width: 640, height: 480 }))
  await camera.appear()
  camera.play(1)
  // A camera sends as many pictures as it does; here the box looks at one a second.
  const lively = new MjpegCamera(await pictures(32, { width: 640, height: 480 }))
  await lively.appear()
  lively.play(5)
  const rtsp = new RtspCamera({ stream: lively.url, ...viewer })
  try {
    process.env.PAWL_CAMERA_DOOR_PASSWORD = viewer.password
    const common = { id: 'door', crop: 'whole', maxPerSecond: 1 }
    const overRtsp = { ...common, source: 'rtsp' as const, url: await rtsp.start(), username: viewer.user }
    const rows = [
      await watched(options, 'MJPEG', { ...common, source: 'mjpeg', url: camera.url }),
      await watched(options, 'RTSP', overRtsp),
      await watched(options, 'RTSP, key frames only', { ...overRtsp, keyframesOnly: true }),
    ]
    return { figures: rows.flatMap(({ figures }) => figures), details: rows.map(({ details }) => details) }
  } finally {
    delete process.env.PAWL_CAMERA_DOOR_PASSWORD
    await rtsp.stop()
    await Promise.all([camera.stop(), lively.stop()])
  }
}

async function watched({ site: newSite, seconds, say }: PartOptions, name: string, camera: CameraRow): Promise<PartResult> {
  const site = await newSite()
  try {
    await site.configure([camera])
    const listener = await site.listen()
    const daemon = await site.start()
    await listener.prediction(0)
    await sleep(settleMs)
    say(`idle: one camera over ${name} for ${String(seconds)} s`)
    const [from, answered] = [await costOf(daemon.pid), listener.arrivals.length]
    await sleep(1000 * seconds)
    const to = await costOf(daemon.pid)
    const percent = 100 * coreShare(from, to)
    const [rss, pss] = [sum(to.processes.map(({ rssMb }) => rssMb)), sum(to.processes.map(({ pssMb }) => pssMb))]
    return {
      figures: [
        { what: `idle, ${name}: CPU`, measured: percent, unit: '% of a core', asked: 3 },
        { what: `idle, ${name}: memory, sum of RSS`, measured: rss, unit: 'MB', asked: 350 },
        { what: `idle, ${name}: memory, sum of PSS`, measured: pss, unit: 'MB', asked: null },
      ],
      details: { name, seconds, predictions: listener.arrivals.length - answered, percent, rss, pss, processes: to.processes },
    }
  } finally {
    await site.stop()
  }
}
