import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { parseConfig } from '../agent/config.js'
import { topics } from '../agent/report/topics.js'
import { freePort } from './free-port.js'
import { mosquitto, startMosquitto } from './site/mosquitto.js'
import { cameraStatus, makeReporter, prediction, problem, Watcher, type Given } from './reporting.js'

const waiting = { timeout: 60_000, interval: 20 }
const cleanups: (() => Promise<unknown>)[] = []
let folder = ''
let port = 0

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-flood-'))
  port = await freePort()
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(folder, { recursive: true, force: true })
})

/** A line to the broker that carries so many bytes a second towards it. */
async function thinLine(bytesPerSecond: number): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer(from => {
    const to = connect(port, '127.0.0.1')
    for (const socket of [from, to]) {
      sockets.add(socket)
      socket.on('error', () => { from.destroy(); to.destroy() }).on('close', () => { from.destroy(); to.destroy() })
    }
    to.pipe(from)
    void (async () => {
      for await (const chunk of from) {
        for (let at = 0; at < (chunk as Buffer).length; at += 200) {
          const part = (chunk as Buffer).subarray(at, at + 200)
          await sleep(1000 * part.length / bytesPerSecond)
          to.write(part)
        }
      }
    })().catch(() => undefined)
  })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise(resolve => { server.close(resolve) })
  })
  return `mqtt://127.0.0.1:${String((server.address() as AddressInfo).port)}`
}

async function start(url: string, options: Given) {
  const reporter = makeReporter(url, folder, options)
  await reporter.start()
  cleanups.push(() => reporter.stop())
  return reporter
}

async function broker(): Promise<Watcher> {
  const { url, stop } = await startMosquitto({ folder, port })
  cleanups.push(stop)
  const watcher = await Watcher.open(url)
  cleanups.push(() => watcher.client.endAsync(true))
  return watcher
}

const messagesIn = (watcher: Watcher) => watcher.texts('event').map(text => {
  const event = topics.event.payload.parse(JSON.parse(text))
  return event.type === 'problem' ? event.message : event.type
})

describe.skipIf(!mosquitto)('after the broker was away', () => {
  it('the whole state comes first, then what waited, one by one at the configured rate, then what is new, in order', async () => {
    const { eventsPerSecond } = parseConfig('{mqtt: {eventsPerSecond: 20}}', 'pawl.yaml').mqtt
    const reporter = await start(`mqtt://127.0.0.1:${String(port)}`, { eventsPerSecond })
    reporter.accept({ type: 'camera', status: cameraStatus })
    reporter.accept(prediction('shirt'))
    for (let n = 0; n < 80; n++) reporter.accept(problem(`waited ${String(n)}`))
    const begunMs = performance.now()
    const watcher = await broker()
    await vi.waitFor(() => { expect(messagesIn(watcher).length).toBeGreaterThan(10) }, waiting)
    for (let n = 0; n < 5; n++) reporter.accept(problem(`new ${String(n)}`))
    await vi.waitFor(() => { expect(messagesIn(watcher)).toHaveLength(85) }, waiting)
    // Twenty a second, and no more: a machine that is busy makes it slower only.
    expect(performance.now() - begunMs).toBeGreaterThan(1000 * 84 / eventsPerSecond)
    expect(messagesIn(watcher)).toEqual([
      ...Array.from({ length: 80 }, (_, n) => `waited ${String(n)}`), ...Array.from({ length: 5 }, (_, n) => `new ${String(n)}`),
    ])
    const firstEvent = watcher.messages.findIndex(({ topic }) => topic === 'event')
    const state = watcher.messages.slice(0, firstEvent).map(({ topic }) => topic)
    for (const topic of ['availability', 'info', 'health', 'train/state', 'drift', 'camera/door/status', 'camera/door/prediction']) expect(state).toContain(topic)
  })

  it('a thin line carries what is live while it carries what waited', async () => {
    const url = await thinLine(4000)
    const reporter = await start(url, { predictionEveryMs: 0 })
    const long = 'x'.repeat(900)
    for (let n = 0; n < 30; n++) reporter.accept(problem(`${String(n)} ${long}`))
    const watcher = await broker()
    await vi.waitFor(() => { expect(messagesIn(watcher).length).toBeGreaterThan(1) }, waiting)
    for (const label of ['shirt', 'boot', 'shirt']) {
      const seen = watcher.texts('camera/door/prediction').length
      reporter.accept(prediction(label))
      await vi.waitFor(() => { expect(watcher.texts('camera/door/prediction')).toHaveLength(seen + 1) }, waiting)
    }
    // At 1 KB each they need some seconds.
    expect(messagesIn(watcher).length).toBeLessThan(25)
    await vi.waitFor(() => { expect(messagesIn(watcher)).toHaveLength(30) }, waiting)
    expect(messagesIn(watcher).map(text => Number.parseInt(text, 10))).toEqual(Array.from({ length: 30 }, (_, n) => n))
  })
})
