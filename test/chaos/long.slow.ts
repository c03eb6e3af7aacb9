/** What takes minutes: `npm run chaos` runs it, the tests do not. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { seldom } from '../site/labels.js'
import { inService, lacks, processOf, soon, type InService } from './box.js'

describe.skipIf(lacks !== '')(`what lasts${lacks}`, () => {
  let site: InService
  beforeAll(async () => { site = await inService({ rounds: { schedule: seldom } }) }, 180_000)
  afterAll(() => site.close())

  it('a trainer that hangs is ended, and its round refused', async () => {
    const { daemon, version, box } = site
    const { onlooker } = box
    const from = await box.train(daemon)
    process.kill(await processOf(daemon, 'trainer'), 'SIGSTOP')
    await daemon.said(/^round \d+: refused \(out-of-time\): .*the trainer had not ended after \d+ s/, { from, withinMs: 180_000 })
    await daemon.said(/^belt: /, { from: daemon.lines.length })
    expect([onlooker.last('cameraPrediction', 'belt')?.model, (await daemon.children()).length]).toEqual([version, 1])
    const next = await box.train(daemon)
    await daemon.said(/^round \d+: (promoted|refused \((?!out-of-time|crashed))/, { from: next })
  }, 400_000)

  it('a broker that says nothing for longer than any patience is left and found again', async () => {
    const { daemon, box: { broker, onlooker } } = site
    broker.tell('SIGSTOP')
    const from = daemon.lines.length
    await daemon.said(/^broker .*: disconnected/, { from, withinMs: 120_000 })
    await sleep(30_000)
    await daemon.said(/^belt: /, { from: daemon.lines.length })
    broker.tell('SIGCONT')
    await daemon.said(/^broker .*: connected/, { from })
    const before = onlooker.all('cameraPrediction', 'belt').length
    await vi.waitFor(() => { expect(onlooker.all('cameraPrediction', 'belt').length).toBeGreaterThan(before) }, soon)
    await vi.waitFor(() => { expect(onlooker.last('availability')).toBe('online') }, soon)
    expect(onlooker.wrong).toEqual([])
  }, 400_000)
})
