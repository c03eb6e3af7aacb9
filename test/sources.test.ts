import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { Camera } from '../agent/camera/camera.js'
import { sourceOf } from '../agent/camera/index.js'
import { Simulation } from '../agent/camera/simulation.js'
import { bundled, parseConfig, type CameraConfig } from '../agent/config.js'
import type { CameraStatus, Picture } from '../agent/events.js'
import { systemClock } from '../agent/lib/clock.js'
import { RtspCamera } from './cameras/rtsp-camera.js'

/** With everything in it that has a meaning in a URL, a script or a shell. */
const password = 'h:u/s\'h@ "%41 $x'
const waiting = { timeout: 60_000, interval: 20 }
const [width, height] = [320, 240]

const simulation = new Simulation({ photographs: bundled('unlabeled'), picturesPerSecond: 10, speed: 24, seed: 1 })
let belt = ''
let folder = ''
let recording = ''
let picture = Buffer.alloc(0)
const cleanups: (() => Promise<unknown>)[] = []

beforeAll(async () => {
  belt = await simulation.start()
  folder = await mkdtemp(join(tmpdir(), 'pawl-sources-'))
  recording = join(folder, 'recording.mp4')
  await promisify(execFile)('ffmpeg', ['-loglevel', 'error', '-f', 'lavfi', '-i', `testsrc=size=${String(width)}x${String(height)}:rate=10:duration=2`, '-pix_fmt', 'yuv420p', recording])
  picture = await sharp({ create: { width, height, channels: 3, background: '#888', noise: { type: 'gaussian', mean: 120, sigma: 40 } } }).jpeg().toBuffer()
  process.env.PAWL_CAMERA_FRONT_DOOR_PASSWORD = password
})

afterAll(async () => {
  delete process.env.PAWL_CAMERA_FRONT_DOOR_PASSWORD
  await simulation.stop()
  await rm(folder, { recursive: true, force: true })
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** As it would stand in the configuration. */
function camera(given: Partial<CameraConfig>): CameraConfig {
  const [parsed] = parseConfig(JSON.stringify({ cameras: [{ id: 'front-door', ...given }] }), 'pawl.yaml').cameras
  if (!parsed) throw new Error('no camera')
  return parsed
}

async function* picturesOf(config: CameraConfig, signal: AbortSignal, program = ''): AsyncIterable<Uint8Array> {
  for await (const one of sourceOf(config, program)(signal)) if (one !== null) yield one
}

async function failure(config: CameraConfig, program = ''): Promise<unknown> {
  try {
    for await (const _ of picturesOf(config, AbortSignal.timeout(20_000), program)) return 'it gave a picture'
    return 'it ended'
  } catch (cause) {
    return cause
  }
}

/** Command lines of what this process has started and what runs, as far as they name the program. */
async function running(program = 'ffmpeg'): Promise<string[]> {
  const children = (await readFile(`/proc/${String(process.pid)}/task/${String(process.pid)}/children`, 'utf8')).trim().split(' ')
  const commands = await Promise.all(children.map(pid => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))
  return commands.filter(command => command.includes(program))
}

interface Kind {
  config: () => Partial<CameraConfig>
  appear: () => Promise<void>
  vanish: () => Promise<void>
}

/** A server that comes back where it was. */
function web(handler: RequestListener): { appear: () => Promise<void>; vanish: () => Promise<void>; port: () => number } {
  let [server, port]: [Server | null, number] = [null, 0]
  return {
    port: () => port,
    appear: async () => {
      server = createServer(handler).listen(port, '127.0.0.1')
      await once(server, 'listening')
      port = (server.address() as AddressInfo).port
    },
    vanish: async () => {
      server?.closeAllConnections()
      server?.close()
      if (server?.listening) await once(server, 'close')
      server = null
    },
  }
}

const [realm, nonce] = ['Front door', 'n0:n/ce']

/** Whether a request holds the digest that RFC 7616 asks for. */
function knows({ headers, method = '', url = '' }: IncomingMessage): boolean {
  const given = Object.fromEntries([...(headers.authorization ?? '').matchAll(/(\w+)="?([^",]*)"?/g)].map(([, key = '', value = '']) => [key, value]))
  const hash = (...parts: (string | undefined)[]) => createHash('sha256').update(parts.join(':')).digest('hex')
  return given.response === hash(hash('viewer', realm, password), nonce, given.nc, given.cnonce, 'auth', hash(method, url))
}

const guarded = (handler: RequestListener): RequestListener => (request, response) => {
  if (knows(request)) handler(request, response)
  else response.writeHead(401, { 'www-authenticate': `Digest realm="${realm}", qop="auth", algorithm=SHA-256, nonce="${nonce}", Basic realm="${realm}"` }).end()
}

function kinds(): Record<string, Kind> {
  const stream = web(guarded((_, response) => {
    response.writeHead(200, { 'content-type': 'multipart/x-mixed-replace; boundary=x' })
    const timer = setInterval(() => response.write(Buffer.concat([Buffer.from(`--x\r\ncontent-length: ${String(picture.length)}\r\n\r\n`), picture])), 100)
    response.on('close', () => { clearInterval(timer) })
  }))
  const still = web(guarded((_, response) => { response.writeHead(200, { 'content-type': 'image/jpeg' }).end(picture) }))
  const at = (server: { port: () => number }) => `http://127.0.0.1:${String(server.port() || 1)}/video?token=hush`
  const rtsp = new RtspCamera({ stream: belt, user: 'viewer', password })
  let address = 'rtsp://127.0.0.1:1/door'
  const overRtsp = (transport: 'tcp' | 'udp'): Kind => ({
    config: () => ({ source: 'rtsp', url: address, username: 'viewer', transport }),
    appear: async () => { address = await rtsp.start() },
    vanish: () => rtsp.stop(),
  })
  const away = join(folder, 'away.mp4')
  return {
    mjpeg: { config: () => ({ source: 'mjpeg', url: at(stream), username: 'viewer' }), ...stream },
    snapshot: { config: () => ({ source: 'snapshot', url: at(still), username: 'viewer' }), ...still },
    'rtsp over tcp': overRtsp('tcp'),
    'rtsp over udp': overRtsp('udp'),
    video: {
      config: () => ({ source: 'video', url: join(folder, 'video.mp4') }),
      appear: () => promisify(execFile)('cp', [recording, join(folder, 'video.mp4')]).then(() => undefined),
      vanish: () => rename(join(folder, 'video.mp4'), away).catch(() => undefined),
    },
  }
}

for (const [name, kindOf] of ['mjpeg', 'snapshot', 'rtsp over tcp', 'rtsp over udp', 'video'].map(name => [name, () => kinds()[name] as Kind] as const)) {
  describe(`a camera of ${name}`, () => {
    it('gives pictures as often as wanted, and ends when it is told to, with all that it started', async () => {
      const kind = kindOf()
      await kind.appear()
      cleanups.push(kind.vanish)
      const controller = new AbortController()
      const times: number[] = []
      for await (const jpeg of picturesOf(camera({ ...kind.config(), maxPerSecond: 5, maxWidth: 160 }), controller.signal)) {
        const scaled = !['mjpeg', 'snapshot'].includes(name)
        expect(await sharp(jpeg).metadata()).toMatchObject({ format: 'jpeg', width: scaled ? 160 : width, height: scaled ? 120 : height })
        times.push(performance.now())
        if (times.length === 1 && scaled) {
          expect(await running()).toHaveLength(1)
          expect((await running()).join(' ')).not.toMatch(/h:u|viewer/)
        }
        if (times.length >= 14) break
      }
      // What ffmpeg held back at first comes at once; a camera of MJPEG is thinned out later.
      if (name !== 'mjpeg') expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThan(1000 * (14 - 8) / 5)
      expect(await running()).toEqual([])
    })

    it('ends also in the middle of nothing', async () => {
      const kind = kindOf()
      await kind.appear()
      cleanups.push(kind.vanish)
      const controller = new AbortController()
      const pictures = picturesOf(camera(kind.config()), controller.signal)[Symbol.asyncIterator]()
      const next = pictures.next().then(({ done }) => done, () => true)
      controller.abort()
      expect(await next).toBe(true)
      await vi.waitFor(async () => { expect(await running()).toEqual([]) }, waiting)

      // Also later: while it connects, or between two pictures.
      const later = new AbortController()
      setTimeout(() => { later.abort() }, 600)
      try {
        for await (const _ of picturesOf(camera(kind.config()), later.signal));
      } catch {
        expect(later.signal.aborted).toBe(true)
      }
      await vi.waitFor(async () => { expect(await running()).toEqual([]) }, waiting)
    })

    it('says what is not there, by its name and without its password, and is back by itself', async () => {
      const kind = kindOf()
      await kind.appear()
      await kind.vanish()
      cleanups.push(kind.vanish)
      const config = camera(kind.config())
      const { message } = await failure(config) as Error
      expect(message).toContain(config.url.replace(/\?.*/, ''))
      expect(message).toMatch(/refused|No such file/i)
      expect(message).not.toMatch(/h:u|h%3Au|hush|viewer/)

      const statuses: CameraStatus[] = []
      let tries = 0
      const source = sourceOf(config, '')
      const watched = new Camera({
        id: 'front-door', source: signal => { tries++; return source(signal) }, maxPerSecond: 10, minPerSecond: 0, silentAfterMs: 10_000, uselessAfterMs: 0, clock: systemClock,
        random: Math.random, onPicture: () => Promise.resolve(), onStatus: status => { statuses.push(status) },
      })
      watched.start()
      cleanups.push(() => watched.stop())
      await vi.waitFor(() => { expect(statuses.at(-1)?.state).toBe('offline') }, waiting)
      await vi.waitFor(() => { expect(tries).toBeGreaterThanOrEqual(3) }, waiting)
      await kind.appear()
      await vi.waitFor(() => { expect(statuses.at(-1)).toMatchObject({ state: 'online', reason: null }) }, waiting)
      // One word for all the tries in between.
      expect(statuses.map(({ state }) => state)).toEqual(['connecting', 'offline', 'online'])
    })
  })
}

it('a camera of snapshots that closes the connection as it is asked for the next one gives pictures all the same', async () => {
  const asked = new WeakSet<Socket>()
  const closing = web(({ socket }, response) => {
    if (asked.has(socket)) return void socket.destroy()
    asked.add(socket)
    response.writeHead(200, { 'content-type': 'image/jpeg' }).end(picture)
  })
  await closing.appear()
  cleanups.push(closing.vanish)
  let pictures = 0
  const config = camera({ source: 'snapshot', url: `http://127.0.0.1:${String(closing.port())}/`, maxPerSecond: 20 })
  for await (const _ of picturesOf(config, AbortSignal.timeout(20_000))) if (++pictures === 5) break
  expect(pictures).toBe(5)
})

describe('a camera whose user or password is wrong', () => {
  for (const name of ['mjpeg', 'snapshot', 'rtsp over tcp']) {
    it(`of ${name} says so`, async () => {
      const kind = kinds()[name] as Kind
      await kind.appear()
      cleanups.push(kind.vanish)
      const file = join(folder, 'password')
      await writeFile(file, 'wrong\n')
      expect(await failure(camera({ ...kind.config(), passwordFile: file }))).toMatchObject({ code: 'CAMERA_UNAVAILABLE', message: expect.stringContaining('401') as string })
      await writeFile(file, `${password}\n`)
      expect(await failure(camera({ ...kind.config(), passwordFile: file }))).toBe('it gave a picture')
      expect(await failure(camera({ ...kind.config(), passwordFile: join(folder, 'nothing') }))).toMatchObject({
        code: 'CONFIG_INVALID', message: expect.stringMatching(/passwordFile of camera front-door.*PAWL_CAMERA_FRONT_DOOR_PASSWORD/) as string,
      })
    })
  }
})

/** Pictures that come in so many milliseconds, from the first one on. */
async function within(ms: number, config: CameraConfig): Promise<number> {
  const controller = new AbortController()
  let pictures = 0
  for await (const _ of picturesOf(config, controller.signal)) {
    if (++pictures === 1) setTimeout(() => { controller.abort() }, ms)
  }
  return pictures
}

describe('ffmpeg', () => {
  it('that is not there is asked for by name', async () => {
    const { message } = await failure(camera({ source: 'video', url: recording }), '/nowhere/ffmpeg') as Error
    expect(message).toBe(`${recording}: /nowhere/ffmpeg is not there; install ffmpeg, or name it in \`ffmpeg\` of the configuration`)
  })

  it('is the one that FFMPEG_PATH names', async () => {
    process.env.FFMPEG_PATH = '/nowhere/else'
    cleanups.push(() => Promise.resolve(delete process.env.FFMPEG_PATH))
    expect((await failure(camera({ source: 'video', url: recording })) as Error).message).toContain('/nowhere/else is not there')
  })

  it('says why it opens no device, and no file that is no video', async () => {
    expect((await failure(camera({ source: 'v4l2', url: '/dev/video99' })) as Error).message).toBe('/dev/video99: No such file or directory')
    const text = join(folder, 'text.mp4')
    await writeFile(text, 'no video')
    expect((await failure(camera({ source: 'video', url: text })) as Error).message).toMatch(/text\.mp4: .*(Invalid data|moov atom)/)
  })

  it('makes up no picture where few come', async () => {
    const slow = join(folder, 'slow.mp4')
    await promisify(execFile)('ffmpeg', ['-loglevel', 'error', '-f', 'lavfi', '-i', 'testsrc=size=320x240:rate=1:duration=60', '-pix_fmt', 'yuv420p', slow])
    const pictures = await within(3000, camera({ source: 'video', url: slow, maxPerSecond: 10 }))
    expect(pictures).toBeGreaterThan(1)
    expect(pictures).toBeLessThan(8)
  })

  it('decodes only key frames where that is all that is wanted', async () => {
    const rare = join(folder, 'rare.mp4')
    const each = ['-c:v', 'libx264', '-g', '20', '-sc_threshold', '0']
    await promisify(execFile)('ffmpeg', ['-loglevel', 'error', '-f', 'lavfi', '-i', 'testsrc=size=320x240:rate=10:duration=20', '-pix_fmt', 'yuv420p', ...each, rare])
    // One every two seconds, where ten a second would do.
    expect(await within(3000, camera({ source: 'video', url: rare, keyframesOnly: true }))).toBeLessThan(5)
  })

  it('opens nothing but the file, whatever a playlist in it names', async () => {
    const list = join(folder, 'list.ffconcat')
    await writeFile(list, `ffconcat version 1.0\nfile '${belt}'\n`)
    expect(await failure(camera({ source: 'video', url: list }))).toMatchObject({ code: 'CAMERA_UNAVAILABLE' })
  })

  it('that hangs is made to end', async () => {
    const hanging = join(folder, 'hanging')
    await writeFile(hanging, '#!/bin/sh\ntrap "" TERM\nwhile :; do sleep 0.1; done\n', { mode: 0o755 })
    const controller = new AbortController()
    const pictures = picturesOf(camera({ source: 'video', url: recording }), controller.signal, hanging)[Symbol.asyncIterator]()
    const next = pictures.next().catch(() => 'over')
    await vi.waitFor(async () => { expect(await running(hanging)).toHaveLength(1) }, waiting)
    await sleep(300)
    controller.abort()
    await next
    await pictures.return?.()
    expect(await running(hanging)).toEqual([])
  })
})

describe('a camera that sends pictures which show nothing', () => {
  const grey = (level: number) => sharp({ create: { width, height, channels: 3, background: { r: level, g: level, b: level } } }).jpeg().toBuffer()
  async function reasons(jpegs: () => Buffer, options: { minPerSecond?: number; uselessAfterMs?: number }): Promise<(string | null)[]> {
    const told: CameraStatus[] = []
    let [nowMs, begun] = [0, 0]
    const watched = new Camera({
      id: 'front-door', maxPerSecond: 10, minPerSecond: 0, silentAfterMs: 60_000, uselessAfterMs: 0, random: () => 0, ...options,
      clock: { ...systemClock, monotonicMs: () => nowMs },
      // A picture every two seconds of its clock.
      source: async function* (signal) {
        begun++
        for (; !signal.aborted; nowMs += 2000) {
          yield jpegs()
          await sleep(2)
        }
      },
      onPicture: (_: Picture) => Promise.resolve(), onStatus: status => { told.push(status) },
    })
    watched.start()
    cleanups.push(() => watched.stop())
    await vi.waitFor(() => { expect(nowMs > 200_000 || told.some(({ state }) => state === 'offline')).toBe(true) }, waiting)
    // As long as it goes on like that it is not back.
    const offline = told.findIndex(({ state }) => state === 'offline')
    if (offline >= 0 && options.minPerSecond === undefined) {
      await vi.waitFor(() => { expect(begun).toBeGreaterThanOrEqual(3) }, waiting)
      expect(told.slice(offline).map(({ state }) => state)).toEqual(['offline'])
    }
    return told.filter(({ state }) => state === 'offline').map(({ reason }) => reason)
  }

  it('is started again when they are the same to the bit, black, or too few', async () => {
    const [black, others] = [await Promise.all([0, 1].map(grey)), await Promise.all([100, 200].map(grey))]
    let count = 0
    const inTurn = (pictures: Buffer[]) => () => pictures[count++ % pictures.length] ?? Buffer.alloc(0)
    const noted = () => {
      const comment = Buffer.from(`\xff\xfe\0\x06${String(1000 + count++)}`, 'latin1')
      return Buffer.concat([picture.subarray(0, 2), comment, picture.subarray(2)])
    }
    const [same, sameButNotes, dark, few, good] = [
      await reasons(() => picture, { uselessAfterMs: 60_000 }),
      await reasons(noted, { uselessAfterMs: 60_000 }),
      await reasons(inTurn(black), { uselessAfterMs: 60_000 }),
      await reasons(inTurn(others), { minPerSecond: 1, uselessAfterMs: 60_000 }),
      await reasons(inTurn(others), { minPerSecond: 0.4, uselessAfterMs: 60_000 }),
    ]
    expect([same[0], sameButNotes[0]]).toEqual(Array.from({ length: 2 }, () => 'it has shown the same picture, to the bit, for 60 s or more'))
    expect(dark[0]).toBe('its pictures have been black for 60 s or more')
    expect(few[0]).toBe('it sends 0.5 pictures a second, less than minPerSecond (1)')
    expect(good).toEqual([])
  })

  for (const [what, outage] of [['ten minutes', 600_000], ['a night in which they were black', 0]] as const) {
    it(`is back after ${what}, though its first pictures are dark and alike, as those of a webcam are`, async () => {
      const [black, ...others] = await Promise.all([0, 100, 200].map(grey))
      const told: CameraStatus[] = []
      const delivered: Uint8Array[] = []
      let [nowMs, dark, begun] = [0, outage === 0, 0]
      const watched = new Camera({
        id: 'front-door', maxPerSecond: 10, minPerSecond: 0, silentAfterMs: 60_000, uselessAfterMs: 300_000, random: () => 0,
        clock: { ...systemClock, monotonicMs: () => nowMs },
        source: async function* (signal) {
          begun++
          for (let count = 0; !signal.aborted; count++, nowMs += 200) {
            // The outage begins, or morning comes, in the second minute or the sixth.
            if (outage && begun === 1 && nowMs > 60_000) {
              nowMs += outage
              throw new Error('the cable is out')
            }
            if (begun > 2) dark = false
            yield (dark || count < 8 ? black : others[count % 2]) ?? Buffer.alloc(0)
            await sleep(1)
          }
        },
        onPicture: ({ jpeg }: Picture) => {
          delivered.push(jpeg)
          return Promise.resolve()
        },
        onStatus: status => { told.push(status) },
      })
      watched.start()
      cleanups.push(() => watched.stop())
      await vi.waitFor(() => { expect(told.some(({ state }) => state === 'offline')).toBe(true) }, waiting)
      const before = delivered.length
      await vi.waitFor(() => { expect([told.at(-1)?.state, delivered.length > before + 20]).toEqual(['online', true]) }, waiting)
      expect(told.map(({ state }) => state).filter((state, index, all) => state !== all[index - 1])).toEqual(['connecting', 'online', 'offline', 'online'])
    })
  }
})
