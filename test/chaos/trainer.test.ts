/** Trainers that come to nothing: the round is refused with its reason, the champion stays and answers, and the next round is as any other. */
import { createHash } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { ModelCard } from '../../trainer/index.js'
import { seldom } from '../site/labels.js'
import { inService, lacks, processOf, soon, type InService } from './box.js'

describe.skipIf(lacks !== '')(`a round that comes to nothing${lacks}`, () => {
  let site: InService
  beforeAll(async () => { site = await inService({ rounds: { schedule: seldom } }) })
  afterAll(() => site.close())

  /** A round, and what is done to it; gives its decision, with which the champion must still be in service. */
  async function refused(meddle: () => Promise<void>) {
    const { daemon, version, box } = site
    const { onlooker } = box
    const ended = onlooker.ofType('round-ended').length
    await box.train(daemon)
    await meddle()
    await vi.waitFor(() => { expect(onlooker.ofType('round-ended').length, daemon.text).toBeGreaterThan(ended) }, { timeout: 150_000, interval: 50 })
    const before = onlooker.all('cameraPrediction', 'belt').length
    await vi.waitFor(() => { expect(onlooker.all('cameraPrediction', 'belt').length).toBeGreaterThan(before) }, soon)
    expect([onlooker.last('cameraPrediction', 'belt')?.model, onlooker.last('modelActive')?.version]).toEqual([version, version])
    expect((await daemon.children()).filter(({ program }) => program.includes('trainer/process'))).toEqual([])
    expect(await readdir(join(site.box.data, 'rounds'))).toEqual([])
    return onlooker.ofType('round-ended').at(-1)?.decision
  }

  const configured = async (rounds: object) => {
    const { daemon, box } = site
    const from = daemon.lines.length
    await box.configure({ rounds: { schedule: seldom, ...rounds } })
    process.kill(daemon.pid, 'SIGHUP')
    await daemon.said(/^pawl is running/, { from })
    await daemon.said(/^broker .*: connected/, { from })
    await daemon.said(/^belt: /, { from })
  }

  it('for it took too much memory', async () => {
    await configured({ maxMemoryMb: 256 })
    expect(await refused(() => Promise.resolve())).toMatchObject({ promoted: false, reason: 'out-of-memory', explanation: expect.stringContaining('rounds.maxMemoryMb (256)') as string })
    await configured({})
  })

  it('for the system killed it', async () => {
    expect(await refused(async () => { process.kill(await processOf(site.daemon, 'trainer'), 'SIGKILL') })).toMatchObject({ promoted: false, reason: 'crashed', explanation: expect.stringContaining('SIGKILL') as string })
  })

  it('for it diverged: the champion that it starts from is poisoned', async () => {
    const folder = (await readdir(join(site.box.data, 'models'))).find(name => name.startsWith(`${String(site.version)}-`)) ?? ''
    const [weights, card] = ['weights.safetensors', 'card.json'].map(name => join(site.box.data, 'models', folder, name)) as [string, string]
    const [goodWeights, goodCard] = [await readFile(weights), await readFile(card, 'utf8')]
    const poisoned = Buffer.from(goodWeights)
    for (let at = 8 + Number(poisoned.readBigUInt64LE()); at + 4 <= poisoned.length; at += 4) poisoned.writeFloatLE(1e30, at)
    await writeFile(weights, poisoned)
    // As if it had come out of a round like that, with a head that does not count, and of so many pictures that it is started from.
    const { files, data, ...rest } = JSON.parse(goodCard) as ModelCard
    const sha256 = createHash('sha256').update(poisoned).digest('hex')
    // Long enough for a step of training, also on a busy machine.
    await configured({ minutes: 0.4 })
    await writeFile(card, JSON.stringify({ ...rest, trainedShare: 0, files: { ...files, 'weights.safetensors': sha256 }, data: { ...data, unlabeled: 1e6 } }))
    expect(await refused(() => Promise.resolve())).toMatchObject({ promoted: false, reason: 'diverged' })
    await writeFile(weights, goodWeights)
    await writeFile(card, goodCard)
    await configured({})
  })

  it('and the next one is as any other', async () => {
    const { daemon, box } = site
    const from = await box.train(daemon)
    await daemon.said(/^round \d+: (promoted|refused \((inconclusive|regressed|class-regressed|likelihood-worse)\))/, { from })
  })
})
