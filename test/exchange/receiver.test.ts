/** Offers: how they are proved, and how they are fetched when something is wrong. */
import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ExchangeMemory } from '../../agent/exchange/memory.js'
import { manifestOf, offerOf, proven, type Offer, type TrustedBox } from '../../agent/exchange/offer.js'
import { Receiver } from '../../agent/exchange/receiver.js'
import { digestOf, type Repository } from '../../agent/exchange/repository.js'
import { PawlError } from '../../agent/errors.js'
import { systemClock } from '../../agent/lib/clock.js'
import { fingerprintOf } from '../../agent/registry/identity.js'
import { hashOfJson, type LineageEntry } from '../../agent/registry/lineage.js'
import { challenger, record } from '../challenger.js'

let folder = ''
let ending = new AbortController()
const waiting = { timeout: 60_000, interval: 5 }
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-receiver-'))
  ending = new AbortController()
})
afterEach(async () => {
  ending.abort()
  await rm(folder, { recursive: true, force: true })
})

interface Giver extends TrustedBox { privateKey: KeyObject }

function giver(name: string): Giver {
  const { publicKey: key, privateKey } = generateKeyPairSync('ed25519')
  return { name, key, privateKey, fingerprint: fingerprintOf(key) }
}

/** What a box offers, and the bytes that a registry holds for it. */
async function given({ name, privateKey, fingerprint }: Giver, text: string, sequence = 7) {
  const { card, folder: from } = await challenger(folder, `${name}-${text}`)
  const bytes = new Map<string, Buffer>()
  const put = (content: Buffer) => {
    bytes.set(digestOf(content), content)
    return { digest: digestOf(content), size: content.length }
  }
  const blobs = {
    card: put(Buffer.from(JSON.stringify(card))), weights: put(await readFile(join(from, 'weights.safetensors'))),
  }
  const manifest = manifestOf(blobs)
  put(manifest)
  const entry: LineageEntry = {
    sequence, atMs: 1, change: 'published', version: 3, model: card.files['model.onnx'], card: hashOfJson(card), decision: null, why: 'test', holds: null,
    previous: '0'.repeat(64), key: fingerprint, manifest: digestOf(manifest),
  }
  const signed = { entry, signature: sign(null, Buffer.from(JSON.stringify(entry)), privateKey).toString('hex') }
  const model = { version: 3, folder: '', status: 'champion' as const, createdAtMs: 1, card, decision: record(1) }
  return { offer: offerOf(model, { manifest: digestOf(manifest), reference: `registry/pawl/models@${digestOf(manifest)}`, signed }), bytes, blobs }
}

const bytesOf = (offer: unknown) => Buffer.from(JSON.stringify(offer))

/** A registry in memory that can be away. */
class Shelf {
  readonly bytes = new Map<string, Buffer>()
  away = false
  asked = 0

  manifest(digest: string): Promise<Buffer> {
    this.asked++
    if (this.away) return Promise.reject(new PawlError('EXCHANGE_UNAVAILABLE', 'away'))
    const found = this.bytes.get(digest)
    return found ? Promise.resolve(found) : Promise.reject(new PawlError('OFFER_REFUSED', `does not hold ${digest}`))
  }

  async pull({ digest }: { digest: string }, path: string): Promise<void> {
    const { writeFile } = await import('node:fs/promises')
    await writeFile(path, await this.manifest(digest))
  }
}

interface Site { classes?: string[]; leastBetweenMs?: number; minFreeBytes?: number; verdicts?: { box: string; digest: string; atMs: number }[] }

function receiver(boxes: readonly Giver[], shelf: Shelf, memory: ExchangeMemory, problems: string[], changes: Site = {}): Receiver {
  const made = new Receiver({
    folder: join(folder, 'exchange'), boxes, repository: shelf as unknown as Repository, memory, maxBytes: 1000, minFreeBytes: changes.minFreeBytes ?? 0,
    wanted: () => ({ preset: 'nano', classes: changes.classes ?? ['a'] }),
    verdicts: name => changes.verdicts?.filter(({ box }) => box === name) ?? [],
    onProblem: cause => { problems.push(cause instanceof Error ? cause.message : String(cause)) },
    clock: systemClock, retryMs: 5, ...changes.leastBetweenMs !== undefined && { leastBetweenMs: changes.leastBetweenMs },
    signal: ending.signal, random: () => 0,
  })
  made.start()
  return made
}

async function remembered(): Promise<ExchangeMemory> {
  const memory = new ExchangeMemory({ path: join(folder, 'exchange.json'), onProblem: message => { throw new Error(message) } })
  await memory.start()
  return memory
}

describe('an offer', () => {
  it('holds as it was signed, and with no digit of what counts changed', async () => {
    const box = giver('box-1')
    const { offer } = await given(box, 'x')
    expect(proven(bytesOf(offer), box)).toEqual(offer)
    const text = JSON.stringify(offer.signed)
    fc.assert(fc.property(fc.nat(text.length - 1), fc.constantFrom('0', '1', '7', 'a', 'f', '"', '{'), (at, sign) => {
      fc.pre(text[at] !== sign)
      let signed: unknown
      try {
        signed = JSON.parse(text.slice(0, at) + sign + text.slice(at + 1))
      } catch {
        return
      }
      expect(() => proven(bytesOf({ ...offer, signed }), box)).toThrow(PawlError)
    }), { numRuns: 500 })
    for (const change of [{ manifest: `sha256:${'1'.repeat(64)}` }, { model: '1'.repeat(64) }]) {
      expect(() => proven(bytesOf({ ...offer, ...change }), box)).toThrow(/not as a published model with this manifest/)
    }
  })

  it('of another key, or another kind of entry, does not hold', async () => {
    const [box, other] = [giver('box-1'), giver('box-2')]
    const { offer } = await given(other, 'x')
    expect(() => proven(bytesOf(offer), box)).toThrow(/is signed with key/)
    const entry = { ...offer.signed.entry, change: 'promoted' as const }
    const signed = { entry, signature: sign(null, Buffer.from(JSON.stringify(entry)), other.privateKey).toString('hex') }
    expect(() => proven(bytesOf({ ...offer, signed }), other)).toThrow(/not as a published model/)
  })
})

describe('the receiver', () => {
  it('fetches past one that is bad, gives that one up after three tries, and judges each once', async () => {
    const [bad, good] = [giver('box-1'), giver('box-2')]
    const [shelf, problems, memory] = [new Shelf(), [] as string[], await remembered()]
    const [gone, there] = [await given(bad, 'gone'), await given(good, 'there')]
    for (const [digest, content] of there.bytes) shelf.bytes.set(digest, content)
    const made = receiver([bad, good], shelf, memory, problems)
    made.heard(bad.name, bytesOf(gone.offer))
    made.heard(good.name, bytesOf(there.offer))
    await vi.waitFor(() => { expect(made.ready).toBe(true) }, waiting)
    const taken = await made.take()
    expect(taken?.from).toEqual({ box: 'box-2', version: 3, digest: there.offer.manifest })
    expect((await readdir(taken?.folder ?? '')).sort()).toEqual(['card', 'card.json', 'weights.safetensors'])
    expect(memory.tried(good.name)).toMatchObject({ digest: there.offer.manifest, tries: 1, over: false })
    await made.settle('verdict')
    await vi.waitFor(() => { expect(memory.tried(bad.name)).toMatchObject({ digest: gone.offer.manifest, tries: 3, over: true }) }, waiting)
    expect(problems.every(problem => problem.includes('model 3 of box-1 is not taken'))).toBe(true)
    const asked = shelf.asked
    made.heard(good.name, bytesOf(there.offer))
    made.heard(bad.name, bytesOf(gone.offer))
    expect((await remembered()).tried(good.name)).toMatchObject({ digest: there.offer.manifest, over: true })
    expect([made.ready, shelf.asked]).toEqual([false, asked])
    ending.abort()
    await made.stop()
  })

  it('waits for a registry that is away, without counting; what is withdrawn meanwhile, or once it is fetched, is dropped', async () => {
    const box = giver('box-1')
    const [shelf, problems, memory] = [new Shelf(), [] as string[], await remembered()]
    const { offer, bytes } = await given(box, 'late')
    for (const [digest, content] of bytes) shelf.bytes.set(digest, content)
    shelf.away = true
    const made = receiver([box], shelf, memory, problems)
    made.heard(box.name, bytesOf(offer))
    await vi.waitFor(() => { expect(shelf.asked).toBeGreaterThan(3) }, waiting)
    expect([memory.tried(box.name)?.tries ?? 0, made.ready, made.away]).toEqual([0, false, 'away'])
    shelf.away = false
    await vi.waitFor(() => { expect([made.ready, made.away]).toEqual([true, null]) }, waiting)
    made.heard(box.name, new Uint8Array())
    expect([made.ready, await made.take()]).toEqual([false, null])
    ending.abort()
    await made.stop()
    expect(await readdir(folder)).not.toContain('exchange')
  })

  it('takes nothing that does not fit here, is too large, is not as signed, or finds no room', async () => {
    const box = giver('box-1')
    const cases: [changes: Site, spoil: (offer: Offer, bytes: Map<string, Buffer>) => void, why: RegExp][] = [
      [{ classes: ['a', 'z'] }, () => undefined, /it does not know "z"/],
      [{ minFreeBytes: 1e15 }, () => undefined, /less than frames\.minFreeBytes would be free/],
      [{}, (offer, bytes) => { bytes.set(offer.manifest, Buffer.from('{}')) }, /its manifest is none of a model/],
      [{}, (_, bytes) => {
        for (const [digest, content] of bytes) bytes.set(digest, Buffer.from(content.toString().replace('"seed":1', '"seed":2')))
      }, /its card is not the one that was signed/],
    ]
    for (const [changes, spoil, why] of cases) {
      const [shelf, problems] = [new Shelf(), [] as string[]]
      const { offer, bytes } = await given(box, createHash('sha256').update(String(why)).digest('hex'))
      spoil(offer, bytes)
      for (const [digest, content] of bytes) shelf.bytes.set(digest, content)
      const made = receiver([box], shelf, await remembered(), problems, changes)
      made.heard(box.name, bytesOf(offer))
      await vi.waitFor(() => { expect(problems[0]).toMatch(why) }, waiting)
      expect(made.ready).toBe(false)
      ending.abort()
      await made.stop()
      ending = new AbortController()
    }
  })

  /** A receiver of some boxes whose registry holds what is given with `shelve`. */
  async function site(boxes: readonly Giver[], changes: Site = {}) {
    const [shelf, problems, memory] = [new Shelf(), [] as string[], await remembered()]
    const made = receiver(boxes, shelf, memory, problems, changes)
    const shelve = async (box: Giver, text: string, sequence = 7) => {
      const { offer, bytes } = await given(box, text, sequence)
      for (const [digest, content] of bytes) shelf.bytes.set(digest, content)
      return offer
    }
    return {
      shelf, problems, memory, made, shelve,
      isReady: () => vi.waitFor(() => { expect(made.ready).toBe(true) }, waiting),
      kept: () => readdir(join(folder, 'exchange')).catch(() => []),
    }
  }

  it('gives up no offer of a box for what another box signs', async () => {
    const [evil, good] = [giver('evil'), giver('good')]
    const { made, memory, shelve, isReady } = await site([evil, good])
    const offer = await shelve(good, 'mine')
    // The same manifest, under a card of its own.
    const { offer: own } = await given(evil, 'other')
    const entry = { ...own.signed.entry, manifest: offer.manifest }
    const signature = sign(null, Buffer.from(JSON.stringify(entry)), evil.privateKey).toString('hex')
    made.heard(evil.name, bytesOf({ ...own, manifest: offer.manifest, signed: { entry, signature } }))
    await vi.waitFor(() => { expect(memory.tried(evil.name)).toMatchObject({ digest: offer.manifest, over: true }) }, waiting)
    made.heard(good.name, bytesOf(offer))
    await isReady()
    expect((await made.take())?.from).toMatchObject({ box: 'good', digest: offer.manifest })
  })

  it('judges nothing that what serves has outgrown while it waited', async () => {
    const box = giver('box-1')
    const changes: Site = { classes: ['a'] }
    const { made, problems, shelve, kept } = await site([box], changes)
    made.heard(box.name, bytesOf(await shelve(box, 'narrow')))
    // At once, while the folder is still looked through after the fetch: it is looked through again.
    for (const untilMs = Date.now() + 30_000; !made.ready && Date.now() < untilMs;) await new Promise(resolve => setImmediate(resolve))
    changes.classes = ['a', 'z']
    expect([await made.take(), made.ready]).toEqual([null, false])
    expect(problems).toEqual(['model 3 of box-1 is not taken: it does not know "z"'])
    // Sooner than by itself, which it is after a minute.
    await vi.waitFor(async () => { expect(await kept()).toEqual([]) }, { ...waiting, timeout: 30_000 })
  })

  it('keeps nothing on disk of offers that were withdrawn or replaced', async () => {
    const box = giver('box-1')
    const { shelf, made, shelve, kept, isReady } = await site([box])
    for (let sequence = 1; sequence <= 3; sequence++) {
      const offer = await shelve(box, String(sequence), sequence)
      // Of the weights there is nothing more.
      const weights = [...shelf.bytes.keys()].at(-2) ?? ''
      shelf.bytes.delete(weights)
      made.heard(box.name, bytesOf(offer))
      await vi.waitFor(async () => { expect(await kept()).toEqual([offer.manifest.slice(7)]) }, waiting)
    }
    const last = await shelve(box, 'last', 4)
    made.heard(box.name, bytesOf(last))
    await isReady()
    expect(await kept()).toEqual([last.manifest.slice(7)])
    made.heard(box.name, new Uint8Array())
    await vi.waitFor(async () => { expect(await kept()).toEqual([]) }, waiting)
  })

  it('takes no older offer of a box than the one it tried, be it said by whom', async () => {
    const box = giver('box-1')
    const { made, problems, shelve, isReady } = await site([box])
    const [older, newer] = [await shelve(box, 'older', 7), await shelve(box, 'newer', 8)]
    made.heard(box.name, bytesOf(newer))
    await isReady()
    await made.take()
    await made.settle('verdict')
    made.heard(box.name, bytesOf(older))
    expect(problems).toEqual([expect.stringMatching(/^model 3 of box-1 is not taken: it is entry 7 of the history/)])
  })

  it('has no two models of a box judged within six hours, also where the second was offered before the first was judged', async () => {
    const [box, other] = [giver('box-1'), giver('box-2')]
    const verdicts: NonNullable<Site['verdicts']> = []
    const { shelf, made, shelve, isReady } = await site([box, other], { verdicts })
    const [first, second] = [await shelve(box, 'first', 7), await shelve(box, 'second', 8)]
    made.heard(box.name, bytesOf(first))
    await isReady()
    await made.take()
    made.heard(box.name, bytesOf(second))
    verdicts.push({ box: box.name, digest: first.manifest, atMs: Date.now() })
    const { asked } = shelf
    await made.settle('verdict')
    // Another box waits for nobody.
    made.heard(other.name, bytesOf(await shelve(other, 'else')))
    await isReady()
    expect((await made.take())?.from.box).toBe('box-2')
    expect(shelf.asked).toBe(asked + 3)
  })

  it('lets a round that failed stand in no other box\'s way, nor an older offer in a newer one\'s', async () => {
    const [unlucky, other] = [giver('box-1'), giver('box-2')]
    const { made, problems, shelve, isReady } = await site([unlucky, other])
    made.heard(unlucky.name, bytesOf(await shelve(unlucky, 'unlucky')))
    await isReady()
    await made.take()
    await made.settle('failed')
    const [older, newer] = [await shelve(other, 'older', 7), await shelve(other, 'newer', 8)]
    made.heard(other.name, bytesOf(newer))
    made.heard(other.name, bytesOf(older))
    await isReady()
    expect((await made.take())?.from).toMatchObject({ box: 'box-2', digest: newer.manifest })
    expect(problems).toEqual([expect.stringMatching(/^model 3 of box-2 is not taken: it is entry 7/)])
  })

  it('counts a round that failed as a try, and one that was stopped as none', async () => {
    const box = giver('box-1')
    const { made, memory, shelve, isReady, kept } = await site([box], { leastBetweenMs: 1 })
    made.heard(box.name, bytesOf(await shelve(box, 'unlucky')))
    for (const [judgement, tries, over] of [['stopped', 0, false], ['failed', 1, false], ['stopped', 1, false], ['failed', 2, false], ['failed', 3, true]] as const) {
      await isReady()
      expect(await made.take()).not.toBeNull()
      await made.settle(judgement)
      expect(memory.tried(box.name)).toMatchObject({ tries, over })
    }
    await vi.waitFor(async () => { expect([made.ready, await kept()]).toEqual([false, []]) }, waiting)
  })
})
