import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ended } from '../agent/lib/child.js'
import type { Reporter } from '../agent/report/reporter.js'
import { compiled } from './compiled.js'
import { freePort } from './free-port.js'
import { mosquitto, startMosquitto, type Broker } from './site/mosquitto.js'
import { cameraStatus, makeReporter, prediction, Watcher, type Given } from './reporting.js'

const waiting = { timeout: 60_000, interval: 20 }
const cleanups: (() => Promise<unknown>)[] = []
let folder = ''
let broker: Broker

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-retained-'))
  broker = await startMosquitto({ folder, port: await freePort() })
  cleanups.push(() => broker.stop())
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(folder, { recursive: true, force: true })
})

async function watch(): Promise<Watcher> {
  const watcher = await Watcher.open(broker.url, { filter: '#' })
  cleanups.push(() => watcher.client.endAsync(true))
  return watcher
}

/** Topics that the broker keeps, by full name. */
async function kept(): Promise<string[]> {
  const watcher = await watch()
  // Comes back after everything that is kept.
  await watcher.client.publishAsync('last', '', { qos: 1 })
  await vi.waitFor(() => { expect(watcher.texts('last')).toHaveLength(1) }, waiting)
  return watcher.messages.filter(({ retained }) => retained).map(({ topic }) => (topic.includes('/') && /^(pawl|site|homeassistant|other)\//.test(topic) ? topic : `pawl/box-7/${topic}`)).sort()
}

async function start(options: Given = {}, data = folder): Promise<Reporter> {
  const reporter = makeReporter(broker.url, data, options)
  await reporter.start()
  cleanups.push(() => reporter.stop())
  return reporter
}

/** Says something of each camera, and stops when the broker has it and `then` holds. */
async function runOnce(options: Given & { cameras: string[] }, then: () => Promise<void> | void = () => undefined): Promise<void> {
  const { device = 'box-7', base = 'pawl' } = options
  const watcher = await Watcher.open(broker.url, { filter: `${base}/${device}/#` })
  const reporter = await start(options)
  for (const camera of options.cameras) {
    reporter.accept({ type: 'camera', status: { ...cameraStatus, camera } })
    reporter.accept({ type: 'prediction', prediction: { ...prediction('shirt').prediction, camera } })
  }
  const live = () => watcher.messages.filter(({ retained }) => !retained).map(({ topic }) => topic)
  const wanted = [...options.cameras.map(camera => `/camera/${camera}/prediction`), 'train/state', 'health']
  await vi.waitFor(() => { for (const end of wanted) expect(live().some(topic => `/${topic}`.endsWith(end))).toBe(true) }, waiting)
  await vi.waitFor(then, waiting)
  await reporter.stop()
  await watcher.client.endAsync(true)
}

/** Nothing is kept whose name has this in it. */
const gone = (part: string | RegExp) => async () => { expect((await kept()).filter(topic => topic.search(part) >= 0)).toEqual([]) }

const announced = 'homeassistant/device/pawl_box-7/config'
const of = (part: string) => (topic: string) => topic.includes(part)

describe.skipIf(!mosquitto)('what is no more', () => {
  it('is taken away from the broker: topics of a camera, and its entities in Home Assistant', async () => {
    await runOnce({ cameras: ['door', 'gate'], homeAssistant: 'homeassistant' })
    const watcher = await watch()
    await runOnce({ cameras: ['door'], homeAssistant: 'homeassistant' }, gone('/gate/'))
    await vi.waitFor(gone('/gate/'), waiting)
    expect((await kept()).filter(of('/door/'))).toEqual(['pawl/box-7/camera/door/prediction', 'pawl/box-7/camera/door/status'])

    const [, first, second, ...more] = watcher.texts(announced).map(text => (JSON.parse(text) as { components: Record<string, object> }).components)
    expect(more).toEqual([])
    // With its platform alone a component is taken away; the next message leaves it out.
    expect(first).toMatchObject({ gate_class: { platform: 'sensor' }, gate_confidence: { platform: 'sensor' }, gate_online: { platform: 'binary_sensor' } })
    for (const id of ['gate_class', 'gate_confidence', 'gate_online']) expect(Object.keys(first?.[id] ?? {})).toEqual(['platform'])
    expect(Object.keys(second ?? {}).filter(of('gate'))).toEqual([])
    expect(Object.keys(second ?? {})).toContain('door_class')
  })

  it('is taken away once: the next start announces the rest alone', async () => {
    await runOnce({ cameras: ['door', 'gate'], homeAssistant: 'homeassistant' })
    await runOnce({ cameras: ['door'], homeAssistant: 'homeassistant' }, gone('/gate/'))
    const watcher = await watch()
    await vi.waitFor(() => { expect(watcher.texts(announced)).toHaveLength(1) }, waiting)
    await runOnce({ cameras: ['door'], homeAssistant: 'homeassistant' })
    expect(watcher.texts(announced).filter(of('gate'))).toEqual([])
    expect(watcher.messages.filter(({ topic, text }) => topic.includes('gate') || text === '').filter(({ topic }) => topic !== 'last')).toEqual([])
  })

  it('is Home Assistant as a whole, or another of its prefixes', async () => {
    await runOnce({ cameras: ['door'], homeAssistant: 'homeassistant' })
    expect(await kept()).toContain(announced)
    await runOnce({ cameras: ['door'], homeAssistant: 'other' }, gone(announced))
    expect(await kept()).toContain('other/device/pawl_box-7/config')
    await runOnce({ cameras: ['door'] }, gone('/config'))
  })

  it('is a button whose command is switched off', async () => {
    await runOnce({ cameras: ['door'], homeAssistant: 'homeassistant' })
    const watcher = await watch()
    await runOnce({ cameras: ['door'], homeAssistant: 'homeassistant', accepted: ['status'] })
    await vi.waitFor(() => { expect(watcher.texts(announced)).toHaveLength(3) }, waiting)
    expect((watcher.json(announced) as { components: object }).components).not.toHaveProperty('train')
  })

  it('is a former name of the box, and its former base', async () => {
    await runOnce({ cameras: ['door'], homeAssistant: 'homeassistant' })
    await runOnce({ cameras: ['door'], homeAssistant: 'homeassistant', device: 'box-9' }, gone('box-7'))
    await runOnce({ cameras: ['door'], homeAssistant: 'homeassistant', device: 'box-9', base: 'site/north' }, gone(/^pawl/))
    expect(await kept()).toEqual(expect.arrayContaining(['site/north/box-9/availability', 'homeassistant/device/pawl_box-9/config']))
  })

  it('is not what another box has taken over with the name, also when both start together', async () => {
    await runOnce({ cameras: ['door'], homeAssistant: 'homeassistant' })
    const all = (await kept()).filter(of('box-7'))
    const watcher = await watch()
    const renamed = await start({ cameras: ['door'], device: 'box-9', vacantMs: 2000 })
    await vi.waitFor(() => { expect(watcher.texts('pawl/box-9/availability')).toEqual(['online']) }, waiting)
    const other = await start({ cameras: ['door'], homeAssistant: 'homeassistant' }, join(folder, 'other'))
    await vi.waitFor(() => { expect(watcher.texts('availability').at(-1)).toBe('online') }, waiting)
    await new Promise(resolve => setTimeout(resolve, 2500))
    // It has found its place: what it leaves behind later is its own.
    await other.stop()
    await renamed.stop()
    await runOnce({ cameras: ['door'], device: 'box-9' }, () => new Promise(resolve => setTimeout(resolve, 600)))
    expect((await kept()).filter(of('box-7'))).toEqual(all)
  })

  it('goes also when the agent is killed at any moment on the way', async () => {
    const options = { homeAssistant: 'homeassistant', device: 'box-7' }
    await runOnce({ ...options, cameras: ['door', 'gate', 'yard'] })
    const child = await compiled('report-child')
    const run = (cameras: string[]) => spawn(process.execPath, [child, broker.url, folder, JSON.stringify({ ...options, cameras })], { stdio: 'inherit' })
    for (const [index, cameras] of [['door', 'gate'], ['door'], ['door', 'yard'], ['door']].entries()) {
      // There before the first word.
      const watcher = await watch()
      const process = run(cameras)
      // Killed as soon as it has said a few things, a few more each time: in the middle of what it takes away.
      await vi.waitFor(() => { expect(watcher.messages.filter(({ retained }) => !retained).length).toBeGreaterThan(index) }, waiting)
      process.kill('SIGKILL')
      await ended(process)
    }
    await runOnce({ ...options, cameras: ['door'] }, gone(/gate|yard/))
    const watcher = await watch()
    await vi.waitFor(() => { expect(watcher.texts(announced)).toHaveLength(1) }, waiting)
    expect(watcher.texts(announced).join()).not.toMatch(/gate|yard/)
  })

  it('stays where its list was destroyed, and nothing else suffers', async () => {
    await runOnce({ cameras: ['door', 'gate'] })
    await writeFile(join(folder, 'report', 'retained.json'), '[{')
    await runOnce({ cameras: ['door'] })
    expect((await kept()).filter(of('/gate/'))).toHaveLength(2)
  })
})
