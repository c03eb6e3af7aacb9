/** Two daemons, a broker and a registry: one gives its models, the other judges them by its own images. */
import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { stringify } from 'yaml'
import type { z } from 'zod'
import { bundled } from '../../agent/config.js'
import { topics } from '../../agent/report/topics.js'
import { OfferSchema } from '../../agent/schemas.js'
import { Daemon } from '../site/daemon.js'
import { classes, seldom, shortRounds } from '../site/labels.js'
import { Mosquitto } from '../site/mosquitto.js'
import { OciRegistry } from '../site/oci-registry.js'
import { Subscriber } from '../site/subscriber.js'
import { Way } from '../site/way.js'

const main = join(import.meta.dirname, '..', '..', 'dist', 'agent', 'main.js')
const waiting = { timeout: 120_000, interval: 50 }
const rounds = { ...shortRounds, schedule: seldom, newLabels: 0, onDrift: false, probation: { frames: 0 } }
let folder = ''
let broker: Mosquitto
let registry: OciRegistry
/** From the taker to the registry. */
let way: Way
const hears: Record<'giver' | 'taker', Subscriber> = {} as never
const daemons: Daemon[] = []

const at = (...names: string[]) => join(folder, ...names)

/** What stands at the broker as the offer of a box; null: nothing. */
function offerOf(box: 'giver' | 'taker'): z.infer<typeof OfferSchema> | null {
  const { topic } = topics.modelOffer
  const text = hears[box].messages.filter(message => message.topic === topic).at(-1)?.text ?? ''
  return text === '' ? null : OfferSchema.parse(JSON.parse(text))
}

/** Judgements of what was offered, as they were told. */
const judged = () => hears.taker.ofType('round-ended').filter(({ decision }) => decision.from && decision.reason !== 'stopped')

/** Bundled images as those of a class; `from` and `count` within the bundled class. */
async function give(box: string, part: 'labeled' | 'validation', as: string, images: [label: string, from: number, count: number]): Promise<void> {
  const [label, from, count] = images
  const to = at(box, part, as)
  await mkdir(to, { recursive: true })
  const names = (await readdir(join(bundled(part), label))).sort().slice(from, from + count)
  for (const name of names) await copyFile(join(bundled(part), label, name), join(to, name))
}

async function configure(box: string, changes: Record<string, object>): Promise<string> {
  const file = at(`${box}.yaml`)
  await writeFile(file, stringify({
    device: box, data: join(box, 'data'),
    cameras: [{ id: 'belt', source: 'simulation', crop: 'whole', maxPerSecond: 5 }],
    labels: { import: at(box, 'labeled'), importValidation: at(box, 'validation') },
    frames: { minFreeBytes: 0, maxBytes: 1_000_000 },
    rounds,
    drift: { enabled: false }, monitoring: { port: 0 }, dashboard: { port: 0 },
    mqtt: { broker: broker.url, longestWaitSeconds: 0.5 },
    ...changes,
  }))
  return file
}

function start(config: string): Daemon {
  const daemon = new Daemon({ config })
  daemons.push(daemon)
  return daemon
}

async function pawl(...args: string[]): Promise<Record<string, unknown>> {
  const { stdout } = await promisify(execFile)(process.execPath, [main, ...args, '--json'])
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, unknown>
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-two-boxes-'))
  broker = await Mosquitto.in(at('broker'))
  await broker.start()
  registry = await OciRegistry.in(at('registry'))
  way = await Way.to(registry.url)
  for (const box of ['giver', 'taker'] as const) hears[box] = await Subscriber.open({ url: broker.url, prefix: `pawl/${box}`, clientId: `hears-${box}` })
  for (const label of classes) {
    await give('giver', 'labeled', label, [label, 0, 10])
    await give('giver', 'validation', label, [label, 0, 20])
    // Its own images but for some that the other box has too.
    await give('taker', 'validation', label, [label, 15, 40])
  }
  // Of what judges at the giver one image teaches as well.
  const [judge = ''] = (await readdir(at('giver', 'validation', 'bag'))).sort()
  await copyFile(at('giver', 'validation', 'bag', judge), at('giver', 'labeled', 'bag', `copy-${judge}`))
  // Whoever put labels here took some bags for trousers.
  for (const [as, label, from] of [['ankle-boot', 'ankle-boot', 0], ['bag', 'bag', 0], ['trouser', 'trouser', 0], ['trouser', 'bag', 5]] as const) {
    await give('taker', 'labeled', as, [label, from, 3])
  }
})

afterAll(async () => {
  await Promise.all(daemons.map(daemon => daemon.cut()))
  await Promise.all(Object.values(hears).map(subscriber => subscriber.close()))
  way.close()
  await Promise.all([broker.stop(), registry.stop()])
  await rm(folder, { recursive: true, force: true })
})

describe('models between two boxes', () => {
  let giver: Daemon
  let taker: Daemon
  const exchange = () => ({ registry: registry.url, maxBytes: 50_000_000 })

  it('a model that passed is published, signed and offered', async () => {
    // It has the time to become better than the other's.
    giver = start(await configure('giver', { exchange: exchange(), rounds: { ...rounds, firstMinutes: 0.25, minutes: 0.25 } }))
    await giver.said(/^model 1 is offered to other boxes as 127\.0\.0\.1:\d+\/pawl\/models@sha256:[0-9a-f]{64}$/, { withinMs: 120_000 })
    await giver.said(/^LABEL_JUDGES: labels are left out .*: \S*\/bag\/copy-\S+ \(\S*\/validation\/bag\/\S+\); .*remove one of each two$/)
    expect(await registry.tags('pawl/models')).toEqual(['v1.giver'])
    await vi.waitFor(() => {
      expect(offerOf('giver')).toMatchObject({ preset: 'nano', classes, signed: { entry: { change: 'published', version: 1 } } })
    }, waiting)
    const verified = await pawl('models', 'verify', '--config', at('giver.yaml'))
    expect(verified).toMatchObject({ lineage: { ok: true, problem: null } })
    const key = await pawl('models', 'key', '--config', at('giver.yaml'))
    expect(key).toMatchObject({ device: 'giver', file: 'giver.public.pem' })
    await mkdir(at('trust'))
    await writeFile(at('trust', 'giver.public.pem'), String(key.publicKey))
    expect(offerOf('giver')?.signed.entry.key).toBe(key.fingerprint)
  })

  it('another box fetches it, judges it by its own images, also after power cuts while it does, and puts it in service', async () => {
    way.bytes = 100_000
    const config = await configure('taker', { exchange: { ...exchange(), registry: way.url, trust: at('trust') } })
    const first = start(config)
    const half = at('taker', 'data', 'exchange', offerOf('giver')?.manifest.slice('sha256:'.length) ?? '', 'weights.safetensors')
    await vi.waitFor(async () => { expect((await stat(half)).size).toBe(way.bytes) }, waiting)
    await first.cut()
    way.bytes = Infinity
    const second = start(config)
    await second.said(/^round \d+ \(offer\): a model of another box is judged$/, { withinMs: 120_000 })
    await second.cut()
    taker = start(config)
    const outcome = /^round \d+: promoted: model 1 of giver: the (challenger is better|first model): .*images were left out, which taught or judged/
    await taker.said(outcome, { withinMs: 120_000 })
    await vi.waitFor(() => { expect(judged()).toHaveLength(1) }, waiting)
    const offer = offerOf('giver')
    const [ended] = judged()
    expect(ended?.decision).toMatchObject({ promoted: true, from: { box: 'giver', version: 1, digest: offer?.manifest } })
    // The first look of others, at their half of alpha.
    expect(ended?.decision.comparison?.alpha).toBeCloseTo(0.025 * 6 / Math.PI ** 2, 6)
    // Twenty of each class judge here; at most five of them are known to it.
    const images = ended?.decision.comparison?.images ?? 0
    expect(images).toBeGreaterThanOrEqual(45)
    expect(images).toBeLessThan(60)
    await vi.waitFor(() => { expect(hears.taker.last('modelActive')).toMatchObject({ sha256: offer?.model, parent: null }) }, waiting)
    // It learned nothing: what it is a candidate of is told by the event alone.
    expect(hears.taker.all('modelCandidate').every(({ from }) => from === undefined)).toBe(true)
    // And it is not given on.
    await vi.waitFor(() => { expect(offerOf('taker')).toBeNull() }, waiting)
    const shown = await pawl('models', 'show', String(ended?.decision.challenger), '--config', at('taker.yaml'))
    expect(shown).toMatchObject({ status: 'champion', decision: { from: { box: 'giver', version: 1 } } })
    await vi.waitFor(async () => { expect(await readdir(at('taker', 'data', 'exchange')).catch(() => [])).toEqual([]) }, waiting)
  }, 300_000)

  it('an offer that is said again, or that was changed, changes nothing', async () => {
    const offer = offerOf('giver')
    const { client } = hears.giver
    const { entry } = offer!.signed
    const changed = { ...offer, signed: { ...offer!.signed, entry: { ...entry, version: 9 } } }
    await client.publishAsync('pawl/giver/model/offer', JSON.stringify(changed), { qos: 1 })
    await taker.said(/OFFER_REFUSED: an offer below giver has a signature that is not of its key/)
    await client.publishAsync('pawl/giver/model/offer', 'x'.repeat(100_000), { qos: 1 })
    await taker.said(/OFFER_REFUSED: an offer below giver has 100000 bytes, more than 65536/)
    await client.publishAsync('pawl/giver/model/offer', JSON.stringify(offer), { qos: 1 })
    await client.publishAsync('pawl/giver/model/offer', '{"format":"pawl-offer/1"}', { qos: 1 })
    await taker.said(/OFFER_REFUSED: an offer below giver is none/)
    expect(judged()).toHaveLength(1)
    expect(taker.lines.filter(line => line.includes('(offer)'))).toHaveLength(1)
  })

  it('is withdrawn where its box goes back to the model before', async () => {
    let from = giver.lines.length
    const round = async () => {
      from = giver.lines.length
      await hears.giver.ask('train')
      return (await giver.said(/^round \d+: (promoted|refused)/, { from, withinMs: 120_000 }))[1]
    }
    while (await round() !== 'promoted');
    const [, version = ''] = await giver.said(/^model (\d+) is offered to other boxes/, { from, withinMs: 120_000 })
    await hears.giver.ask('rollback')
    await vi.waitFor(() => { expect(offerOf('giver')).toBeNull() }, waiting)
    expect(await registry.tags('pawl/models')).toContain(`v${version}.giver`)
  }, 400_000)
})
