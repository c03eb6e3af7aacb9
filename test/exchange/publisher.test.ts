/** What a box gives: a real registry of models, Debian's docker-registry, and a way between them that breaks. */
import { createPublicKey } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { ExchangeMemory } from '../../agent/exchange/memory.js'
import { proven, type Offer } from '../../agent/exchange/offer.js'
import { Publisher } from '../../agent/exchange/publisher.js'
import { Repository } from '../../agent/exchange/repository.js'
import { systemClock } from '../../agent/lib/clock.js'
import { Registry } from '../../agent/registry/registry.js'
import { identityIn } from '../../agent/registry/identity.js'
import type { PromotionRecord } from '../../agent/rounds/promotion.js'
import { challenger } from '../challenger.js'
import { OciRegistry } from '../site/oci-registry.js'
import { Way } from '../site/way.js'

const waiting = { timeout: 60_000, interval: 5 }
let folder = ''
let data = ''
let shelf: OciRegistry
let way: Way

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-publisher-'))
  shelf = await OciRegistry.in(join(folder, 'shelf'))
  way = await Way.to(shelf.url)
})
afterAll(async () => {
  way.close()
  await shelf.stop()
  await rm(folder, { recursive: true, force: true })
})
beforeEach(async () => { data = await mkdtemp(join(folder, 'data-')) })
afterEach(() => { way.requests = Infinity })

/** The agent from one start to its end, as far as giving goes. */
async function run(repository = 'pawl/models') {
  const [offers, problems]: [(Offer | null)[], string[]] = [[], []]
  const ending = new AbortController()
  const onProblem = (cause: unknown) => { problems.push(String(cause)) }
  const registry = new Registry({ data, keepModels: 8, clock: systemClock, onProblem })
  await registry.start()
  const memory = new ExchangeMemory({ path: join(data, 'exchange.json'), onProblem })
  await memory.start()
  const publisher = new Publisher({
    device: 'box-1', place: `shelf/${repository}`, registry, memory, signal: ending.signal, random: () => 0, retryMs: 5, onProblem,
    repository: new Repository({
      registry: way.url, repository, username: '', password: () => Promise.resolve(''), ca: () => Promise.resolve(null),
    }),
    onOffer: offer => { offers.push(offer) },
  })
  const end = async () => {
    ending.abort()
    await publisher.stop()
    await memory.stop()
    await registry.stop()
  }
  return { offers, problems, registry, memory, publisher, end, offered: () => offers.at(-1)?.signed.entry.version ?? null }
}

async function served(
  registry: Registry, text: string, { onProbation = false, ...verdict }: Partial<PromotionRecord> & { onProbation?: boolean } = {},
): Promise<number> {
  const made = await challenger(data, text)
  await writeFile(join(made.folder, 'card.json'), JSON.stringify(made.card))
  const { version } = await registry.register({ ...made, decision: each => ({ ...made.decision(each), ...verdict }) })
  await registry.promote(version, { why: 'test', onProbation })
  return version
}

describe('a box that gives its models', () => {
  it('makes one offer of each, wherever the way to the registry broke and the agent ended', async () => {
    let cuts = 0
    // Each start lets one request more through, until all of them pass.
    for (let done = false; !done; cuts++) {
      data = await mkdtemp(join(folder, 'data-'))
      const repository = `pawl/cut-${String(cuts)}`
      way.requests = cuts
      const first = await run(repository)
      const version = await served(first.registry, 'one')
      first.publisher.look()
      await vi.waitFor(() => { expect(first.problems.length + first.offers.filter(offer => offer).length).toBeGreaterThan(0) }, waiting)
      done = first.problems.length === 0
      await first.end()
      way.requests = Infinity
      const second = await run(repository)
      second.publisher.look()
      await vi.waitFor(() => { expect(second.offered()).toBe(version) }, waiting)
      const [offer] = second.offers.filter(each => each !== null)
      const identity = await identityIn({ folder: join(data, 'identity'), nowMs: Date.now, onLost: () => undefined })
      const key = createPublicKey(identity.privateKey)
      expect(proven(Buffer.from(JSON.stringify(offer)), { name: 'box-1', key, fingerprint: identity.fingerprint })).toEqual(offer)
      const published = (await second.registry.verifyLineage()).entries
      await second.end()
      expect(await shelf.tags(repository)).toEqual(['v1.box-1'])
      // Registered, promoted, published.
      expect(published, `after ${String(cuts)} requests`).toBe(3)
    }
    // Two blobs of three requests each, the manifest and a look at it.
    expect(cuts - 1).toBe(8)
  })

  it('asks again where the registry is away, and says so', async () => {
    const box = await run()
    way.requests = 2
    await served(box.registry, 'two')
    box.publisher.look()
    await vi.waitFor(() => { expect(box.problems.length).toBeGreaterThan(2) }, waiting)
    expect(box.problems[0]).toMatch(/cannot be reached/)
    expect([box.offered(), box.publisher.away]).toEqual([null, expect.stringContaining('cannot be reached')])
    way.requests = Infinity
    await vi.waitFor(() => { expect([box.offered(), box.publisher.away]).toEqual([1, null]) }, waiting)
    await box.end()
  })

  it('gives nothing that the gate refused, and of a registry that was begun anew what it has', async () => {
    const box = await run('pawl/anew')
    const refused = await served(box.registry, 'refused', { promoted: false, reason: 'regressed' })
    way.requests = 0
    box.publisher.look()
    await sleep(200)
    expect([box.registry.active()?.version, box.offered(), box.problems]).toEqual([refused, null, []])
    way.requests = Infinity
    await served(box.registry, 'good')
    box.publisher.look()
    await vi.waitFor(() => { expect(box.offered()).toBe(2) }, waiting)
    const former = box.offers.at(-1)
    await box.end()
    for (const name of await readdir(data)) if (name !== 'exchange.json') await rm(join(data, name), { recursive: true })
    const again = await run('pawl/anew')
    await served(again.registry, 'other')
    again.publisher.look()
    await vi.waitFor(() => { expect(again.offered()).toBe(1) }, waiting)
    expect([again.offers.at(-1)?.model === former?.model, again.offers.at(-1)?.signed.entry.key === former?.signed.entry.key]).toEqual([false, false])
    await again.end()
  })

  it('gives a model once its probation is over, and withdraws it when an older one serves again', async () => {
    const box = await run()
    await served(box.registry, 'old')
    box.publisher.look()
    await vi.waitFor(() => { expect(box.offered()).toBe(1) }, waiting)
    await served(box.registry, 'new', { onProbation: true })
    way.requests = 0
    box.publisher.look()
    // Had it asked for anything, there would be a problem by then.
    await sleep(200)
    expect([box.registry.probation()?.model.version, box.offered(), box.problems]).toEqual([2, 1, []])
    way.requests = Infinity
    await box.registry.endProbation()
    box.publisher.look()
    await vi.waitFor(() => { expect(box.offered()).toBe(2) }, waiting)
    await box.registry.rollback({ why: 'test' })
    box.publisher.look()
    expect(box.offers.at(-1)).toBeNull()
    await box.end()
    expect(box.problems).toEqual([])
  })
})
