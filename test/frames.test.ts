import { execFile } from 'node:child_process'
import { access, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { defaultConfig } from '../agent/config.js'
import { LabelStore } from '../agent/frames/label-store.js'
import { FrameStore } from '../agent/frames/store.js'
import { systemClock } from '../agent/lib/clock.js'
import { removeHalfWritten } from '../agent/lib/durable.js'
import { importLabels, quarantine, readClassFolders, readLabels, type LabelSplit } from '../agent/frames/labels.js'
import { reservoir, type Stamped } from '../agent/frames/reservoir.js'
import { Random, readImageFile } from '../trainer/index.js'

const noonMs = Date.UTC(2026, 0, 31, 12)

let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-frames-'))
})

afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

const exists = (path: string) => access(path).then(() => true, () => false)
const files = async (place: string) => (await readdir(place, { recursive: true, withFileTypes: true })).filter(entry => entry.isFile())
  .map(({ parentPath, name }) => join(parentPath, name)).sort()

describe('labels', () => {
  /** Class folders of empty files. */
  async function write(classes: Record<string, string[]>, place = folder): Promise<string> {
    for (const [label, names] of Object.entries(classes)) {
      await mkdir(join(place, label), { recursive: true })
      for (const name of names) await writeFile(join(place, label, name), '')
    }
    return place
  }
  const named = (prefix: string, count: number) => Array.from({ length: count }, (_, index) => `${prefix}${String(index)}.png`)
  const sides = (split: LabelSplit) => new Map(Object.entries(split).flatMap(([side, images]: [string, LabelSplit['gate']]) =>
    images.map(({ path }) => [path, side] as const)))

  it('stay on the side they are on, to teach or to judge, whatever is added later', async () => {
    const prefix = fc.string({ unit: fc.constantFrom('0', '1', '2', '3', 'a', 'b', 'c', 'd', 'e', 'f'), minLength: 8, maxLength: 8 })
    const counts = [fc.integer({ min: 40, max: 80 }), fc.integer({ min: 5, max: 40 })] as const
    await fc.assert(fc.asyncProperty(prefix, prefix, ...counts, async (one, two, count, more) => {
      const place = await mkdtemp(join(folder, 'labels-'))
      await write({ a: named(one, count), b: named(one, 40) }, place)
      const before = sides(await readLabels(place, null))
      expect(before.size).toBe(count + 40)
      await write({ a: named(`${two}-`, more), c: named(two, more) }, place)
      const after = sides(await readLabels(place, null))
      expect(after.size).toBe(count + 40 + 2 * more)
      for (const [path, side] of before) expect(after.get(path)).toBe(side)
    }), { numRuns: 15 })
  })

  const hash = '0123456789ab'
  /** Names of frames of one minute, as they were stored before and are now. */
  const frames = (minute: number, count: number) => Array.from({ length: count }, (_, index) =>
    `${String(noonMs + minute * 60_000 + index * 900)}-${hash}${index % 2 ? '' : `-novel-${String(index)}`}.jpg`)

  it('are of one scene, and on one side, where their names tell that they are frames of one minute', async () => {
    const minutes = Array.from({ length: 40 }, (_, minute) => frames(minute, 3)).flat()
    const split = await readLabels(await write({ a: minutes, b: ['photo.png', ...named('y', 20), ...minutes.map(name => name.toUpperCase())] }), null)
    const all = Object.entries(split).flatMap(([side, images]: [string, LabelSplit['gate']]) => images.map(image => ({ ...image, side })))
    const scenes = new Map<string, Set<string>>()
    for (const { scene, side } of all) if (scene !== undefined) scenes.set(scene, (scenes.get(scene) ?? new Set()).add(side))
    expect(scenes.size).toBe(40)
    for (const where of scenes.values()) expect(where.size).toBe(1)
    expect(all.filter(({ scene }) => scene === undefined).map(({ label }) => label)).toEqual(new Array<string>(141).fill('b'))
  })

  it('that are frames stay on their side with their whole scene, whatever minutes and classes are added later', async () => {
    const minutes = fc.uniqueArray(fc.nat(500), { minLength: 12, maxLength: 40 })
    const some = fc.array(fc.record({ minute: fc.nat(500), label: fc.constantFrom('a', 'b', 'c', 'd') }), { maxLength: 40 })
    await fc.assert(fc.asyncProperty(minutes, some, fc.integer({ min: 1, max: 4 }), async (first, later, each) => {
      const place = await mkdtemp(join(folder, 'scenes-'))
      // New classes may be too small to judge by: then all of them teaches.
      const plain = { a: named('x', 20), b: named('y', 20) }
      const framesOf = (some: readonly number[]) => some.flatMap(minute => frames(minute, each))
      await write({ a: [...plain.a, ...framesOf(first)], b: [...plain.b, ...framesOf(first.slice(0, 8))] }, place)
      const before = sides(await readLabels(place, null))
      for (const { minute, label } of later) await write({ [label]: frames(minute, 4).map(name => name.replace(hash, 'ba9876543210')) }, place)
      const split = await readLabels(place, null)
      const after = sides(split)
      for (const [path, side] of before) expect(after.get(path)).toBe(side)
      const judges = [...split.gate, ...split.promotion]
      const judged = new Set(judges.map(({ label }) => label))
      const scenes = new Set(judges.map(({ scene }) => scene).filter(scene => scene !== undefined))
      for (const { scene, label } of split.labeled) if (judged.has(label)) expect(scenes.has(scene ?? '')).toBe(false)
    }), { numRuns: 25 })
  })

  it('keep back about a fifth for each gate, and none of a class with fewer than five', async () => {
    const split = await readLabels(await write({ a: named('x', 500), b: named('y', 500), rare: named('z', 4) }), null)
    for (const part of [split.gate, split.promotion]) expect(Math.abs(part.length - 200)).toBeLessThan(4 * Math.sqrt(160))
    expect(split.labeled.filter(({ label }) => label === 'rare')).toHaveLength(4)
  })

  it('always leave every class something to learn from', async () => {
    const classes = Array.from({ length: 300 }, (_, index) => `class-${String(index)}`)
    const { labeled } = await readLabels(await write(Object.fromEntries(classes.map(label => [label, named(label, 5)]))), null)
    expect([...new Set(labeled.map(({ label }) => label))]).toEqual([...classes].sort())
  })

  it('all teach where a validation folder judges; it is shared out between the gates, without classes that nobody teaches', async () => {
    const taught = await write({ a: named('x', 3), b: named('y', 3) }, join(folder, 'labels'))
    const told: string[] = []
    const judging = await write({ a: named('v', 60), B: named('w', 60), unknown: named('u', 9) }, join(folder, 'validation'))
    const split = await readLabels(taught, judging, message => told.push(message))
    expect(told).toEqual([
      `${join(judging, 'B')}: its 60 images count as "b", as the class is spelt where it is taught`,
      `${join(judging, 'unknown')}: 9 images are left out, for nothing teaches "unknown"`,
    ])
    expect(split.labeled).toHaveLength(6)
    expect(split.gate.length + split.promotion.length).toBe(120)
    for (const part of [split.gate, split.promotion]) expect(part.length).toBeGreaterThan(35)
    expect(new Set(sides(split).values())).toEqual(new Set(['labeled', 'gate', 'promotion']))
  })

  it('do not teach where the validation folder shows frames of their minute, unless fewer than five others of their class do', async () => {
    const minutes = Array.from({ length: 20 }, (_, minute) => frames(minute, 2))
    const [shown, others] = [minutes.slice(0, 12).flat(), minutes.slice(12).flat()]
    const moved = minutes.slice(0, 12).map(([first = '']) => first.replace(hash, 'ba9876543210'))
    const [few, enough] = [[...moved, ...others.slice(0, 4)], [...moved, ...others.slice(0, 5)]]
    const taught = await write({ a: [...moved, ...others], b: moved.slice(0, 3), c: few, d: enough }, join(folder, 'labels'))
    const judged = { a: shown, b: named('w', 9), c: named('v', 9), d: named('u', 9) }
    const { labeled, gate, promotion } = await readLabels(taught, await write(judged, join(folder, 'validation')))
    expect(gate.length + promotion.length).toBe(51)
    const namesOf = (wanted: string) => labeled.filter(({ label }) => label === wanted).map(({ path }) => basename(path)).sort()
    const expected = [others, moved.slice(0, 3), few, others.slice(0, 5)]
    expect(['a', 'b', 'c', 'd'].map(namesOf)).toEqual(expected.map(names => names.toSorted()))
  })

  it('of a class that the validation folder does not show judge only what is of no minute that it shows: none is on both sides', async () => {
    const minutes = Array.from({ length: 60 }, (_, minute) => frames(minute, 2))
    const moved = minutes.flat().map(name => name.replace(hash, 'ba9876543210'))
    const taught = await write({ a: named('x', 9), b: [...moved, ...named('y', 60)] }, join(folder, 'labels'))
    const { gate, promotion } = await readLabels(taught, await write({ a: minutes.flat() }, join(folder, 'validation')))
    const scenesOf = (part: LabelSplit['gate']) => new Set(part.flatMap(({ scene }) => scene ?? []))
    expect([...scenesOf(gate)].filter(scene => scenesOf(promotion).has(scene))).toEqual([])
    expect([...gate, ...promotion].filter(({ label }) => label === 'b').every(({ scene }) => scene === undefined)).toBe(true)
  })

  it('teach in no minute that judges, of whatever class, as long as five others of their class do', async () => {
    const minutes = Array.from({ length: 60 }, (_, minute) => frames(minute, 2)).flat()
    const others = minutes.map(name => name.replace(hash, 'ba9876543210'))
    const taught = await write({ a: minutes, b: others, few: others.slice(0, 4) }, join(folder, 'labels'))
    for (const validation of [null, await write({ a: named('v', 60) }, join(folder, 'validation'))]) {
      const { labeled, gate, promotion } = await readLabels(taught, validation)
      const judging = new Set([...gate, ...promotion].flatMap(({ scene }) => scene ?? []))
      expect(judging.size).toBeGreaterThan(10)
      expect(labeled.filter(({ label, scene }) => label !== 'few' && judging.has(scene ?? ''))).toEqual([])
      expect(labeled.filter(({ label }) => label === 'few')).toHaveLength(4)
    }
  })

  it('judge themselves where the validation folder does not show their class: one that was added on the page, say', async () => {
    const taught = await write({ a: named('x', 3), b: named('y', 3), fresh: named('z', 100) }, join(folder, 'labels'))
    const split = await readLabels(taught, await write({ a: named('v', 60), b: named('w', 60) }, join(folder, 'validation')))
    const of = (part: LabelSplit['gate']) => part.filter(({ label }) => label === 'fresh').length
    expect(split.labeled.filter(({ label }) => label !== 'fresh')).toHaveLength(6)
    expect(of(split.labeled) + of(split.gate) + of(split.promotion)).toBe(100)
    for (const part of [split.gate, split.promotion]) expect(of(part)).toBeGreaterThan(8)
  })

  const refusals: [string, Record<string, string[]>, Record<string, string[]> | null, RegExp][] = [
    ['there are no labels', {}, null, /no labels yet.*one folder for each class/],
    ['a class folder is empty', { a: named('x', 9), 'b c': ['notes.txt', '.hidden.png'] }, null, /class folder "b c"; add some, or remove the folder/],
    ['there is one class only', { a: named('x', 9) }, null, /only the class "a".*at least two/],
    ['there are too few to keep some back', { a: named('x', 4), b: named('y', 4) }, null, /8 labels are too few.*5 or more of each class, or a validation folder/],
    ['the validation folder holds no such class', { a: ['1.png'], b: ['2.png'] }, { c: named('x', 9) }, /validation: no validation images of the classes a, b/],
    ['validation cannot serve both gates', { a: ['1.png'], b: ['2.png'] }, { a: ['x.png'] }, /validation: 1 validation images are too few/],
  ]
  for (const [when, taught, judged, message] of refusals) {
    it(`are refused, saying what is missing, when ${when}`, async () => {
      const labels = await write(taught, join(folder, 'labels'))
      await mkdir(labels, { recursive: true })
      const refusal = readLabels(labels, judged && await write(judged, join(folder, 'validation')))
      await expect(refusal).rejects.toMatchObject({ code: 'LABELS_INSUFFICIENT', message: expect.stringMatching(message) as string })
      await expect(refusal).rejects.toThrow(judged ? join(folder, 'validation') : labels)
    })
  }

  it('are refused when the folder cannot be read', async () => {
    await expect(readLabels(join(folder, 'nowhere'), null)).rejects.toMatchObject({ code: 'LABELS_INSUFFICIENT', message: expect.stringContaining('nowhere') as string })
  })

  it('are copied in once; what a person has there already stays as it is', async () => {
    const [from, to] = [await write({ a: ['1.png', '2.png', 'notes.txt'], b: ['1.JPG'] }, join(folder, 'from')), join(folder, 'to')]
    await mkdir(join(to, 'a'), { recursive: true })
    await writeFile(join(to, 'a', '1.png'), 'mine')
    const [first, second] = [await importLabels(from, to), await importLabels(from, to)]
    expect([first, second]).toEqual([{ imported: 3, there: 0, refused: [] }, { imported: 0, there: 3, refused: [] }])
    expect((await readClassFolders(to)).images.map(({ path, label }) => [label, basename(path)]))
      .toEqual([['a', '1-2.png'], ['a', '1.png'], ['a', '2.png'], ['b', '1.JPG']])
    expect(await readFile(join(to, 'a', '1.png'), 'utf8')).toBe('mine')
  })

  it('are all imported from cards whose files have the same names, each once', async () => {
    const card = async (name: string, text: string) => {
      const path = join(await write({ cat: ['img001.jpg'] }, join(folder, name)), 'cat', 'img001.jpg')
      await writeFile(path, text)
      return join(folder, name)
    }
    const to = join(folder, 'to')
    const cards = [await card('one', 'one'), await card('two', 'two'), await card('three', 'three'), await card('copy of two', 'two')]
    const came = []
    for (const from of [...cards, ...cards]) came.push((await importLabels(from, to)).imported)
    expect(came).toEqual([1, 1, 1, 0, 0, 0, 0, 0])
    const there = (await readClassFolders(to)).images.map(({ path }) => path)
    expect(there.map(path => basename(path))).toEqual(['img001-2.jpg', 'img001-3.jpg', 'img001.jpg'])
    expect(await Promise.all(there.map(path => readFile(path, 'utf8')))).toEqual(['two', 'three', 'one'])
  })
})

describe('what a label\'s path says', () => {
  it('moves only labels of the box, wherever else it leads', async () => {
    const data = join(folder, 'data')
    const store = new LabelStore({ data, config: { import: '', importValidation: '' } })
    await store.start()
    const outside = join(folder, 'canary.png')
    await writeFile(outside, 'not to be touched')
    for (const path of [outside, join(data, 'labels', '..', '..', 'canary.png'), `${data}/labels/../../canary.png`]) expect(await store.quarantine(path, 'unreadable')).toBe(false)
    expect(await readFile(outside, 'utf8')).toBe('not to be touched')
    const frames = new FrameStore({ folder: join(data, 'frames'), config: defaultConfig().frames, clock: systemClock })
    expect([frames.holds(join(data, 'frames', 'a', 'x.jpg')), frames.holds(`${data}/frames/../../canary.png`)]).toEqual([true, false])
  })

  it('is cut where a file system would not take it with the reason beside it', async () => {
    const path = join(folder, 'labels', 'bag', `${'é'.repeat(125)}.png`)
    await mkdir(join(folder, 'labels', 'bag'), { recursive: true })
    await writeFile(path, 'no picture')
    const target = await quarantine(path, 'unreadable', join(folder, 'quarantine')) ?? ''
    expect([await readFile(target, 'utf8'), await readFile(`${target}.reason.txt`, 'utf8')]).toEqual(['no picture', 'unreadable\n'])
  })

  it('is none of an image where there is no file', async () => {
    await mkdir(join(folder, 'bag', 'folder.png'), { recursive: true })
    await promisify(execFile)('mkfifo', [join(folder, 'bag', 'pipe.png')])
    await symlink(join(folder, 'bag', 'pipe.png'), join(folder, 'bag', 'link.png'))
    expect((await readClassFolders(folder)).images.map(({ path }) => basename(path))).toEqual(['link.png'])
    await expect(readImageFile(join(folder, 'bag', 'link.png'))).rejects.toThrow('it is no file')
    expect(await importLabels(folder, join(folder, 'other'))).toEqual({ imported: 0, there: 0, refused: [] })
  })
})

it('what was half-written is not looked for behind links', async () => {
  const outside = join(folder, 'outside', 'x.0a1b2c3d.tmp')
  await mkdir(join(folder, 'data'))
  await mkdir(join(folder, 'outside'))
  for (const path of [outside, join(folder, 'data', 'x.0a1b2c3d.tmp')]) await writeFile(path, 'half')
  await symlink(join(folder, 'outside'), join(folder, 'data', 'link'))
  await removeHalfWritten(join(folder, 'data'), { recursive: true })
  expect([await exists(outside), await readdir(join(folder, 'data'))]).toEqual([true, ['link']])
})

describe('quarantine', () => {
  async function label(place: string, text: string): Promise<string> {
    await mkdir(join(folder, place), { recursive: true })
    await writeFile(join(folder, place, 'x.png'), text)
    return join(folder, place, 'x.png')
  }
  const aside = () => join(folder, 'quarantine')

  it('keeps the file, by its class, and the reason beside it', async () => {
    const path = await label('labels/bag', 'not an image')
    const target = await quarantine(path, 'not a PNG', aside())
    expect([await exists(path), target]).toEqual([false, join(aside(), 'bag', 'x.png')])
    expect(await readFile(join(aside(), 'bag', 'x.png'), 'utf8')).toBe('not an image')
    expect(await readFile(join(aside(), 'bag', 'x.png.reason.txt'), 'utf8')).toBe('not a PNG\n')
  })

  it('never puts one file in the place of another of the same name', async () => {
    for (const [place, text] of [['labels/bag', 'one'], ['validation/bag', 'two'], ['labels/bag', 'three']] as const) {
      await quarantine(await label(place, text), `why ${text}`, aside())
    }
    const contents = await Promise.all((await files(aside())).map(path => readFile(path, 'utf8')))
    expect(contents.sort()).toEqual(['one', 'three', 'two', 'why one\n', 'why three\n', 'why two\n'])
  })

  it('takes no offence at a file that a person took away meanwhile', async () => {
    expect(await quarantine(join(folder, 'labels', 'bag', 'gone.png'), 'unreadable', aside())).toBeNull()
    expect(await exists(join(aside(), 'bag', 'gone.png.reason.txt'))).toBe(false)
  })
})

describe('reservoir', () => {
  const hourMs = 3_600_000
  type Frame = Stamped & { path: string }
  const at = (camera: string, hour: number, index: number): Frame =>
    ({ path: `${camera}/${String(hour)}/${String(index)}`, camera, capturedAtMs: hour * hourMs + index })
  const hours = (sizes: readonly number[], camera = 'belt') => sizes.flatMap((size, hour) => Array.from({ length: size }, (_, index) => at(camera, hour, index)))

  /** How often each frame is drawn in so many draws. */
  function drawn(frames: Frame[], count: number, times: number): number[] {
    const random = new Random(3)
    const seen = new Map(frames.map(({ path }) => [path, 0]))
    for (let time = 0; time < times; time++) {
      for (const { path } of reservoir(frames, count, () => random.float())) seen.set(path, (seen.get(path) ?? 0) + 1)
    }
    return [...seen.values()]
  }

  const expectAbout = (counts: number[], times: number, chance: number) => {
    for (const count of counts) expect(Math.abs(count - times * chance)).toBeLessThan(5 * Math.sqrt(times * chance * (1 - chance)))
  }

  it('gives as many frames as it may, each once, and all of them where there are fewer', () => {
    fc.assert(fc.property(fc.array(fc.nat(12), { maxLength: 8 }), fc.nat(50), fc.nat(), (sizes, count, seed) => {
      const random = new Random(seed)
      const frames = hours(sizes)
      const chosen = reservoir(frames, count, () => random.float())
      expect(chosen).toHaveLength(Math.min(count, frames.length))
      expect(new Set(chosen).size).toBe(chosen.length)
      for (const frame of chosen) expect(frames).toContain(frame)
    }))
  })

  it('is the same again from the same seed', () => {
    const draw = () => { const random = new Random(5); return reservoir(hours([9, 9, 9]), 8, () => random.float()) }
    expect(draw()).toEqual(draw())
  })

  it('draws every frame of a camera and hour equally often', () => {
    expectAbout(drawn(hours([40]), 10, 4000), 4000, 0.25)
    expectAbout(drawn([...hours([10, 10], 'belt'), ...hours([10, 10], 'door')], 12, 4000), 4000, 0.3)
  })

  it('draws as much from a quiet hour as from a busy one, and all of it where that is not enough', () => {
    const counts = drawn(hours([4, 20, 400]), 30, 1500)
    expect(counts.slice(0, 4)).toEqual([1500, 1500, 1500, 1500])
    expectAbout(counts.slice(4, 24), 1500, 13 / 20)
    expectAbout(counts.slice(24), 1500, 13 / 400)
  })

  it('passes over no hour for good, not even when there are more hours than frames to draw', () => {
    expectAbout(drawn(hours([1, 2, 5, 5, 5, 50]), 3, 4000).slice(0, 1), 4000, 0.5)
    expectAbout(drawn(hours([3, 3, 3, 3, 3, 3, 3]), 5, 4000), 4000, 5 / 21)
  })
})
