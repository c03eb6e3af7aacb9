/** Brokers that say nothing more, that refuse, or that come and go: the box goes on, and what it has to say arrives once they listen. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Daemon } from '../site/daemon.js'
import { Subscriber } from '../site/subscriber.js'
import { inService, lacks, soon, type InService } from './box.js'

describe.skipIf(lacks !== '')(`a broker that fails${lacks}`, () => {
  let site: InService
  // Rounds one after the other, whatever they come to: there is always something to tell.
  beforeAll(async () => { site = await inService({ rounds: { minutes: 0.08 } }) })
  afterAll(() => site.close())

  // Docker gives it as long.
  const longestStopMs = 10_000
  const endedWithinMs = async (daemon: Daemon) => {
    const beganAtMs = performance.now()
    expect((await daemon.end()).code).toBe(0)
    return performance.now() - beganAtMs
  }
  const waitingEvents = async () => (await readdir(join(site.box.data, 'outbox'))).filter(name => /^\d+\.json$/.test(name)).sort()
  const idOf = async (name: string) => (JSON.parse(await readFile(join(site.box.data, 'outbox', name), 'utf8')) as { id: string }).id

  it('by saying nothing more stops nothing; all that happened meanwhile arrives, in order', async () => {
    const { daemon, box: { broker, onlooker } } = site
    broker.tell('SIGSTOP')
    const from = daemon.lines.length
    await daemon.said(/^round \d+: (promoted|refused)/, { from })
    await daemon.said(/^round \d+ \(schedule\)/, { from })
    await daemon.said(/^belt: /, { from: daemon.lines.length })
    const ids = await Promise.all((await waitingEvents()).map(idOf))
    expect(ids.length).toBeGreaterThan(1)
    broker.tell('SIGCONT')
    await vi.waitFor(() => { for (const id of ids) expect(onlooker.events.has(id)).toBe(true) }, soon)
    const arrived = [...onlooker.events.keys()]
    expect(ids.map(id => arrived.indexOf(id))).toEqual(ids.map(id => arrived.indexOf(id)).toSorted((a, b) => a - b))
    expect(onlooker.wrong).toEqual([])
  })

  it('by saying nothing more does not keep the box from ending, and what it had to say goes out after the next start', async () => {
    const { daemon, box } = site
    box.broker.tell('SIGSTOP')
    await daemon.said(/^round \d+: (promoted|refused)/, { from: daemon.lines.length })
    expect(await endedWithinMs(daemon)).toBeLessThan(longestStopMs)
    // Nor where it has never been heard.
    const unheard = box.start()
    await unheard.said(/^belt: /)
    expect(await endedWithinMs(unheard)).toBeLessThan(longestStopMs)
    const ids = await Promise.all((await waitingEvents()).map(idOf))
    expect(ids.length).toBeGreaterThan(0)
    box.broker.tell('SIGCONT')
    site.daemon = box.start()
    await vi.waitFor(() => { for (const id of ids) expect(box.onlooker.events.has(id)).toBe(true) }, soon)
  })

  it('by refusing everybody is tried again, and found again when it does not', async () => {
    const { daemon, box } = site
    await box.broker.stop()
    await box.broker.configure('allow_anonymous false')
    await box.broker.start()
    const from = daemon.lines.length
    await daemon.said(/^belt: /, { from })
    await daemon.said(/^round \d+: (promoted|refused)/, { from })
    expect(daemon.lines.slice(from).filter(line => /^broker .*: connected/.test(line))).toEqual([])
    const ids = await Promise.all((await waitingEvents()).map(idOf))
    await box.broker.stop()
    await box.broker.configure('allow_anonymous true')
    await box.broker.start()
    await vi.waitFor(() => { for (const id of ids) expect(box.onlooker.events.has(id)).toBe(true) }, soon)
    expect(box.onlooker.last('availability')).toBe('online')
  })

  it('by coming and going, never to the end, leaves the box as it is, and hears all of its state in the end', async () => {
    const { daemon, box: { broker, onlooker } } = site
    for (let time = 0; time < 6; time++) {
      await broker.stop('SIGKILL')
      await sleep(time * 100)
      await broker.start()
      await sleep(300 + time * 100)
    }
    // Somebody who was not there before.
    const late = await Subscriber.open({ url: broker.url, prefix: onlooker.prefix, clientId: 'late' })
    try {
      await vi.waitFor(() => {
        const topics = new Set(late.messages.map(({ topic }) => topic))
        for (const topic of ['availability', 'info', 'health', 'model/active', 'model/candidate', 'train/state', 'camera/belt/status', 'camera/belt/prediction']) {
          expect(topics).toContain(topic)
        }
        expect(late.last('availability')).toBe('online')
      }, soon)
    } finally {
      await late.close()
    }
    expect([daemon.running, onlooker.wrong]).toEqual([true, []])
    await daemon.said(/^round \d+: (promoted|refused)/, { from: daemon.lines.length })
  })
})
