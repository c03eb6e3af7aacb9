/** From a picture that leaves its camera to its prediction at a client of the broker, beside what decode and session run alone take. */
import { setTimeout as sleep } from 'node:timers/promises'
import { openModel, timeInference } from '../../agent/classifier/evaluate.js'
import { decodeImage } from '../../trainer/index.js'
import { MjpegCamera } from './mjpeg-camera.js'
import { median, quantile, type Part, type PartOptions, type PartResult } from './part.js'
import { pictures, type PictureSize } from './pictures.js'

/** Both are measured in turns, with so many pictures a turn, so far apart. */
const [turns, perTurn, everyMs] = [3, 64, 60]

export const latency: Part = async options => {
  const rows = [
    await measured(options, 'nano', { width: 112, height: 112 }),
    await measured(options, 'nano', { width: 640, height: 480 }),
    await measured(options, 'tiny', { width: 640, height: 480 }),
  ]
  return { figures: rows.flatMap(({ figures }) => figures), details: rows.map(({ details }) => details) }
}

async function measured({ site: newSite, say }: PartOptions, preset: 'nano' | 'tiny', size: PictureSize): Promise<PartResult> {
  const jpegs = await pictures(32, size)
  const site = await newSite(preset)
  const camera = new MjpegCamera(jpegs)
  await camera.appear()
  const model = await openModel(site.models[0]!)
  try {
    await site.configure([{ id: 'door', source: 'mjpeg', url: camera.url, crop: 'whole', maxPerSecond: 60, silentAfterSeconds: 60 }])
    const listener = await site.listen()
    await site.start()
    await camera.watched()
    await sleep(2000)
    const name = `${preset}, ${String(size.width)} × ${String(size.height)} px`
    say(`latency: ${name}`)
    const [whole, alone, paced, inside, fromPicture]: number[][] = [[], [], [], [], []]
    for (let turn = 0; turn < turns; turn++) {
      alone!.push((await timeInference(model, jpegs, 2 * perTurn)).p50Ms)
      for (let count = 0; count < perTurn; count++) {
        const jpeg = jpegs[count % jpegs.length]!
        const beganMs = performance.now()
        await model.run(await decodeImage(jpeg, model.metadata.size))
        paced!.push(performance.now() - beganMs)
        await sleep(Math.max(1, everyMs - (performance.now() - beganMs)))
      }
      for (let count = 0; count < perTurn; count++) {
        const from = listener.arrivals.length
        const sentAtMs = camera.send()
        const { atMs, latencyMs, capturedAtMs } = await listener.prediction(from)
        whole!.push(atMs - sentAtMs)
        inside!.push(latencyMs)
        fromPicture!.push(atMs - capturedAtMs)
        await sleep(Math.max(1, everyMs - (atMs - sentAtMs)))
      }
    }
    const p50 = median(whole!)
    const reference = median(alone!)
    return {
      figures: [
        { what: `${name}: camera to MQTT client, p50`, measured: p50, unit: 'ms', asked: 1.3 * reference },
        { what: `${name}: camera to MQTT client, p99`, measured: quantile(whole!, 0.99), unit: 'ms', asked: null },
        { what: `${name}: decode and session run alone, one after the other, p50`, measured: reference, unit: 'ms', asked: null },
        { what: `${name}: the same at the pace of the camera, p50`, measured: median(paced!), unit: 'ms', asked: null },
        { what: `${name}: p50 against alone`, measured: p50 / reference, unit: '×', asked: 1.3 },
        { what: `${name}: p50 against decode and session run in the daemon`, measured: p50 / median(inside!), unit: '×', asked: null },
      ],
      details: {
        preset, size, pictures: whole!.length, p50Ms: p50, p99Ms: quantile(whole!, 0.99), aloneP50Ms: reference, pacedP50Ms: median(paced!),
        insideP50Ms: median(inside!), capturedToArrivalP50Ms: median(fromPicture!),
      },
    }
  } finally {
    await model.release()
    await camera.stop()
    await site.stop()
  }
}
