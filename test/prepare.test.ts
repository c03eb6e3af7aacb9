/** What a round knows before its transformer learns, of photographs of five classes with ten labels each. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { bundled } from '../agent/config.js'
import type { LabeledImage, RoundEvent } from '../trainer/contract.js'
import { loadImages } from '../trainer/data/load.js'
import { argMax, labelsOf } from '../trainer/evidence.js'
import { closedGate } from '../trainer/gate/pseudo-label-gate.js'
import { presets } from '../trainer/model/presets.js'
import { prepare, remaining, type Preparation } from '../trainer/prepare.js'
import { recipes, type Recipe } from '../trainer/recipe.js'
import type { RoundImages } from '../trainer/round.js'
import { Turns } from '../trainer/turns.js'
import { undisturbed as turns } from './ordinary.js'

const classes = ['ankle-boot', 'bag', 'dress', 'pullover', 'trouser']
let data: RoundImages
/** Classes of the frames, which nobody is told. */
let truth: number[]
let result: Preparation
const heard: Heard = { events: [], pseudoLabels: [] }

beforeAll(async () => {
  const imagesOf = async (part: 'labeled' | 'validation', from: number, to?: number) => (await Promise.all(classes.map(async label =>
    (await readdir(join(bundled(part), label))).sort().slice(from, to)
      .map((name): LabeledImage => ({ path: join(bundled(part), label, name), label }))))).flat()
  const load = <Item>(items: readonly Item[], pathOf: (item: Item) => string) => loadImages(items, pathOf, presets.nano.size, turns)
  const pathOf = ({ path }: LabeledImage) => path
  const frames = await imagesOf('validation', 20)
  data = {
    classes, labeled: await load(await imagesOf('labeled', 0), pathOf), gate: await load(await imagesOf('validation', 0, 20), pathOf),
    unlabeled: await load(frames.map(pathOf), path => path), unreadable: [], leaked: [],
  }
  truth = labelsOf(frames, classes)
  result = await prepared({}, data, heard)
})

interface Heard {
  events: RoundEvent[]
  pseudoLabels: (readonly [path: string, label: string])[]
}

function prepared(changes: Partial<Recipe> = {}, images: RoundImages = data, ear: Heard = { events: [], pseudoLabels: [] }): Promise<Preparation> {
  return prepare(images, {
    recipe: { ...recipes.pawl, ...changes }, preset: 'nano', seed: 1, gate: closedGate(13), dictionary: null, limitMs: null, turns,
    onEvent: event => { ear.events.push(event) }, onPseudoLabels: (_, labels) => { ear.pseudoLabels.push(...labels) },
  })
}

/** Class of each image of a part of the pool. */
function believed({ beliefs }: Preparation, from: number, count: number): number[] {
  return Array.from({ length: count }, (_, row) => argMax([...beliefs.subarray((from + row) * classes.length, (from + row + 1) * classes.length)]))
}

const share = (named: readonly number[], labels: readonly number[]) => named.filter((label, row) => label === labels[row]).length / labels.length

describe('the preparation', () => {
  it('believes of every image, in its place, what it is mostly; the gate lets the frames teach, and whoever listens hears which', () => {
    const [labeled, gate] = [data.labeled.items.length, data.gate.items.length]
    expect(share(believed(result, 0, labeled), labelsOf(data.labeled.items, classes))).toBe(1)
    expect(share(believed(result, labeled, gate), labelsOf(data.gate.items, classes))).toBeGreaterThan(0.8)
    expect(share(believed(result, labeled + gate, truth.length), truth)).toBeGreaterThan(0.8)
    expect(heard.events).toEqual([{ type: 'gate', look: result.decision?.look }])
    expect(result).toMatchObject({ decision: { look: { step: 0, open: true } }, frames: data.unlabeled.items, taught: truth.length })
    const labelOf = new Map(data.unlabeled.items.map((path, index) => [path, classes[truth[index] ?? 0]]))
    expect(heard.pseudoLabels.length).toBeGreaterThan(truth.length / 3)
    expect(heard.pseudoLabels.length).toBeLessThan(truth.length)
    expect(heard.pseudoLabels.filter(([path, label]) => labelOf.get(path) === label).length / heard.pseudoLabels.length).toBeGreaterThan(0.9)
  })

  it('tells what it judges nothing of the labels that judge it', async () => {
    const lied = { ...data, gate: { ...data.gate, items: data.gate.items.map(({ path }, index) => ({ path, label: classes[index % classes.length] ?? '' })) } }
    const other = await prepared({}, lied)
    expect(Buffer.compare(Buffer.from(other.beliefs.buffer), Buffer.from(result.beliefs.buffer))).toBe(0)
    expect(Buffer.compare(Buffer.from(other.dictionary.buffer), Buffer.from(result.dictionary.buffer))).toBe(0)
    // With those labels the gate stays shut, and the frames teach nothing.
    expect(other).toMatchObject({ decision: { look: { open: false } }, taught: 0 })
    expect(other.shortcut).not.toEqual(result.shortcut)
  })

  it('asks no frames where pseudo-labels are off, or where there are too few', async () => {
    const few = { ...data, unlabeled: { ...data.unlabeled, items: data.unlabeled.items.slice(0, 9), pixels: data.unlabeled.pixels.slice(0, 9) } }
    for (const unasked of [await prepared({ gate: 'never' }), await prepared({}, few)]) {
      expect([unasked.beliefs.length, unasked.decision, unasked.taught]).toEqual([0, null, 0])
      expect(unasked.shortcut.some(value => value !== 0)).toBe(true)
    }
  })

  it('without the neighbours believes the linear classifier', async () => {
    const alone = await prepared({ neighbours: false })
    expect(alone.beliefs).not.toEqual(result.beliefs)
    expect(share(believed(alone, data.labeled.items.length + data.gate.items.length, truth.length), truth)).toBeGreaterThan(0.8)
  })

  it('ends where it is told to', async () => {
    const controller = new AbortController()
    const ending = prepare(data, {
      recipe: recipes.pawl, preset: 'nano', seed: 1, gate: closedGate(13), dictionary: null, limitMs: null, turns: new Turns({ signal: controller.signal }),
      onEvent: () => { controller.abort() },
    })
    await expect(ending).rejects.toThrow('aborted')
  })
})

it('an interrupted round goes on with what was believed of the frames that are still there, and not with new ones', () => {
  const places = [0, 2, 5]
  const [items, pixels] = [places.map(place => data.unlabeled.items[place] ?? ''), places.map(place => data.unlabeled.pixels[place] as Uint8Array)]
  const now = { ...data, unlabeled: { ...data.unlabeled, items: ['new.png', ...items], pixels: [new Uint8Array(pixels[0]!.length), ...pixels] } }
  const left = remaining({ ...result, learned: null }, now)
  expect([left.data.unlabeled.items, left.data.unlabeled.pixels, left.prepared.frames]).toEqual([items, pixels, items])
  const before = data.labeled.items.length + data.gate.items.length
  const rowOf = ({ beliefs }: Preparation, row: number) => beliefs.slice((before + row) * classes.length, (before + row + 1) * classes.length)
  places.forEach((place, row) => { expect(rowOf(left.prepared, row)).toEqual(rowOf(result, place)) })
  expect(left.prepared.beliefs.slice(0, before * classes.length)).toEqual(result.beliefs.slice(0, before * classes.length))
  expect(left.prepared).toMatchObject({ decision: result.decision, taught: result.taught })
})
