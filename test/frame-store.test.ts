/** Frames that nobody labeled, on real file systems, full ones too. */
import { execFile } from 'node:child_process'
import { access, mkdir, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { defaultConfig, type Config } from '../agent/config.js'
import { FrameOrder } from '../agent/frames/order.js'
import { FrameStore, type StoredFrame } from '../agent/frames/store.js'

const execute = promisify(execFile)
const dayMs = 86_400_000
const noonMs = Date.UTC(2026, 0, 31, 12)

let folder = ''
const cleanups: (() => unknown)[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-store-'))
  Object.assign(clock, { atMs: 0, wrongMs: 0 })
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(folder, { recursive: true, force: true })
})

const exists = (path: string) => access(path).then(() => true, () => false)
const files = async (place: string) => (await readdir(place, { recursive: true, withFileTypes: true })).filter(entry => entry.isFile())
  .map(({ parentPath, name }) => join(parentPath, name)).sort()

/** It is noon when a test begins; `wrongMs`: by how much the time of day is wrong. */
const clock = { atMs: 0, wrongMs: 0, nowMs: () => noonMs + clock.atMs + clock.wrongMs, monotonicMs: () => clock.atMs }
const settings = (changes: Partial<Config['frames']> = {}) => ({ ...defaultConfig().frames, minFreeBytes: 0, ...changes })

async function open(changes?: Partial<Config['frames']>, place = folder, freeBytes?: () => Promise<number>): Promise<FrameStore> {
  const store = new FrameStore({ folder: place, config: settings(changes), clock, ...freeBytes && { freeBytes } })
  await store.start()
  cleanups.push(() => { store.stop() })
  return store
}

const frame = (ageMs: number, bytes = 100, camera = 'belt') =>
  ({ camera, capturedAtMs: noonMs - ageMs, jpeg: new Uint8Array(bytes).fill(ageMs % 251) })

/** Stores a frame that there must be room for. */
async function put(store: FrameStore, ...[ageMs, bytes, camera]: Parameters<typeof frame>): Promise<StoredFrame> {
  const { stored, full } = await store.add(frame(ageMs, bytes, camera))
  if (!stored) throw new Error(full)
  return stored
}

describe('frame store', () => {
  it('starts though a file or a folder cannot be looked at, and says so once', async () => {
    const before = await open()
    const [good, bad, worse] = [await put(before, 1000), await put(before, 2000), await put(before, 3000)]
    for (const { path } of [bad, worse]) {
      await rm(path)
      // As a part of the disk that cannot be read: another error than that there is none.
      await symlink(basename(path), path)
    }
    const problems: string[] = []
    const again = new FrameStore({ folder, config: settings(), clock, onProblem: message => { problems.push(message) } })
    await again.start()
    expect([again.list().map(({ path }) => path), again.totalBytes]).toEqual([[good.path], good.bytes])
    expect(problems).toEqual([expect.stringMatching(/^2 files or folders of frames cannot be looked at and are passed over; the first: ELOOP/)])
  })

  it('never holds more bytes than allowed; of frames that are equally useful it keeps the newest', async () => {
    const arrivals = fc.uniqueArray(fc.record({ ageMs: fc.nat(dayMs), bytes: fc.integer({ min: 1, max: 400 }), camera: fc.constantFrom('belt', 'door') }),
      { selector: ({ ageMs }) => ageMs, maxLength: 12 })
    await fc.assert(fc.asyncProperty(arrivals, async sights => {
      const place = await mkdtemp(join(folder, 'store-'))
      const store = await open({ maxBytes: 1000 }, place)
      for (const { ageMs, bytes, camera } of sights) {
        const before = store.list()
        const added = await put(store, ageMs, bytes, camera)
        expect(store.totalBytes).toBeLessThanOrEqual(1000)
        const [all, kept] = [[...before, added], store.list()]
        const gone = all.filter(({ path }) => !kept.some(other => other.path === path))
        expect(Math.max(...gone.map(({ capturedAtMs }) => capturedAtMs))).toBeLessThan(Math.min(...kept.map(({ capturedAtMs }) => capturedAtMs)))
        expect(kept.map(({ capturedAtMs }) => capturedAtMs)).toEqual(kept.map(({ capturedAtMs }) => capturedAtMs).sort((a, b) => a - b))
        // No frame went that could have stayed.
        const lastGone = gone.toSorted((a, b) => a.capturedAtMs - b.capturedAtMs).at(-1)
        if (lastGone) expect(store.totalBytes + lastGone.bytes).toBeGreaterThan(1000)
      }
      expect(await files(place)).toEqual(store.list().map(({ path }) => path).sort())
      expect(store.totalBytes).toBe(store.list().reduce((sum, { bytes }) => sum + bytes, 0))
    }), { numRuns: 25 })
  })

  it('knows after a restart why frames were kept and what they are worth, also those of before that do not tell', async () => {
    const store = await open()
    const kept = [{ reason: 'novel', worth: 0.734 }, { reason: 'audit', worth: 0 }, { reason: 'uncertain', worth: 1 }]
    for (const [index, why] of kept.entries()) await store.add(frame(1000 - index, 100), why)
    await writeFile(join(folder, 'belt', '2026-01-31', `${String(noonMs)}-0123456789ab.jpg`), 'of before')
    const again = await open()
    expect(again.list().slice(0, 3)).toEqual(store.list())
    expect(again.list().map(({ reason, worth }) => [reason, worth])).toEqual([['novel', 0.73], ['audit', 0], ['uncertain', 1], ['unknown', 0.5]])
  })

  it('makes room by the least useful of the older half, and goes on so after a restart', async () => {
    const worths = [0.9, 0.1, 0.5, 0.2, 0, 0, 0, 0]
    const store = await open({ maxBytes: 800 })
    for (const [index, worth] of worths.entries()) await store.add(frame(1000 - index), { reason: 'novel', worth })
    const left = (of: FrameStore) => of.list().map(({ worth, capturedAtMs }) => [worth, capturedAtMs - noonMs + 1000])
    await store.add(frame(100), { reason: 'novel', worth: 0 })
    expect(left(store).map(([worth]) => worth)).toEqual([0.9, 0.5, 0.2, 0, 0, 0, 0, 0])
    const again = await open({ maxBytes: 600 })
    expect(left(again)).toEqual([[0.9, 0], [0.5, 2], [0, 5], [0, 6], [0, 7], [0, 900]])
  })

  describe('and the time of day', () => {
    const hourMs = 3_600_000
    /** Time passes, and it is looked whether a frame could be stored. */
    async function pass(store: FrameStore, ms: number): Promise<void> {
      for (let passed = 0; passed < ms; passed += hourMs / 2) {
        clock.atMs += hourMs / 2
        expect(await store.full()).toBeNull()
      }
    }
    const taken = async (store: FrameStore, jpeg = new Uint8Array(100)) => {
      expect((await store.add({ camera: 'belt', capturedAtMs: clock.nowMs(), jpeg })).full).toBeNull()
    }
    const ages = (store: FrameStore) => store.list().map(({ capturedAtMs }) => Math.round((clock.nowMs() - capturedAtMs) / dayMs))

    it('lets frames go at their age: once the clock has been steady for a day all, before that two for each that comes, at first none', async () => {
      const store = await open({ maxAgeDays: 20 })
      for (const days of [29, 28, 27, 26, 25, 24, 23, 10, 1]) await put(store, days * dayMs)
      expect(store.count).toBe(9)
      await pass(store, 2 * hourMs)
      expect(store.count).toBe(9)
      await taken(store)
      expect(ages(store)).toEqual([27, 26, 25, 24, 23, 10, 1, 0])
      await pass(store, 21 * hourMs)
      expect(store.count).toBe(8)
      await pass(store, hourMs)
      expect(ages(store)).toEqual([11, 2, 1])
      const again = await open({ maxAgeDays: 5 })
      expect(again.count).toBe(3)
      await pass(again, dayMs)
      expect([ages(again), (await files(folder)).length]).toEqual([[3, 2], 2])
    })

    it('lets them go where no camera sends anything', async () => {
      vi.useFakeTimers({ toFake: ['setInterval'] })
      try {
        const store = await open({ maxAgeDays: 20 })
        await put(store, 21 * dayMs)
        for (let hour = 0; hour < 25; hour++) {
          clock.atMs += hourMs
          await vi.advanceTimersByTimeAsync(hourMs)
        }
        await vi.waitFor(async () => { expect(await files(folder)).toEqual([]) })
      } finally {
        vi.useRealTimers()
      }
    })

    it('keeps all of a board that begins in 1970 and is put right later, and knows how old those are that it took meanwhile', async () => {
      for (let days = 25; days > 0; days--) await put(await open(), days * dayMs)
      for (const untilRightMs of [60_000, 7 * hourMs]) {
        clock.wrongMs = -clock.nowMs()
        const store = await open()
        const before = store.count
        for (let count = 0; count < 3; count++) {
          await taken(store)
          clock.atMs += 1000
        }
        if (untilRightMs > hourMs) await pass(store, untilRightMs)
        else clock.atMs += untilRightMs
        clock.wrongMs = 0
        await pass(store, 30 * hourMs)
        expect(store.count).toBe(before + 3)
        expect(ages(store).slice(-3)).toEqual([1, 1, 1])
        expect(store.totalBytes).toBe(100 * store.count)
      }
      const again = await open()
      expect([again.count, ages(again).slice(-6)]).toEqual([31, [3, 3, 3, 1, 1, 1]])
      expect((await files(folder)).every(path => !path.includes('1970'))).toBe(true)
      await pass(again, 40 * dayMs)
      expect([again.count, await files(folder)]).toEqual([0, []])
    })

    it('loses nothing to a clock that is 400 days ahead for an hour, and takes what is dated into the future for as old as it can be', async () => {
      const store = await open()
      for (let days = 29; days > 0; days--) await put(store, days * dayMs)
      clock.wrongMs = 400 * dayMs
      await pass(store, hourMs / 2)
      await taken(store)
      expect((await open()).count).toBe(30)
      await pass(store, hourMs / 2)
      clock.wrongMs = 0
      await pass(store, 3 * hourMs)
      expect([store.count, ages(store).slice(-2)]).toEqual([30, [1, 0]])
      // It may be the clock of now that is behind: the name stays.
      expect((await files(folder)).at(-1)).toContain('2027')
    })

    it('throws nothing away because of a clock that is wrong for less than two hours, and has nothing too old after a steady day', async () => {
      const spell = fc.oneof(
        fc.record({
          restart: fc.boolean(), halfHours: fc.integer({ min: 1, max: 3 }),
          wrongMs: fc.constantFrom(-noonMs, ...[-40, -1, 1, 40, 400, 20_000].map(days => days * dayMs)),
        }),
        fc.record({ restart: fc.boolean(), halfHours: fc.integer({ min: 1, max: 120 }), wrongMs: fc.constant(0) }),
      )
      await fc.assert(fc.asyncProperty(fc.array(spell, { minLength: 1, maxLength: 8 }), async spells => {
        Object.assign(clock, { atMs: 0, wrongMs: 0 })
        const place = await mkdtemp(join(folder, 'store-'))
        let store = await open({ maxAgeDays: 3 }, place)
        /** When each came, by a clock that is right, and whether the one there was told so; known by what it shows. */
        const came: { atMs: number; right: boolean }[] = []
        const takeOne = async () => {
          const id = came.push({ atMs: clock.atMs, right: clock.wrongMs === 0 })
          await taken(store, new Uint8Array(id))
        }
        for (const { restart, halfHours, wrongMs } of spells) {
          clock.wrongMs = wrongMs
          if (restart) store = await open({ maxAgeDays: 3 }, place)
          for (let count = 0; count < halfHours; count++) {
            clock.atMs += hourMs / 2
            await takeOne()
          }
          clock.wrongMs = 0
          expect(await store.full()).toBeNull()
          const there = new Set(store.list().map(({ bytes }) => bytes))
          for (const [index, { atMs, right }] of came.entries()) {
            if (right && clock.atMs - atMs < 3 * dayMs) expect(there.has(index + 1)).toBe(true)
          }
        }
        await pass(store, 30 * hourMs)
        const there = new Set(store.list().map(({ bytes }) => bytes))
        for (const [index, { atMs, right }] of came.entries()) if (right && clock.atMs - atMs > 3 * dayMs) expect(there.has(index + 1)).toBe(false)
        await pass(store, 4 * dayMs)
        expect([store.count, await files(place)]).toEqual([0, []])
      }), { numRuns: 15 })
    })
  })

  it('finds the same frames after a restart, and clears away what a power cut left half-written', async () => {
    const store = await open()
    for (const [ageMs, camera] of [[5, 'door'], [90_000_000, 'belt'], [7, 'belt']] as const) await put(store, ageMs, 100 + ageMs % 50, camera)
    const day = join(folder, 'belt', '2026-01-31')
    await writeFile(join(day, '1769860800000-0123456789ab.jpg.89abcdef.tmp'), 'half')
    await writeFile(join(day, 'notes.txt'), 'mine')
    await mkdir(join(folder, 'belt', '2025-01-01'))
    const again = await open()
    expect(again.list()).toEqual(store.list())
    expect(again.totalBytes).toBe(store.totalBytes)
    expect((await files(folder)).map(path => basename(path)).filter(name => !name.endsWith('.jpg'))).toEqual(['notes.txt'])
    expect(await readdir(join(folder, 'belt'))).toEqual(['2026-01-30', '2026-01-31'])
  })

  it('changes nothing where it only reads', async () => {
    const day = join(folder, 'belt', '2026-01-31')
    await mkdir(day, { recursive: true })
    await writeFile(join(day, '1-0123456789ab.jpg'), 'old')
    await writeFile(join(day, 'x.tmp'), 'half')
    const store = new FrameStore({ folder, config: settings(), clock })
    await store.read()
    expect([store.count, await readdir(day)]).toEqual([1, ['1-0123456789ab.jpg', 'x.tmp']])
  })

  it('keeps frames by camera and day, byte for byte', async () => {
    const store = await open()
    const wanted = frame(0, 333, 'door')
    const { stored } = await store.add(wanted)
    expect(stored?.path.startsWith(join(folder, 'door', '2026-01-31', String(noonMs)))).toBe(true)
    expect(new Uint8Array(await readFile(stored?.path ?? ''))).toEqual(wanted.jpeg)
    expect([(await store.add(wanted)).stored, store.count, store.totalBytes]).toEqual([stored, 1, 333])
  })

  it('takes out a frame that cannot be read, and no harm comes from taking out one that is gone', async () => {
    const store = await open()
    const [first, second] = [await put(store, 2), await put(store, 1)]
    await store.remove(first.path)
    await store.remove(first.path)
    expect(store.list()).toEqual([second])
    expect([store.totalBytes, await exists(first.path)]).toEqual([second.bytes, false])
  })

  it('is not disturbed by frames that a person takes away', async () => {
    const store = await open({ maxBytes: 500 })
    for (let ageMs = 50; ageMs > 45; ageMs--) await put(store, ageMs)
    for (const path of (await files(folder)).slice(0, 3)) await rm(path)
    for (let ageMs = 40; ageMs > 35; ageMs--) await put(store, ageMs)
    expect([store.count, store.totalBytes, (await files(folder)).length]).toEqual([5, 500, 5])
    await rm(join(folder, 'belt'), { recursive: true })
    await put(store, 30)
    expect((await files(folder)).length).toBe(1)
  })

  it('grows no more where the disk is nearly full: frames take the place of others; without any, collection stops, naming key and numbers', async () => {
    let free = 999_999
    const store = await open({ minFreeBytes: 1_000_000 }, folder, () => Promise.resolve(free))
    expect(await store.full()).toBe('0 MB are free on the disk, less than frames.minFreeBytes (1 MB)')
    free = 1_000_000
    for (let ageMs = 20; ageMs > 10; ageMs--) await put(store, ageMs)
    expect([await store.full(), store.count]).toEqual([null, 10])
    free = 999_999
    expect(await store.full()).toBeNull()
    await put(store, 5, 250)
    expect([store.count, store.totalBytes]).toEqual([8, 950])
    expect(await (await open({ minFreeBytes: 2 ** 60 }, join(folder, 'other'))).full()).toMatch(/^\d+ MB are free .* frames\.minFreeBytes \(1152921504606 MB\)$/)
  })

  it('makes way for models and state where next to nothing is free, and no further', async () => {
    const store = await open({ minFreeBytes: 10_000 }, folder, () => Promise.resolve(12_400 - 1000 - store.totalBytes - others))
    let others = 0
    for (let ageMs = 20; ageMs > 10; ageMs--) await put(store, ageMs)
    // Somebody else fills the disk: 2,500 bytes are the last reserve.
    others = 8_200
    expect(await store.fullForRounds()).toMatch(/^0 MB are free on the disk, and a round begins with 0 MB .*frames\.minFreeBytes/)
    expect(await store.full()).toContain('frames.minFreeBytes')
    expect([store.count, (await files(folder)).length]).toEqual([7, 7])
    expect([await store.full(), await store.fullForRounds()]).toEqual([null, null])
  })

  it('stops while its folder cannot be written, loses nothing, and goes on when it can', async () => {
    const store = await open()
    const first = await put(store, 10)
    // Root may write into what is read-only: a file in the way stops it, too.
    await writeFile(join(folder, 'door'), 'in the way')
    const { stored, full } = await store.add(frame(5, 100, 'door'))
    expect([stored, full]).toEqual([null, expect.stringMatching(/^frames cannot be stored: (ENOTDIR|EEXIST)$/) as string])
    expect([await store.full(), store.list()]).toEqual([full, [first]])
    await rm(join(folder, 'door'))
    clock.atMs += 10_001
    expect(await store.full()).toBeNull()
    expect((await store.add(frame(5, 100, 'door'))).full).toBeNull()
  })

  it('survives being filled to the last byte: nothing is lost, nothing half-written stays, and it goes on when there is room', async context => {
    const mounted = await execute('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder]).then(() => true, () => false)
    if (!mounted) return context.skip('a file system of its own takes root')
    cleanups.push(() => execute('umount', [folder]))
    const store = await open()
    const contents = new Map<string, number>()
    let full: string | null = null
    for (let ageMs = 10_000; full === null; ageMs--) {
      const added = await store.add(frame(ageMs, 20_000))
      full = added.full
      if (added.stored) contents.set(added.stored.path, ageMs % 251)
    }
    expect(full).toBe('frames cannot be stored: the disk is full')
    expect(contents.size).toBeGreaterThan(80)
    const rest = await open()
    expect([rest.count, await rest.full()]).toEqual([contents.size, null])
    // To the last byte, whatever is left.
    await writeFile(join(folder, 'filler'), new Uint8Array(4096)).catch(() => undefined)
    expect([(await store.add(frame(4, 20_000))).full, await store.full()]).toEqual([full, full])
    expect(await files(join(folder, 'belt'))).toEqual([...contents.keys()].sort())
    for (const [path, fill] of contents) expect(new Set(await readFile(path))).toEqual(new Set([fill]))

    // A person makes room, and takes some of them away.
    for (const path of [...contents.keys()].slice(0, 3)) await rm(path)
    expect(await store.full()).toBe(full)
    clock.atMs += 10_001
    expect(await store.full()).toBeNull()
    expect((await store.add(frame(3, 20_000))).full).toBeNull()
    const again = await open()
    expect(again.count).toBe(contents.size - 3 + 1)
  })
})

describe('the order in which frames go', () => {
  interface Ranked { capturedAtMs: number; worth: number }
  const worth = fc.integer({ min: 0, max: 100 }).map(hundredths => hundredths / 100)

  it('is, of the older half, the least useful first, then the oldest, as frames come in time', () => {
    fc.assert(fc.property(fc.array(fc.record({ worth, evicts: fc.nat(2) }), { maxLength: 60 }), steps => {
      const order = new FrameOrder<Ranked>()
      let model: Ranked[] = []
      for (const [capturedAtMs, { worth, evicts }] of steps.entries()) {
        const added = { capturedAtMs, worth }
        order.add(added)
        model.push(added)
        for (let count = 0; count < evicts && model.length; count++) {
          const half = model.slice(0, Math.floor(model.length / 2))
          const expected = half.length ? half.reduce((least, one) => (one.worth < least.worth ? one : least)) : model[0]
          expect([order.next, order.oldest]).toEqual([expected, model[0]])
          order.delete(expected!)
          model = model.filter(one => one !== expected)
        }
        expect(order.all()).toEqual(model)
      }
      const loaded = new FrameOrder<Ranked>()
      loaded.load(model.toReversed())
      expect([loaded.next, loaded.all()]).toEqual([order.next, model])
    }))
  })

  it('lets none go while one stays that is older and no more useful, in whatever order they come', () => {
    const arrival = fc.record({ capturedAtMs: fc.nat(100), worth, evicts: fc.integer({ min: 0, max: 2 }) })
    fc.assert(fc.property(fc.array(arrival, { maxLength: 80 }), steps => {
      const order = new FrameOrder<Ranked>()
      for (const { evicts, ...added } of steps) {
        order.add(added)
        for (let count = 0; count < evicts; count++) {
          const gone = order.next
          if (!gone) break
          order.delete(gone)
          for (const kept of order.all()) expect(kept.capturedAtMs < gone.capturedAtMs && kept.worth <= gone.worth).toBe(false)
        }
        const all = order.all()
        expect(order.oldest?.capturedAtMs).toBe(all.length ? Math.min(...all.map(({ capturedAtMs }) => capturedAtMs)) : undefined)
      }
    }))
  })

  it('costs no more of a hundred thousand frames than of a thousand', () => {
    const msPerFrame = (count: number) => Math.min(...Array.from({ length: 5 }, () => {
      const order = new FrameOrder<Ranked>()
      order.load(Array.from({ length: count }, (_, at) => ({ capturedAtMs: at, worth: (at % 101) / 100 })))
      const began = performance.now()
      for (let at = 0; at < 5000; at++) {
        order.add({ capturedAtMs: count + at, worth: (at % 101) / 100 })
        const { next } = order
        if (next) order.delete(next)
      }
      return (performance.now() - began) / 5000
    }))
    // Moving half of 100,000 along takes some 0.03 ms a frame.
    expect(msPerFrame(100_000)).toBeLessThan(10 * msPerFrame(1000) + 0.01)
  })
})

it('a hundred thousand frames are found within seconds', async () => {
  const days = Array.from({ length: 25 }, (_, day) => join(folder, 'belt', new Date(noonMs - (day + 1) * dayMs).toISOString().slice(0, 10)))
  for (const [day, place] of days.entries()) {
    await mkdir(place, { recursive: true })
    const names = Array.from({ length: 4000 }, (_, at) => `${String(noonMs - (day + 1) * dayMs + at)}-${String(at).padStart(12, '0')}-novel-${String(at % 101)}.jpg`)
    await Promise.all(names.map(name => writeFile(join(place, name), '')))
  }
  const began = performance.now()
  const store = await open()
  const tookMs = performance.now() - began
  expect(store.count).toBe(100_000)
  // The figure is for a box that does nothing else (npm run bench:frames).
  expect(tookMs).toBeLessThan(20_000)
  expect((await stat(store.list()[0]?.path ?? '')).isFile()).toBe(true)
})
