/** Three models in a row put in service while a camera sends: what becomes of its pictures. */
import { setTimeout as sleep } from 'node:timers/promises'
import { MjpegCamera } from './mjpeg-camera.js'
import type { Part } from './part.js'
import { pictures } from './pictures.js'

const perSecond = 20

export const swap: Part = async ({ site: newSite, say }) => {
  const site = await newSite()
  const camera = new MjpegCamera(await pictures(32, { width: 640, height: 480 }))
  await camera.appear()
  try {
    await site.configure([{ id: 'door', source: 'mjpeg', url: camera.url, crop: 'whole', maxPerSecond: 60 }])
    const listener = await site.listen()
    await site.start()
    await camera.watched()
    await sleep(1000)
    camera.play(perSecond)
    await listener.prediction(0)
    await sleep(3000)
    for (const version of ['2', '1', '2']) {
      say(`swap: model ${version}`)
      await site.pawl('models', 'promote', version)
    }
    await sleep(2000)
    camera.pause()
    await sleep(1000)
    // A model that takes over answers the newest picture again: one picture, twice answered.
    const answered = new Set(listener.arrivals.map(({ capturedAtMs }) => capturedAtMs)).size
    const sent = camera.sentAtMs.length
    const arrivedAtMs = listener.arrivals.map(({ atMs }) => atMs)
    const longestMs = Math.max(...arrivedAtMs.slice(1).map((atMs, index) => atMs - arrivedAtMs[index]!))
    const takeovers = listener.arrivals.filter(({ model }, index, all) => index > 0 && all[index - 1]!.model !== model).length
    if (takeovers !== 3) throw new Error(`${String(takeovers)} swaps were seen, not 3`)
    return {
      figures: [
        { what: 'three swaps in a row: pictures lost', measured: sent - answered, unit: `of ${String(sent)}`, asked: 0 },
        { what: 'three swaps in a row: longest wait between two predictions', measured: longestMs * perSecond / 1000, unit: `pictures (${String(1000 / perSecond)} ms each)`, asked: 2 },
      ],
      details: { sent, answered, longestMs, perSecond, takeovers },
    }
  } finally {
    await camera.stop()
    await site.stop()
  }
}
