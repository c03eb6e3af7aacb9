/** The classifier dies as native code dies, hangs, or dies while it takes over: predictions go on, of the model that they should be of. */
import { copyFile, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { bundled } from '../../agent/config.js'
import type { Daemon } from '../site/daemon.js'
import { seldom } from '../site/labels.js'
import { inService, lacks, processOf, soon, type InService } from './box.js'

describe.skipIf(lacks !== '')(`a classifier that ends by itself${lacks}`, () => {
  let site: InService
  beforeAll(async () => { site = await inService({ rounds: { schedule: seldom } }) })
  afterAll(() => site.close())

  for (const signal of ['SIGABRT', 'SIGSEGV', 'SIGSTOP'] as const) {
    it(`${signal === 'SIGSTOP' ? 'or hangs' : `with ${signal}`} is replaced by one of the same model, and nothing else ends`, async () => {
      const { daemon, version, box: { onlooker } } = site
      const pid = await processOf(daemon, 'classifier')
      const from = daemon.lines.length
      process.kill(pid, signal)
      await daemon.said(/the classifier of model \d+ ended; starting it again/, { from })
      const next = await processOf(daemon, 'classifier', pid)
      // Of a picture that came after it: one from before may have been answered by the former one.
      const sinceMs = Date.now()
      await vi.waitFor(() => { expect(onlooker.last('cameraPrediction', 'belt')?.capturedAtMs).toBeGreaterThan(sinceMs) }, soon)
      expect(onlooker.last('cameraPrediction', 'belt')?.model).toBe(version)
      expect(onlooker.last('health')?.problems.at(-1)?.message).toContain(`the classifier of model ${String(version)} ended`)
      expect((await daemon.children()).filter(({ program }) => program.includes('classifier/process')).map(({ pid: own }) => own)).toEqual([next])
      expect([daemon.running, onlooker.last('cameraStatus', 'belt')?.state]).toEqual([true, 'online'])
    })
  }

  it('while its model is to take over leaves the former one in service, and the promotion is refused', async () => {
    const { daemon, version, box } = site
    const { onlooker } = box
    const serving = await processOf(daemon, 'classifier')
    const { pid, from } = await challengerOf(site, serving)
    process.kill(pid, 'SIGSEGV')
    await daemon.said(/^round \d+: refused \(crashed\): passed the gate, but could not be put in service/, { from })
    await vi.waitFor(() => { expect(onlooker.ofType('round-ended').at(-1)?.decision).toMatchObject({ promoted: false, reason: 'crashed' }) }, soon)
    const before = onlooker.all('cameraPrediction', 'belt').length
    await vi.waitFor(() => { expect(onlooker.all('cameraPrediction', 'belt').length).toBeGreaterThan(before) }, soon)
    expect([onlooker.last('cameraPrediction', 'belt')?.model, await processOf(daemon, 'classifier')]).toEqual([version, serving])
  })
})

/** The classifier of the first challenger that the gate lets through: of the others, none is started. */
async function challengerOf({ daemon, box }: InService, serving: number): Promise<{ pid: number; from: number }> {
  for (let rounds = 0; rounds < 15; rounds++) {
    const from = await box.train(daemon)
    const refused = () => daemon.lines.slice(from).some(line => /^round \d+: refused/.test(line))
    while (daemon.running && !refused()) {
      const started = (await daemon.children()).find(({ pid, program }) => program.includes('classifier/process') && pid !== serving)
      if (started) return { pid: started.pid, from }
      await sleep(5)
    }
  }
  throw new Error(`the gate refused every challenger:\n${daemon.text}`)
}

describe.skipIf(lacks !== '')(`a classifier that hangs as the agent is told to end${lacks}`, () => {
  /** It has 5 s, and some more on a busy machine; waiting for an answer alone would take 10. */
  const endsSoon = async (daemon: Daemon) => {
    const beganAtMs = performance.now()
    expect(await daemon.end()).toEqual({ code: 0, signal: null })
    expect(performance.now() - beganAtMs).toBeLessThan(9500)
  }

  it('does not hold it up, while pictures wait for it or while it loads; the next start serves', async () => {
    const site = await inService({ rounds: { schedule: seldom } })
    const { daemon, version, box } = site
    const started: Daemon[] = []
    const start = () => {
      started.push(box.start())
      return started.at(-1)!
    }
    try {
      process.kill(await processOf(daemon, 'classifier'), 'SIGSTOP')
      // The next picture waits for it.
      await new Promise(resolve => setTimeout(resolve, 1500))
      await endsSoon(daemon)
      const again = start()
      process.kill(await processOf(again, 'classifier'), 'SIGSTOP')
      await new Promise(resolve => setTimeout(resolve, 500))
      await endsSoon(again)
      await start().said(new RegExp(`^model ${String(version)} is in service`))
    } finally {
      for (const one of started) await one.cut()
      await site.close()
    }
  }, 300_000)
})

describe.skipIf(lacks !== '')(`two promotions in a row${lacks}`, () => {
  let folder = ''
  beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'pawl-pictures-')) })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  it('each take effect: the last picture is answered anew by every model, though no other comes', async () => {
    const pictures = join(folder, 'pictures')
    await mkdir(pictures)
    const site = await inService({
      cameras: [{ id: 'still', source: 'folder', url: pictures, crop: 'whole', silentAfterSeconds: 3600 }],
    })
    try {
      const { box: { onlooker }, daemon } = site
      // What was there before it looked is not given.
      await vi.waitFor(() => { expect(onlooker.last('cameraStatus', 'still')?.state).toBe('online') }, soon)
      const [name = ''] = await readdir(join(bundled('test'), 'bag'))
      await copyFile(join(bundled('test'), 'bag', name), join(pictures, name))
      const versions = () => onlooker.ofType('model-active').map(({ version }) => version)
      const answers = () => onlooker.all('cameraPrediction', 'still')
      await vi.waitFor(() => { expect(answers().length).toBeGreaterThan(0) }, soon)
      await vi.waitFor(() => { expect(versions().length, daemon.text).toBeGreaterThanOrEqual(3) }, { timeout: 240_000, interval: 100 })
      const after = versions().filter(version => version > (answers()[0]?.model ?? 0)).slice(0, 2)
      await vi.waitFor(() => { for (const version of after) expect(answers().map(({ model }) => model)).toContain(version) }, soon)
      // One picture, whatever was made of it.
      expect(new Set(answers().map(({ capturedAtMs }) => capturedAtMs)).size).toBe(1)
      expect(answers().map(({ model }) => model)).toEqual(answers().map(({ model }) => model).toSorted((a, b) => a - b))
      // And the newest of it is what the broker has for whoever comes later.
      expect(onlooker.last('modelActive')?.version).toBeGreaterThanOrEqual(after.at(-1) ?? 0)
    } finally {
      await site.close()
    }
  }, 400_000)
})
