/** What a person labels at the page: which frames come first, and their way into a class folder and back. */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import fc from 'fast-check'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { defaultConfig } from '../agent/config.js'
import { classNameOf } from '../agent/frames/class-name.js'
import { Disagreement, type ModelPair } from '../agent/frames/disagreement.js'
import { Labeling, type Opinion } from '../agent/frames/labeling.js'
import { LabelStore } from '../agent/frames/label-store.js'
import { nextToLabel, type Candidate } from '../agent/frames/queue.js'
import { FrameStore } from '../agent/frames/store.js'
import { systemClock } from '../agent/lib/clock.js'

let data = ''
let frames: FrameStore
let labels: LabelStore
let opinion: (jpeg: Uint8Array) => Promise<Opinion | null>
let pair: ModelPair | null
/** Those of the pair. */
let models = ''
let elapsedMs = 0
const opened: Labeling[] = []
const problem = (message: string) => { throw new Error(message) }

beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'pawl-labeling-'))
  frames = new FrameStore({ folder: join(data, 'frames'), config: { ...defaultConfig().frames, minFreeBytes: 0 }, clock: systemClock })
  await frames.start()
  labels = new LabelStore({ data, config: { import: '', importValidation: '' } })
  await labels.start()
  opinion = () => Promise.resolve(null)
  pair = null
  elapsedMs = 0
})

afterEach(async () => {
  for (const labeling of opened.splice(0)) await labeling.stop()
  frames.stop()
  await rm(data, { recursive: true, force: true })
})

async function open(): Promise<Labeling> {
  const labeling = new Labeling({ frames, labels, file: join(data, 'skipped.json'), judge: jpeg => opinion(jpeg), disagreement: new Disagreement({ key: () => models, pair: () => Promise.resolve(pair), nowMs: () => elapsedMs, onProblem: problem }), onProblem: problem })
  await labeling.start()
  opened.push(labeling)
  return labeling
}

/** Stores a frame of some seconds ago, its content its number; gives its id. */
async function put(number: number, { reason = 'uncertain', worth = 0.5, camera = 'belt', ageMs = 60_000 * number } = {}): Promise<string> {
  const { stored } = await frames.add({ camera, capturedAtMs: Date.now() - ageMs, jpeg: Buffer.from([number]) }, { reason, worth })
  if (!stored) throw new Error('no room')
  return frames.idOf(stored)
}

const inClass = (label: string) => readdir(join(data, 'labels', label)).catch(() => [])

describe('the order in which frames are labeled', () => {
  const candidate = fc.record({
    camera: fc.constantFrom('door', 'yard'), capturedAtMs: fc.integer({ min: 0, max: 600_000 }), reason: fc.constantFrom('uncertain', 'novel', 'audit'),
    worth: fc.integer({ min: 0, max: 100 }).map(value => value / 100),
  })
  const sceneOf = ({ camera, capturedAtMs, reason }: Candidate) => `${reason} ${camera} ${String(Math.floor(capturedAtMs / 60_000))}`

  it('has every frame once, and reasons take turns while they have frames', () => {
    fc.assert(fc.property(fc.array(candidate, { maxLength: 60 }), all => {
      const order = nextToLabel(all, all.length)
      expect(new Set(order)).toEqual(new Set(all))
      expect(order).toHaveLength(all.length)
      const counts = new Map<string, number>()
      for (const [place, { reason }] of order.entries()) {
        counts.set(reason, (counts.get(reason) ?? 0) + 1)
        const left = new Set(order.slice(place + 1).map(frame => frame.reason))
        // No reason that still has frames is more than one behind.
        for (const other of left) expect((counts.get(reason) ?? 0) - (counts.get(other) ?? 0)).toBeLessThanOrEqual(1)
      }
    }))
  })

  it('of one reason shows each minute of a camera before any for the second time, the worthiest of it first', () => {
    fc.assert(fc.property(fc.array(candidate, { maxLength: 60 }), all => {
      const order = nextToLabel(all, all.length).filter(({ reason }) => reason === 'novel')
      const scenes = new Set(order.map(sceneOf))
      expect(new Set(order.slice(0, scenes.size).map(sceneOf))).toEqual(scenes)
      for (const first of order.slice(0, scenes.size)) {
        for (const other of order) if (sceneOf(other) === sceneOf(first)) expect(other.worth).toBeLessThanOrEqual(first.worth)
      }
    }))
  })

  it('begins the same whether few or many are asked for', () => {
    fc.assert(fc.property(fc.array(candidate, { maxLength: 40 }), fc.nat(40), (all, count) => {
      expect(nextToLabel(all, count)).toEqual(nextToLabel(all, all.length).slice(0, count))
    }))
  })
})

describe('a class', () => {
  it.each([
    ['a/b', /slash/], ['..', /dot/], ['.hidden', /dot/], ['', /empty/], ['  ', /empty/], ['a\nb', /cannot be seen/], ['cat\u200b', /cannot be seen/], ['\u202ecat', /cannot be seen/], ['\ud800x', /cannot be seen/], ['a\\b', /slash/], ['x'.repeat(300), /longer than 100 bytes/],
  ])('cannot be called %j', (name, why) => {
    expect(() => classNameOf(name, ['coat'])).toThrow(why)
  })

  it('may be called anything else, in any script, and is one folder however its accents are typed', () => {
    expect([classNameOf('Bag', ['coat', 'bag']), classNameOf('Bag', ['Bag', 'bag'])]).toEqual(['bag', 'Bag'])
    expect([classNameOf(' Kiste 🧺 ', []), classNameOf('👩‍🔧', [])]).toEqual(['Kiste 🧺', '👩‍🔧'])
    expect(classNameOf('e\u0301clair', [])).toBe(classNameOf('\u00e9clair', []))
    fc.assert(fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }), text => {
      let name: string
      try {
        name = classNameOf(text, [])
      } catch (cause) {
        expect(cause).toMatchObject({ code: 'COMMAND_INVALID' })
        return
      }
      expect(join('/labels', name).split('/')).toHaveLength(3)
    }))
  })
})

describe('a frame', () => {
  it('whose label is undone leaves no empty class behind, which would keep rounds from beginning', async () => {
    const [labeling, id] = [await open(), await put(1)]
    await labeling.label(id, 'caot')
    await labeling.undo(id, 'caot')
    await rm(join(data, 'frames', id))
    await expect(labeling.label(id, 'caot')).rejects.toMatchObject({ code: 'FRAME_GONE' })
    expect(await labels.classes()).toEqual([])
  })

  it('is there after its label is undone, however full the store is', async () => {
    const small = new FrameStore({ folder: join(data, 'frames'), config: { ...defaultConfig().frames, minFreeBytes: 0, maxBytes: 3000 }, clock: systemClock })
    await small.start()
    frames = small
    const keep = async (worth: number, ageMs: number) => (await small.add({ camera: 'belt', capturedAtMs: Date.now() - ageMs, jpeg: Buffer.alloc(1400, worth) }, { reason: 'novel', worth: worth / 100 })).stored
    const old = await keep(1, 3_600_000)
    await keep(90, 2000)
    const id = small.idOf(old ?? { path: '' })
    const labeling = await open()
    await labeling.label(id, 'bag')
    await keep(91, 1000)
    await labeling.undo(id, 'bag')
    expect([small.frame(id)?.path, existsSync(join(data, 'frames', id))]).toEqual([old?.path, true])
  })

  it('goes into the class that is there, however its name is written', async () => {
    const [labeling, one, two] = [await open(), await put(1), await put(2)]
    const decomposed = 'cafe\u0301'
    await mkdir(join(data, 'labels', decomposed))
    await mkdir(join(data, 'labels', ' outer '))
    expect([await labeling.label(one, 'caf\u00e9'), await labeling.label(two, ' outer ')]).toEqual([decomposed, ' outer '])
    expect((await labels.classes()).map(({ label, images }) => [label, images])).toEqual([[' outer ', 1], [decomposed, 1]])
  })

  it('that gets a label lies in the folder of its class under its own name, and teaches no more as a frame', async () => {
    const [labeling, id] = [await open(), await put(1)]
    expect(await labeling.label(id, 'bag')).toBe('bag')
    expect(await inClass('bag')).toEqual([basename(id)])
    expect(await readFile(join(data, 'labels', 'bag', basename(id)))).toEqual(Buffer.from([1]))
    expect([frames.count, frames.totalBytes, existsSync(join(data, 'frames', id))]).toEqual([0, 0, false])
  })

  it('comes back as it was when that is undone, also after a restart and in a class of its own', async () => {
    const id = await put(1, { reason: 'novel', worth: 0.75 })
    await (await open()).label(id, 'ein neues 🧺')
    await (await open()).undo(id, 'ein neues 🧺')
    expect(await inClass('ein neues 🧺')).toEqual([])
    expect(frames.list()).toMatchObject([{ camera: 'belt', reason: 'novel', worth: 0.75, bytes: 1 }])
    expect(frames.frame(id)).not.toBeNull()
  })

  it('that two people label at once gets the label of one, and the other is told', async () => {
    const [labeling, id] = [await open(), await put(1)]
    const outcomes = await Promise.allSettled([labeling.label(id, 'bag'), labeling.label(id, 'coat')])
    const refused = outcomes.filter(outcome => outcome.status === 'rejected')
    expect(refused).toHaveLength(1)
    expect(refused[0]?.reason).toMatchObject({ code: 'FRAME_GONE' })
    expect([...await inClass('bag'), ...await inClass('coat')]).toEqual([basename(id)])
    await expect(labeling.label(id, 'dress')).rejects.toThrow(/has been labeled "(bag|coat)" meanwhile/)
  })

  it('that is gone, or never was, is told', async () => {
    const [labeling, id] = [await open(), await put(1)]
    await rm(join(data, 'frames', id))
    await expect(labeling.label(id, 'bag')).rejects.toMatchObject({ code: 'FRAME_GONE' })
    await expect(labeling.undo(id, 'bag')).rejects.toMatchObject({ code: 'FRAME_GONE' })
    expect(frames.count).toBe(0)
  })

  it.each(['../../labels/bag/x.jpg', 'belt/../../../etc/passwd', '/etc/passwd', 'belt/2026-11-26/../../../1764000000000-0123456789ab-first-25.jpg', '', '..'])('of id %j is none: nothing outside the frames is moved', async id => {
    const labeling = await open()
    await mkdir(join(data, 'labels', 'bag'), { recursive: true })
    await put(1)
    const before = (await readdir(data, { recursive: true })).sort()
    await expect(labeling.label(id, 'bag')).rejects.toMatchObject({ code: 'FRAME_GONE' })
    await expect(labeling.undo(id, 'bag')).rejects.toMatchObject({ code: 'FRAME_GONE' })
    expect((await readdir(data, { recursive: true })).sort()).toEqual(before)
  })

  it('is not brought to another camera or day by undoing', async () => {
    const [labeling, id] = [await open(), await put(1)]
    await labeling.label(id, 'bag')
    const [, day = '', name = ''] = id.split('/')
    for (const wrong of [`../belt/${day}/${name}`, `belt/2001-01-01/${name}`, `belt/${name}`, `belt/${day}/x/${name}`]) {
      await expect(labeling.undo(wrong, 'bag')).rejects.toMatchObject({ code: 'FRAME_GONE' })
    }
    expect(await inClass('bag')).toEqual([name])
  })
})

describe('the queue', () => {
  it('says what the model takes each for and which look alike, and none of it where no model serves', async () => {
    const ids = [await put(1), await put(2), await put(3), await put(4)]
    const labeling = await open()
    expect((await labeling.queue({ count: 9 })).frames.map(({ suggestion, alike }) => [suggestion, alike])).toEqual(ids.map(() => [null, []]))
    const rays = [[1, 0.1], [1, -0.1], [-1, 0.1], [-1, -0.1]]
    opinion = ([number = 0]) => Promise.resolve({ label: number <= 2 ? 'bag' : 'coat', confidence: 0.5 + number / 10, embedding: Float32Array.from([...rays[number - 1] ?? [], 9]) })
    const { waiting, frames: queued } = await labeling.queue({ count: 9 })
    expect(waiting).toBe(4)
    const of = (id: string | undefined) => queued.find(frame => frame.id === id)
    expect(of(ids[0])).toMatchObject({ suggestion: { label: 'bag', confidence: 0.6 }, alike: [ids[1]], camera: 'belt', reason: 'uncertain' })
    expect(of(ids[3])).toMatchObject({ suggestion: { label: 'coat', confidence: 0.9 }, alike: [ids[2]] })
  })

  it('has no frame that was passed over, after a restart too, until that is undone', async () => {
    const [first, second] = [await put(1), await put(2)]
    const labeling = await open()
    labeling.skip(first)
    await labeling.stop()
    const again = await open()
    expect((await again.queue({ count: 9 })).frames.map(({ id }) => id)).toEqual([second])
    again.unskip(first)
    expect((await again.queue({ count: 9 })).frames.map(({ id }) => id).sort()).toEqual([first, second].sort())
  })

  it('is of one camera, or of one reason, where that is asked for', async () => {
    const [door] = [await put(1, { camera: 'door' }), await put(2, { reason: 'audit' })]
    const labeling = await open()
    expect((await labeling.queue({ count: 9, camera: 'door' })).frames.map(({ id }) => id)).toEqual([door])
    expect((await labeling.queue({ count: 9, reason: 'audit' })).frames.map(({ reason }) => reason)).toEqual(['audit'])
  })

  it('has a frame that cannot be read or judged all the same', async () => {
    await put(1)
    const gone = await put(2)
    opinion = () => Promise.reject(new Error('not a picture'))
    const labeling = await open()
    expect((await labeling.queue({ count: 9 })).frames).toMatchObject([{ suggestion: null }, { suggestion: null }])
    await rm(join(data, 'frames', gone))
    expect((await labeling.queue({ count: 9 })).frames).toMatchObject([{ suggestion: null }])
  })

  it('counts what a person moves in the folders by hand', async () => {
    const [labeling, id] = [await open(), await put(1)]
    await labeling.label(id, 'bag')
    await mkdir(join(data, 'labels', 'coat'))
    await rename(join(data, 'labels', 'bag', basename(id)), join(data, 'labels', 'coat', basename(id)))
    expect(await labels.classes()).toEqual([{ label: 'bag', images: 0 }, { label: 'coat', images: 1 }])
    await expect(labeling.undo(id, 'bag')).rejects.toThrow(/labeled "coat" meanwhile/)
  })

  it('has the frames on which two models differ under a reason of their own, looked at once for each pair of models', async () => {
    const [first, second, gone] = [await put(1, { reason: 'audit' }), await put(2, { reason: 'audit' }), await put(3)]
    const asked: string[][] = []
    const compare = (differOn: string) => ({
      compare: (paths: readonly string[]) => {
        asked.push(paths.map(path => basename(path)))
        return Promise.resolve(paths.map(path => (path.endsWith(basename(gone)) ? null : { former: 'bag', now: path.endsWith(basename(differOn)) ? 'coat' : 'bag', gain: 0 })))
      },
    })
    ;[models, pair] = ['1 2', compare(first)]
    const labeling = await open()
    const reasons = async () => Object.fromEntries((await labeling.queue({ count: 9 })).frames.map(({ id, reason }) => [id, reason]))
    expect(await reasons()).toEqual({ [first]: 'audit', [second]: 'audit', [gone]: 'uncertain' })
    await vi.waitFor(async () => { expect(await reasons()).toEqual({ [first]: 'disagreeing', [second]: 'audit', [gone]: 'uncertain' }) })
    expect((await labeling.queue({ count: 9, reason: 'disagreeing' })).frames.map(({ id }) => id)).toEqual([first])
    expect(asked).toEqual([[basename(gone), basename(second), basename(first)]])
    ;[models, pair] = ['2 3', compare(second)]
    await vi.waitFor(async () => { expect(await reasons()).toEqual({ [first]: 'audit', [second]: 'disagreeing', [gone]: 'uncertain' }) })
    expect(asked).toHaveLength(2)
    // What is new is looked at after a while; a filter forgets nothing of the others.
    const fourth = await put(4)
    await labeling.queue({ count: 9, camera: 'elsewhere' })
    expect(asked).toHaveLength(2)
    elapsedMs += 60_000
    await vi.waitFor(async () => {
      await labeling.queue({ count: 9, camera: 'elsewhere' })
      expect(asked.slice(2)).toEqual([[basename(fourth)]])
    })
    expect(await reasons()).toMatchObject({ [first]: 'audit', [second]: 'disagreeing' })
    await frames.remove(join(data, 'frames', fourth))
    ;[models, pair] = ['3', null]
    await vi.waitFor(async () => { expect(await reasons()).toEqual({ [first]: 'audit', [second]: 'audit', [gone]: 'uncertain' }) })
  })
})

describe('an image that is imported', () => {
  const picture = () => sharp({ create: { width: 8, height: 8, channels: 3, background: '#888' } }).png().toBuffer()

  it('lies in the folder of its class, once, and beside another of its name', async () => {
    const image = await picture()
    const other = await sharp(image).negate().png().toBuffer()
    expect([await labels.add('bag', 'a.png', image), await labels.add('bag', 'a.png', image), await labels.add('bag', 'a.png', other)]).toEqual([true, false, true])
    expect(await inClass('bag')).toEqual(['a-2.png', 'a.png'])
  })

  it.each([
    ['notes.txt', 'bag', /not that of a JPEG, PNG or WebP/], ['.a.png', 'bag', /not that of/], ['a.png', 'b/c', /slash/], ['a.png', '..', /dot/], ['a\u0007.png', 'bag', /not that of/],
  ])('as %j of class %j is refused', async (name, label, why) => {
    await expect(labels.add(label, name, await picture())).rejects.toThrow(why)
    expect(await readdir(join(data, 'labels'))).toEqual([])
  })

  it('is none the fewer where five of one name come at once', async () => {
    const shades = await Promise.all([1, 2, 3, 4, 5].map(shade =>
      sharp({ create: { width: 4, height: 4, channels: 3, background: { r: 40 * shade, g: 0, b: 0 } } }).png().toBuffer()))
    expect(await Promise.all(shades.map(image => labels.add('bag', 'IMG_0001.png', image)))).toEqual([true, true, true, true, true])
    expect(await inClass('bag')).toHaveLength(5)
  })

  it('keeps of a path nothing but its name, and is refused where it is none or cut off', async () => {
    const image = await picture()
    await labels.add('bag', '../../../x/b.png', image)
    await labels.add('bag', 'C:\\x\\c.png', image)
    expect(await inClass('bag')).toEqual(['b.png', 'c.png'])
    for (const bad of [Buffer.from('<svg/>'), Buffer.alloc(0), image.subarray(0, image.length - 20)]) {
      await expect(labels.add('bag', 'd.png', bad)).rejects.toMatchObject({ code: 'COMMAND_INVALID', message: expect.stringMatching(/"bag\/d.png" was not taken: it cannot be decoded/) as string })
    }
    expect(await inClass('bag')).toEqual(['b.png', 'c.png'])
  })
})
