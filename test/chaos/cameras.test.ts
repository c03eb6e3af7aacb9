/** Cameras that do what cameras do, beside one that works: the whole agent looks on. */
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { bundled } from '../../agent/config.js'
import { head, HttpCamera, sends, type Behaviour } from '../cameras/http-camera.js'
import { classes, seldom } from '../site/labels.js'
import { inService, lacks, soon, type InService } from './box.js'

/** The camera that works is heard of so often, milliseconds; another must not make it late by more. */
const everyMs = 200
const longestGapMs = 4000

let pictures: Buffer[] = []
let count = 0
const works = sends(() => pictures[count++ % pictures.length] ?? Buffer.alloc(0), everyMs)

const bad: Record<string, { behaviour: Behaviour; status: object }> = {
  frozen: { behaviour: sends(() => pictures[0] ?? Buffer.alloc(0), everyMs), status: { state: 'offline', reason: expect.stringContaining('the same picture') as string } },
  silent: { behaviour: response => { head(response).flushHeaders() }, status: { state: 'offline', reason: 'no picture for 2 s' } },
  garbage: { behaviour: sends(() => randomBytes(2000), everyMs), status: { reason: expect.stringContaining('cannot be used') as string } },
  endless: {
    behaviour: response => {
      head(response)
      const pour = () => { while (!response.destroyed && response.write(Buffer.alloc(65_536, 7))); }
      response.on('drain', pour)
      pour()
    },
    status: { state: 'offline', reason: expect.stringMatching(/without finishing a picture|no picture for 2 s/) as string },
  },
  refusing: { behaviour: response => { response.writeHead(503).end() }, status: { state: 'offline', reason: expect.stringContaining('503') as string } },
  gone: { behaviour: response => { response.destroy() }, status: { state: 'offline', reason: expect.any(String) as string } },
}
const names = ['good', ...Object.keys(bad)]

describe.skipIf(lacks !== '')(`cameras that do what they should not${lacks}`, () => {
  const cameras = new Map<string, HttpCamera>()
  let site: InService

  beforeAll(async () => {
    const files = (await Promise.all(classes.map(async label => (await readdir(join(bundled('test'), label))).slice(0, 10).map(name => join(bundled('test'), label, name))))).flat()
    pictures = await Promise.all(files.map(file => sharp(file).resize(112, 112).jpeg().toBuffer()))
    const configured = await Promise.all(names.map(async id => {
      const camera = new HttpCamera(works)
      cameras.set(id, camera)
      return { id, source: 'mjpeg', url: await camera.start(), crop: 'whole', maxPerSecond: 5, silentAfterSeconds: 2, uselessAfterSeconds: 3 }
    }))
    site = await inService({ cameras: configured, rounds: { schedule: seldom }, mqtt: { predictionEveryMs: 100 } })
  })
  afterAll(async () => {
    await site.close()
    for (const camera of cameras.values()) await camera.stop()
  })

  const statusOf = (id: string) => site.box.onlooker.last('cameraStatus', id)
  const behave = (id: string, behaviour: Behaviour) => {
    const camera = cameras.get(id)
    if (!camera) return
    camera.behaviour = behaviour
    camera.cut()
  }

  it('are told apart, each by its reason, while the one that works is answered as before', async () => {
    const { onlooker } = site.box
    await vi.waitFor(() => { for (const id of names) expect(onlooker.all('cameraPrediction', id).length).toBeGreaterThan(0) }, soon)
    const fromMs = Date.now()
    for (const [id, { behaviour }] of Object.entries(bad)) behave(id, behaviour)
    for (const [id, { status }] of Object.entries(bad)) await vi.waitFor(() => { expect(statusOf(id)).toMatchObject(status) }, soon)
    await vi.waitFor(() => { expect(onlooker.last('health')).toMatchObject({ state: 'degraded', cameras: names.length, camerasOnline: 2 }) }, soon)

    const times = [fromMs, ...onlooker.timesOf('cameraPrediction', 'good').filter(atMs => atMs > fromMs), Date.now()]
    const gaps = times.slice(1).map((atMs, index) => atMs - (times[index] ?? 0))
    expect(Math.max(...gaps)).toBeLessThan(longestGapMs)
    expect(onlooker.all('cameraStatus', 'good').map(({ state }) => state).filter(state => state === 'offline')).toEqual([])
  })

  it('are all back, and answered, when they do what they should', async () => {
    const { onlooker } = site.box
    const before = new Map(names.map(id => [id, onlooker.all('cameraPrediction', id).length]))
    for (const id of Object.keys(bad)) behave(id, works)
    for (const id of names) {
      await vi.waitFor(() => {
        expect(statusOf(id)).toMatchObject({ state: 'online', reason: null })
        expect(onlooker.all('cameraPrediction', id).length).toBeGreaterThan(before.get(id) ?? 0)
      }, soon)
    }
  })
})
