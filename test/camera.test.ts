import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import sharp from 'sharp'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { addressOf } from '../agent/camera/address.js'
import { Camera, type CameraOptions } from '../agent/camera/camera.js'
import { folder } from '../agent/camera/folder.js'
import { mjpeg, parts } from '../agent/camera/mjpeg.js'
import { Sampler, type SamplerOptions } from '../agent/camera/sampler.js'
import { Simulation } from '../agent/camera/simulation.js'
import { bundled } from '../agent/config.js'
import type { CameraStatus } from '../agent/events.js'
import { systemClock } from '../agent/lib/clock.js'
import { InTurn } from '../agent/lib/in-turn.js'
import { fitImage } from '../trainer/index.js'
import { boundary, head, HttpCamera, part, sends, type Behaviour } from './cameras/http-camera.js'

const waiting = { timeout: 60_000, interval: 10 }
const cleanups: (() => Promise<unknown>)[] = []
const upright: Omit<SamplerOptions, 'crop'> = { rotate: 0, masks: [], size: () => 28, largeOnes: new InTurn() }
let jpeg = Buffer.alloc(0)

beforeAll(async () => {
  const noise = { type: 'gaussian', mean: 120, sigma: 40 } as const
  jpeg = await sharp({ create: { width: 64, height: 48, channels: 3, background: '#888', noise } }).jpeg().toBuffer()
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

function httpCamera(behaviour: Behaviour): HttpCamera {
  const camera = new HttpCamera(behaviour)
  cleanups.push(() => camera.stop())
  return camera
}

const works = sends(() => jpeg)

/** Watches a stream; `statuses` holds everything that was told of it. */
function watch(url: string, options: Partial<CameraOptions> = {}) {
  const statuses: CameraStatus[] = []
  const camera = new Camera({
    id: 'door', source: signal => mjpeg(addressOf(url))(signal), maxPerSecond: 60, minPerSecond: 0, silentAfterMs: 3000, uselessAfterMs: 0, clock: systemClock, random: () => 0,
    onPicture: () => Promise.resolve(), onStatus: status => { statuses.push(status) }, ...options,
  })
  camera.start()
  cleanups.push(() => camera.stop())
  return { statuses, camera, last: () => statuses.at(-1) }
}

async function* chunks(bytes: Uint8Array, sizes: readonly number[]): AsyncIterable<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? bytes.length
    await Promise.resolve()
    yield bytes.subarray(at, at + size)
    at += size
  }
}

describe('MJPEG stream', () => {
  it('gives the same pictures however it is cut up, with or without lengths, whatever ends its lines', async () => {
    const picture = fc.uint8Array({ maxLength: 300 }).map(bytes => Uint8Array.from([0xff, 0xd8, ...bytes, 0xff, 0xd9]))
    await fc.assert(fc.asyncProperty(
      fc.array(picture, { minLength: 1, maxLength: 5 }), fc.constantFrom('\r\n', '\n'), fc.boolean(), fc.string({ maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 10 }),
      async (pictures, end, lengths, preamble, sizes) => {
        const stream = Buffer.concat([
          Buffer.from(preamble + end),
          ...pictures.flatMap(bytes => [
            Buffer.from(`--${boundary}${end}Content-Type: image/jpeg${end}${lengths ? `Content-Length: ${String(bytes.length)}${end}` : ''}${end}`),
            bytes, Buffer.from(end),
          ]),
          Buffer.from(`--${boundary}--${end}`),
        ])
        const found: Uint8Array[] = []
        for await (const bytes of parts(chunks(stream, sizes), boundary)) found.push(bytes)
        expect(found).toEqual(pictures)
      }), { numRuns: 300 })
  })

  it('is given up when it sends without end and never finishes a picture', async () => {
    const endless = chunks(new Uint8Array(40_000_000), [1_000_000])
    await expect(async () => { for await (const _ of parts(endless, boundary)); }).rejects.toMatchObject({ code: 'CAMERA_UNAVAILABLE' })
  })

  it('sends user and password as the camera wants them, and tells them to nobody', async () => {
    const seen: (string | undefined)[] = []
    const server = httpCamera((response, { headers }) => {
      seen.push(headers.authorization)
      response.writeHead(401, { 'www-authenticate': 'Basic realm="door"' }).end()
    })
    const url = (await server.start()).replace('//', '//user:hush%20hush@')
    const { last } = watch(`${url}?password=hush`)
    await vi.waitFor(() => { expect(last()).toMatchObject({ state: 'offline', reason: expect.stringContaining('401') as string }) }, waiting)
    // Not before it asks: it may ask for something better.
    expect(seen.slice(0, 2)).toEqual([undefined, `Basic ${Buffer.from('user:hush hush').toString('base64')}`])
    expect(last()?.reason).not.toContain('hush')
  })
})

describe('camera', () => {
  it('says once a minute how many pictures come and when the newest did, not with each of them', async () => {
    let nowMs = 1000
    const { statuses } = watch('', {
      clock: { nowMs: () => 5e9 + nowMs, monotonicMs: () => nowMs },
      source: async function* (signal) {
        for (; !signal.aborted && nowMs < 200_000; nowMs += 100) {
          yield jpeg
          await sleep(0)
        }
        nowMs = 200_000
        await sleep(60_000, undefined, { signal })
      },
    })
    await vi.waitFor(() => { expect(nowMs).toBe(200_000) }, waiting)
    const told = statuses.filter(({ state }) => state === 'online')
    expect(told.map(({ picturesPerSecond, lastPictureAtMs }) => [picturesPerSecond, (lastPictureAtMs ?? 0) - 5e9])).toEqual(
      [[0, 1000], [10, 6000], [10, 66_000], [10, 126_000], [10, 186_000]])
  })

  const troubles: { does: string; behaviour: Behaviour; reason: string }[] = [
    { does: 'is silent from the start', behaviour: head, reason: 'no picture for 0.3 s' },
    { does: 'never answers', behaviour: () => undefined, reason: 'no picture for 0.3 s' },
    { does: 'falls silent', behaviour: response => { head(response).write(part(jpeg)) }, reason: 'no picture for 0.3 s' },
    { does: 'refuses', behaviour: response => { response.writeHead(503).end() }, reason: '/video answered 503 Service Unavailable' },
    { does: 'ends the stream', behaviour: response => { head(response).end(part(jpeg)) }, reason: 'ended the stream' },
    { does: 'breaks the connection', behaviour: response => { response.destroy() }, reason: '/video cannot be reached' },
    { does: 'sends a web page', behaviour: response => { response.writeHead(200, { 'content-type': 'text/html' }).end('<html>') }, reason: 'sends "text/html"' },
  ]
  for (const { does, behaviour, reason } of troubles) {
    it(`is offline with the reason when it ${does}, comes back, and disturbs no other`, async () => {
      const [bad, good] = [httpCamera(behaviour), httpCamera(works)]
      const [one, other] = [watch(await bad.start(), { silentAfterMs: 300 }), watch(await good.start())]
      await vi.waitFor(() => { expect(bad.askedAtMs.length).toBeGreaterThan(2) }, waiting)
      expect(one.statuses.find(({ state }) => state === 'offline')?.reason).toContain(reason)
      bad.behaviour = works
      await vi.waitFor(() => { expect(one.last()).toMatchObject({ state: 'online', reason: null }) }, waiting)
      expect(one.last()?.restarts).toBeGreaterThan(1)
      expect(other.statuses.map(({ state }) => state)).toEqual(['connecting', 'online'])
    })
  }

  it('is found again when it was away altogether', async () => {
    const server = httpCamera(works)
    const url = await server.start()
    const { last } = watch(url)
    await vi.waitFor(() => { expect(last()?.state).toBe('online') }, waiting)
    await server.stop()
    await vi.waitFor(() => { expect(last()?.reason).toMatch(/ECONNREFUSED|terminated/) }, waiting)
    await httpCamera(works).start(Number(new URL(url).port))
    await vi.waitFor(() => { expect(last()?.state).toBe('online') }, waiting)
  })

  it('is asked less and less often while it refuses', async () => {
    const server = httpCamera(response => { response.writeHead(503).end() })
    watch(await server.start())
    await vi.waitFor(() => { expect(server.askedAtMs).toHaveLength(4) }, waiting)
    const [a = 0, b = 0, c = 0, d = 0] = server.askedAtMs
    expect(b - a).toBeGreaterThan(240)
    expect(c - b).toBeGreaterThan(490)
    expect(d - c).toBeGreaterThan(990)
  })

  it('stays online with a reason while its pictures are garbage, says so once, and once that they are good again', async () => {
    let picture: Uint8Array = Buffer.from('no picture at all')
    const sampler = new Sampler({ crop: 'whole', ...upright })
    const { statuses, last } = watch(await httpCamera(sends(() => picture)).start(), {
      onPicture: async taken => { await sampler.sample(taken) },
    })
    await vi.waitFor(() => { expect(last()?.reason).toContain('cannot be used') }, waiting)
    await sleep(200)
    picture = jpeg
    await vi.waitFor(() => { expect(last()?.reason).toBeNull() }, waiting)
    expect(statuses.map(({ state, restarts }) => `${state} ${String(restarts)}`)).toEqual(['connecting 0', 'online 0', 'online 0', 'online 0'])
  })

  it('gives the newest picture next to whoever is slow, and no more pictures a second than wanted', async () => {
    const [slow, few]: [string[], number[]] = [[], []]
    let count = 0
    const url = await httpCamera(sends(() => Buffer.from(String(count++)), 10)).start()
    watch(url, { onPicture: async picture => { slow.push(Buffer.from(picture.jpeg).toString()); await sleep(200) } })
    watch(url, { maxPerSecond: 10, onPicture: () => { few.push(performance.now()); return Promise.resolve() } })
    await vi.waitFor(() => { expect(slow.length).toBeGreaterThanOrEqual(4) }, waiting)
    const steps = slow.slice(1).map((text, index) => Number(text) - Number(slow[index]))
    expect(Math.min(...steps)).toBeGreaterThan(2)
    expect((few.at(-1) ?? 0) - (few[0] ?? 0)).toBeGreaterThan(75 * (few.length - 1))
  })
})

describe('folder', () => {
  it('gives each new picture once, whole and in order, also those that came while it was not watched', async () => {
    const path = await mkdtemp(join(tmpdir(), 'pawl-folder-'))
    cleanups.push(() => rm(path, { recursive: true, force: true }))
    const put = async (name: string) => {
      await mkdir(join(path, '.part'), { recursive: true })
      await writeFile(join(path, '.part', name), name)
      await rename(join(path, '.part', name), join(path, name))
    }
    await put('0-old.jpg')
    const pictures: string[] = []
    const source = folder(path, 60, null)
    const start = () => watch('', { source, onPicture: picture => Promise.resolve(void pictures.push(Buffer.from(picture.jpeg).toString())) })
    const first = start()
    await vi.waitFor(() => { expect(first.last()?.state).toBe('online') }, waiting)
    await put('1.jpg')
    await put('note.txt')
    await writeFile(join(path, '2.jpg'), '')
    await vi.waitFor(() => { expect(pictures).toEqual(['1.jpg']) }, waiting)
    await first.camera.stop()
    for (const name of ['5.webp', '4.jpg', '3.png', '2.jpg']) await put(name)
    start()
    await vi.waitFor(() => { expect(pictures).toEqual(['1.jpg', '2.jpg', '3.png', '4.jpg', '5.webp']) }, waiting)
  })

  it('goes on where the agent ended, gives what takes the place of a picture, and is online however seldom one comes', async () => {
    const path = await mkdtemp(join(tmpdir(), 'pawl-folder-'))
    cleanups.push(() => rm(path, { recursive: true, force: true }))
    const put = async (name: string, text = name) => {
      await writeFile(join(path, '.part'), text)
      await rename(join(path, '.part'), join(path, name))
    }
    await put('0-old.jpg')
    const pictures: string[] = []
    // Of an agent each.
    const start = () => watch('', {
      source: folder(path, 60, join(path, 'memory.json')), silentAfterMs: 700, onPicture: picture => Promise.resolve(void pictures.push(Buffer.from(picture.jpeg).toString())),
    })
    const first = start()
    await vi.waitFor(() => { expect(first.last()).toMatchObject({ state: 'online', lastPictureAtMs: null }) }, waiting)
    await put('1.jpg')
    await vi.waitFor(() => { expect(pictures).toEqual(['1.jpg']) }, waiting)
    await put('1.jpg', 'another')
    await vi.waitFor(() => { expect(pictures).toEqual(['1.jpg', 'another']) }, waiting)
    await sleep(1500)
    expect(first.statuses.map(({ state }) => state)).not.toContain('offline')
    await first.camera.stop()
    await put('2.jpg')
    const second = start()
    await vi.waitFor(() => { expect(pictures).toEqual(['1.jpg', 'another', '2.jpg']) }, waiting)
    await second.camera.stop()
    const third = start()
    await sleep(1500)
    expect(pictures).toHaveLength(3)
    await third.camera.stop()
    // Cut off in a burst, of which the picture that came last is looked at first.
    for (const name of ['8.jpg', '7.jpg', '6.jpg']) {
      await put(name)
      await sleep(20)
    }
    const ending = new AbortController()
    for await (const picture of folder(path, 1, join(path, 'memory.json'))(ending.signal)) {
      if (picture === null) continue
      expect(Buffer.from(picture).toString()).toBe('6.jpg')
      ending.abort()
    }
    start()
    await vi.waitFor(() => { expect(pictures.slice(3)).toEqual(['6.jpg', '7.jpg', '8.jpg']) }, waiting)
  })

  it('is a camera that is offline while the folder is missing', async () => {
    const { last } = watch('', { source: folder('/nowhere/pictures', 10, null) })
    await vi.waitFor(() => { expect(last()).toMatchObject({ state: 'offline', reason: '/nowhere/pictures: the folder cannot be read' }) }, waiting)
  })
})

/** Grey pixels of what is lighter than the belt, fitted into a square, at zero mean and unit length. */
async function look(image: Uint8Array | string): Promise<number[]> {
  const trimmed = await sharp(image).resize(112, 112, { fit: 'contain' }).trim({ background: '#000', threshold: 30 }).toBuffer()
  const pixels = [...await sharp(trimmed).resize(24, 24, { fit: 'contain', background: '#000' }).toColourspace('b-w').raw().toBuffer()]
  const mean = pixels.reduce((sum, value) => sum + value, 0) / pixels.length
  const length = Math.hypot(...pixels.map(value => value - mean))
  return pixels.map(value => (value - mean) / length)
}

const correlation = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0)

describe('sampler', () => {
  for (const seed of [1, 3]) {
    it(`gives what passes on the belt once, cut out so that it can be recognised (belt ${String(seed)})`, async () => {
      const simulation = new Simulation({ photographs: bundled('unlabeled'), picturesPerSecond: 70, speed: 24, seed })
      const url = await simulation.start()
      cleanups.push(() => simulation.stop())
      const sampler = new Sampler({ crop: 'passing', ...upright })
      const passed: string[] = []
      const frames: Uint8Array[] = []
      // The first pictures teach the background, so the first items are not counted; of the last one the end is not seen.
      const [uncounted, counted] = [6, 20]
      for await (const picture of mjpeg(addressOf(url))(new AbortController().signal)) {
        if (picture === null) continue
        const { path } = simulation.nearestMiddle() ?? {}
        if (path !== undefined && passed.at(-1) !== path) passed.push(path)
        if (passed.length > uncounted + counted + 2) break
        frames.push(...(await sampler.sample({ camera: 'belt', capturedAtMs: 0, jpeg: picture })).map(frame => frame.jpeg))
      }
      const [items, crops] = [await Promise.all(passed.map(look)), await Promise.all(frames.map(look))]
      const times = passed.map(() => 0)
      const likeness = crops.map(crop => {
        const each = items.map(item => correlation(item, crop))
        const best = Math.max(...each)
        times[each.indexOf(best)] = (times[each.indexOf(best)] ?? 0) + 1
        return best
      })
      expect(times.slice(uncounted, uncounted + counted).filter(count => count === 1).length).toBeGreaterThanOrEqual(0.9 * counted)
      expect(likeness.filter(value => value > 0.85).length).toBeGreaterThanOrEqual(0.9 * frames.length)
    })
  }

  it('turns a picture as it is told, whatever its tag says, and keeps nothing of what is masked', async () => {
    // Red, green above blue, white: each a quarter.
    const quarters = Buffer.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255])
    const picture = await sharp(quarters, { raw: { width: 2, height: 2, channels: 3 } }).resize(80, 60, { kernel: 'nearest', fit: 'fill' }).jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toBuffer()
    const tagged = await sharp(picture).withMetadata({ orientation: 3 }).toBuffer()
    /** The colours of the quarters of the first frame, as r, g, b, w or - for black. */
    const seen = async (options: Partial<SamplerOptions>, jpeg = picture) => {
      const [frame] = await new Sampler({ crop: 'whole', ...upright, ...options }).sample({ camera: 'door', capturedAtMs: 0, jpeg })
      const { data, info } = await sharp(frame?.jpeg).raw().toBuffer({ resolveWithObject: true })
      const colours = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]].map(([x = 0, y = 0]) => {
        const at = 3 * (Math.floor(y * info.height) * info.width + Math.floor(x * info.width))
        const bright = [...data.subarray(at, at + 3)].map(value => value > 128)
        return bright.every(Boolean) ? 'w' : bright.some(Boolean) ? 'rgb'[bright.indexOf(true)] : '-'
      }).join('')
      return `${String(info.width)}x${String(info.height)} ${colours}`
    }
    expect(await seen({})).toBe('80x60 rgbw')
    expect(await seen({ rotate: 90 })).toBe('60x80 brwg')
    expect(await seen({ rotate: 180 })).toBe('80x60 wbgr')
    expect(await seen({ rotate: 270 })).toBe('60x80 gwrb')
    expect(await seen({}, tagged)).toBe('80x60 wbgr')
    expect(await seen({ rotate: 90 }, tagged)).toBe('60x80 gwrb')
    const lower = { x: 0, y: 30, width: 40, height: 900 }
    expect(await seen({ masks: [lower] })).toBe('80x60 rg-w')
    expect(await seen({ masks: [lower, { x: 60, y: 0, width: 20, height: 20 }, { x: 500, y: 500, width: 1, height: 1 }] })).toBe('80x60 r--w')
    expect(await seen({ rotate: 90, masks: [{ x: 0, y: 0, width: 30, height: 40 }] })).toBe('60x80 -rwg')
    expect(await seen({ crop: { x: 40, y: 0, width: 40, height: 60 }, masks: [{ x: 0, y: 0, width: 60, height: 30 }] })).toBe('40x60 -gww')
    expect(await seen({ crop: { x: 0, y: 0, width: 30, height: 80 }, rotate: 90 })).toBe('30x80 bbww')
  })

  it('sees nothing move under a mask', async () => {
    const simulation = new Simulation({ photographs: bundled('unlabeled'), picturesPerSecond: 70, speed: 24, seed: 1 })
    const url = await simulation.start()
    cleanups.push(() => simulation.stop())
    // All of the belt, and all but its edge, where nothing that passes is seen whole.
    const [open, shut] = [new Sampler({ crop: 'passing', ...upright }), new Sampler({ crop: 'passing', ...upright, masks: [{ x: 30, y: 0, width: 400, height: 240 }] })]
    const counts = [0, 0]
    let pictures = 0
    for await (const jpeg of mjpeg(addressOf(url))(new AbortController().signal)) {
      if (jpeg === null) continue
      if (++pictures > 220) break
      for (const [index, sampler] of [open, shut].entries()) {
        counts[index] = (counts[index] ?? 0) + (await sampler.sample({ camera: 'belt', capturedAtMs: 0, jpeg })).length
      }
    }
    expect(counts[0]).toBeGreaterThan(8)
    expect(counts[1]).toBe(0)
  })

  it('gives a whole picture or a fixed part of it, once while nothing changes', async () => {
    const other = await sharp(jpeg).negate().jpeg().toBuffer()
    const sampled = async (sampler: Sampler, pictures: Uint8Array[]) => {
      const frames = []
      for (const [index, picture] of pictures.entries()) frames.push(...await sampler.sample({ camera: 'door', capturedAtMs: index * 100, jpeg: picture }))
      return frames
    }
    // As the camera sent it, to the bit.
    const whole = await sampled(new Sampler({ crop: 'whole', ...upright }), [jpeg, jpeg, other, other])
    expect(whole).toMatchObject([{ jpeg, fitted: await fitImage(jpeg, 28) }, { jpeg: other, fitted: await fitImage(other, 28) }])
    const [part, ...rest] = await sampled(new Sampler({ crop: { x: 4, y: 8, width: 20, height: 10 }, ...upright }), [jpeg])
    expect(await sharp(part?.jpeg).metadata()).toMatchObject({ format: 'jpeg', width: 20, height: 10 })
    expect(rest).toEqual([])
    const [converted] = await sampled(new Sampler({ crop: 'whole', ...upright }), [await sharp(jpeg).png().toBuffer()])
    expect(await sharp(converted?.jpeg).metadata()).toMatchObject({ format: 'jpeg', width: 64, height: 48 })
    await expect(sampled(new Sampler({ crop: 'whole', ...upright }), [jpeg.subarray(0, jpeg.length / 2)])).rejects.toMatchObject({ code: 'IMAGE_UNREADABLE' })
    await expect(sampled(new Sampler({ crop: { x: 60, y: 0, width: 20, height: 10 }, ...upright }), [jpeg]))
      .rejects.toMatchObject({ code: 'IMAGE_UNREADABLE', message: expect.stringContaining('camera door') as string })
  })
})
