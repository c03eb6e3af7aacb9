/** How long it takes until all is well again, after the broker, a camera, the classifier or the whole daemon was gone. */
import { setTimeout as sleep } from 'node:timers/promises'
import { RtspCamera } from '../cameras/rtsp-camera.js'
import { Listener } from './listener.js'
import { MjpegCamera, nowMs } from './mjpeg-camera.js'
import { median, type Figure, type Part } from './part.js'
import { pictures } from './pictures.js'
import { prefix, type Site } from './site.js'

const viewer = { user: 'viewer', password: 'secret' }
/** How often each is tried, and for how long the broker and cameras are away. */
const [times, awayMs] = [3, 8000]

export const recovery: Part = async ({ site: newSite, say }) => {
  const site = await newSite()
  const camera = new MjpegCamera(await pictures(32, { width: 640, height: 480 }))
  await camera.appear()
  const rtsp = new RtspCamera({ stream: camera.url, ...viewer })
  process.env.PAWL_CAMERA_YARD_PASSWORD = viewer.password
  try {
    camera.play(10)
    await site.configure([
      { id: 'door', source: 'mjpeg', url: camera.url, crop: 'whole' },
      { id: 'yard', source: 'rtsp', url: await rtsp.start(), username: viewer.user, crop: 'whole' },
    ])
    let daemon = await site.start()
    const listener = await site.listen()
    for (const id of ['door', 'yard']) await listener.prediction(0, arrival => arrival.camera === id)
    const tried = async (what: string, once: () => Promise<number>) => {
      const tookMs: number[] = []
      for (let count = 0; count < times; count++) {
        tookMs.push(await once())
        say(`recovery: ${what}: ${tookMs.at(-1)!.toFixed(0)} ms`)
        await sleep(1500)
      }
      return tookMs
    }
    const classifier = await tried('the classifier was killed', async () => {
      const child = (await daemon.children()).find(({ program }) => program.includes('classifier'))
      if (!child) throw new Error('no classifier runs')
      const killedAtMs = nowMs()
      process.kill(child.pid, 'SIGKILL')
      // What is on its way arrives first.
      await sleep(50)
      return (await listener.prediction(listener.arrivals.length)).atMs - killedAtMs
    })
    const mjpeg = await tried('a camera over HTTP was away', async () => {
      await rtsp.stop()
      await camera.vanish()
      await sleep(awayMs)
      const from = listener.arrivals.length
      const backAtMs = nowMs()
      await camera.appear()
      return (await listener.prediction(from, arrival => arrival.camera === 'door')).atMs - backAtMs
    })
    await rtsp.start()
    await listener.prediction(listener.arrivals.length, arrival => arrival.camera === 'yard')
    const overRtsp = await tried('a camera over RTSP was away', async () => {
      await rtsp.stop()
      await sleep(awayMs)
      await rtsp.start()
      const [from, backAtMs] = [listener.arrivals.length, nowMs()]
      return (await listener.prediction(from, arrival => arrival.camera === 'yard')).atMs - backAtMs
    })
    const broker = await tried('the broker was killed', () => brokerBack(site))
    const again = await site.listen()
    const power = await tried('all of it was killed', async () => {
      await daemon.cut()
      const [from, startAtMs] = [again.arrivals.length, nowMs()]
      daemon = await site.start()
      return (await again.prediction(from)).atMs - startAtMs
    })
    const rows = [
      ['broker back: all retained topics there again', broker, 2000],
      ['camera back, over HTTP: first prediction', mjpeg, 5000],
      ['camera back, over RTSP: first prediction', overRtsp, 5000],
      ['kill -9 of all of it, started again: first prediction', power, 5000],
      ['kill -9 of the classifier: next prediction', classifier, null],
    ] as const
    return { figures: rows.flatMap(([what, tookMs, asked]) => both(what, tookMs, asked)), details: rows.map(([what, tookMs]) => ({ what, tookMs })) }
  } finally {
    delete process.env.PAWL_CAMERA_YARD_PASSWORD
    await rtsp.stop()
    await camera.stop()
    await site.stop()
  }
}

/** The longest of all tries is what is held against what is asked. */
function both(what: string, tookMs: readonly number[], asked: number | null): Figure[] {
  return [
    { what: `${what}, median of ${String(tookMs.length)}`, measured: median(tookMs), unit: 'ms', asked },
    { what: `${what}, longest`, measured: Math.max(...tookMs), unit: 'ms', asked },
  ]
}

/** It holds nothing that survives: milliseconds from its start until every topic that was retained is. */
async function brokerBack(site: Site): Promise<number> {
  const before = await site.listen()
  await sleep(1000)
  const retained = [...before.topics.keys()].filter(topic => !/\/(event|response)/.test(topic))
  await before.close()
  await site.broker.stop('SIGKILL')
  await sleep(awayMs)
  const starting = site.broker.start()
  const backAtMs = nowMs()
  const after = await reached(site.broker.url)
  const firstAtMs = nowMs()
  for (let missing = retained; missing.length; missing = retained.filter(topic => !after.topics.has(topic))) {
    if (nowMs() - firstAtMs > 30_000) throw new Error(`the broker is back, and nobody has told it ${missing.join(', ')}`)
    await sleep(5)
  }
  await starting
  const lastAtMs = Math.max(...retained.map(topic => after.topics.get(topic)!))
  await after.close()
  return lastAtMs - backAtMs
}

async function reached(url: string): Promise<Listener> {
  for (let tries = 0; ; tries++) {
    try {
      return await Listener.open(url, prefix)
    } catch (cause) {
      if (tries > 500) throw cause
      await sleep(10)
    }
  }
}
