/** Models that were made elsewhere, judged by a round that learns nothing: real models on real images. */
import { createHash } from 'node:crypto'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundled } from '../../agent/config.js'
import { decide } from '../../agent/rounds/promotion.js'
import { train, type LabeledImage, type ModelCard, type RoundResult, type RoundSpec } from '../../trainer/index.js'
import { readLearned } from '../../trainer/data/learned.js'
import { readSafetensors, safetensorsMetadata, writeSafetensors } from '../../trainer/export/safetensors.js'
import { ordinary } from '../ordinary.js'

const classes = ['ankle-boot', 'bag', 'trouser']
let folder = ''
/** What the other box has, and what this one has: they share the first of the promotion images. */
let there: Pick<RoundSpec, 'labeled' | 'gate' | 'promotion'>
let here: Pick<RoundSpec, 'labeled' | 'gate' | 'promotion'>
let made: RoundResult

async function someOf(part: 'labeled' | 'validation', from: number, count: number): Promise<LabeledImage[]> {
  const each = await Promise.all(classes.map(async label => (await readdir(join(bundled(part), label))).sort().slice(from, from + count)
    .map(name => ({ path: join(bundled(part), label, name), label }))))
  return each.flat()
}

/** A round that hands on what its champion learned from: what it learns itself does not matter. */
const handsOn = { steps: 1, switches: { shortcut: false, neighbours: false } } as const

function round(name: string, changes: Partial<RoundSpec>): Promise<RoundResult> {
  return train({
    ...ordinary, ...here, unlabeled: [], out: join(folder, name), seed: 5, steps: 2, lanes: 1, ...changes,
  }, { signal: new AbortController().signal, onEvent: () => undefined })
}

/** A copy of what the other box gives, changed, with a card that names the weights as they are then. */
async function givenWith(name: string, change: (at: string) => Promise<unknown>): Promise<string> {
  const at = join(folder, name)
  await cp(join(folder, 'there'), at, { recursive: true })
  await change(at)
  const weights = createHash('sha256').update(await readFile(join(at, 'weights.safetensors'))).digest('hex')
  await rewrite(at, card => ({ ...card, files: { ...card.files, 'weights.safetensors': weights } }))
  return at
}

async function rewrite(at: string, changed: (card: ModelCard) => object): Promise<void> {
  const path = join(at, 'card.json')
  await writeFile(path, JSON.stringify(changed(JSON.parse(await readFile(path, 'utf8')) as ModelCard)))
}

/** Its weights once more, with other metadata, and what `spoil` does to them. */
async function reweigh(
  at: string, metadata: (former: Record<string, string>) => Record<string, string>, spoil: (flat: Float32Array) => unknown = () => undefined,
): Promise<void> {
  const path = join(at, 'weights.safetensors')
  const file = await readFile(path)
  const tensors = [...readSafetensors(file)]
  let end = 0
  const specs = tensors.map(([name, { shape, data }]) => ({ name, shape, offset: (end += data.length) - data.length, size: data.length }))
  const flat = new Float32Array(end)
  for (const [index, { offset }] of specs.entries()) flat.set(tensors[index]?.[1].data ?? [], offset)
  spoil(flat)
  await writeFile(path, writeSafetensors({ specs }, flat, metadata(safetensorsMetadata(file))))
}

/** The same bytes under two names more. */
function overlapping(file: Buffer): Buffer {
  const length = Number(file.readBigUInt64LE())
  const header = JSON.parse(file.toString('utf8', 8, 8 + length)) as Record<string, unknown>
  const [, first] = Object.entries(header).find(([name]) => name !== '__metadata__')!
  const text = Buffer.from(JSON.stringify({ ...header, second: first, third: first }))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([size, text, file.subarray(8 + length)])
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-given-'))
  there = { labeled: await someOf('labeled', 0, 8), gate: await someOf('validation', 0, 10), promotion: await someOf('validation', 10, 10) }
  here = { labeled: await someOf('labeled', 8, 2), gate: await someOf('validation', 35, 5), promotion: await someOf('validation', 15, 20) }
  made = await round('there', there)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const metadataIn = async (name: string) => safetensorsMetadata(await readFile(join(folder, name, 'weights.safetensors')))
const foreignIn = async (name: string) => (await metadataIn(name)).foreign

describe('a model from elsewhere', () => {
  it('carries the fingerprints of all images that taught or judged it, and hands them on to what learns from it', async () => {
    const learnedIn = async (name: string) => new Set(readLearned((await metadataIn(name)).learned))
    const own = await learnedIn('there')
    expect(own.size).toBe(24 + 30 + 30)
    await round('child', { ...handsOn, champion: { version: 1, folder: join(folder, 'there') } })
    const child = await learnedIn('child')
    expect(await foreignIn('child')).toBeUndefined()
    // Fifteen of the promotion images are the same.
    expect(child.size).toBe(84 + (6 + 15 + 60) - 15)
    expect([...own].every(print => child.has(print))).toBe(true)
  })

  it('is built here from its weights, to the same bytes, and judged by the images that it does not know', async () => {
    const given = await givenWith('given', at => writeFile(join(at, 'model.onnx'), 'whatever lies there is not looked at'))
    const { card, evidence, paths } = await round('judged', { given, champion: { version: 1, folder: join(folder, 'there') } })
    expect(card.files).toEqual(made.card.files)
    expect(card.parent).toBeNull()
    expect([evidence.labels.length, evidence.leftOut?.length, evidence.classes]).toEqual([45, 15, classes])
    const known = new Set(there.promotion.map(({ path }) => path))
    expect(paths.filter(path => known.has(path))).toEqual([])
    expect(evidence.challenger).toEqual(evidence.champion)
    expect((await readdir(join(folder, 'judged'))).sort()).toEqual(['card.json', 'model.onnx', 'weights.safetensors'])
    const verdict = decide(evidence, { alpha: 0.05, attempt: 1, refreshMargin: 0.2, given: true, random: () => 0.5 })
    expect(verdict).toMatchObject({ promoted: false, reason: 'inconclusive' })
    expect(verdict.explanation).toContain('15 images were left out, which taught or judged a model that was made elsewhere')
  })

  it('is not judged by images that it owes itself to: where they are all there is, there is no evidence', async () => {
    const { evidence } = await round('own-images', { given: join(folder, 'there'), promotion: there.promotion })
    expect([evidence.labels, evidence.leftOut?.length]).toEqual([[], 30])
    expect(decide(evidence, { alpha: 0.05, attempt: 1, refreshMargin: 0, given: true, random: () => 0.5 })).toMatchObject({ promoted: false, reason: 'no-evidence' })
    const few = await round('few-images', { given: join(folder, 'there'), promotion: (await someOf('validation', 30, 6)) })
    expect(decide(few.evidence, { alpha: 0.05, attempt: 1, refreshMargin: 0, given: true, random: () => 0.5 })).toMatchObject({ promoted: false, reason: 'no-evidence' })
  })

  it('is not judged where the images of a class are all among those: what it lost there nobody would see', async () => {
    const [others, bags] = [(await someOf('validation', 20, 15)).filter(({ label }) => label !== 'bag'), there.promotion.filter(({ label }) => label === 'bag')]
    const { evidence } = await round('emptied', { given: join(folder, 'there'), promotion: [...others, ...bags] })
    const verdict = decide(evidence, { alpha: 0.05, attempt: 1, refreshMargin: 0, given: true, random: () => 0.5 })
    expect(verdict).toMatchObject({ promoted: false, reason: 'no-evidence', explanation: expect.stringContaining('no image of "bag" is left to judge by') as string })
  })

  it('that serves hands on which images must not judge: those that taught or judged it, and what learns from it, judge neither', async () => {
    const champion = { version: 1, folder: join(folder, 'there'), given: true }
    // Ten of its validation images are from there.
    const gate = [...here.gate, ...there.gate.slice(0, 10)]
    const { card, evidence } = await round('heir', { ...handsOn, champion, gate })
    expect([card.data.gate, evidence.labels.length, evidence.leftOut?.length]).toEqual([here.gate.length, 45, 15])
    expect(new Set(readLearned(await foreignIn('heir')))).toEqual(new Set(readLearned((await metadataIn('there')).learned)))
    const next = await round('next-heir', { ...handsOn, champion: { version: 2, folder: join(folder, 'heir') }, gate })
    expect([next.card.data.gate, next.evidence.leftOut?.length, await foreignIn('next-heir')]).toEqual([here.gate.length, 15, await foreignIn('heir')])
    await expect(round('blind', { champion, gate: there.gate })).rejects.toMatchObject({ reason: 'labels', message: expect.stringContaining('every validation image has taught or judged') as string })
  })

  it('whose weights changed on the disk is no fault of the model', async () => {
    const at = join(folder, 'rotten')
    await cp(join(folder, 'there'), at, { recursive: true })
    await writeFile(join(at, 'weights.safetensors'), 'rotten')
    await expect(round('out-rotten', { given: at })).rejects.toMatchObject({ reason: 'crashed', message: expect.stringContaining('are not those that were fetched') as string })
  })

  it('as the first of a box spends alpha too: what is tried often must be better still', async () => {
    const { evidence } = await round('first', { given: join(folder, 'there') })
    const { challenger } = evidence
    // Right on a little more than half of them.
    const predicted = challenger.predicted.map((label, at) => (at % 3 === 0 ? (label + 1) % 3 : label))
    const middling = { ...evidence, challenger: { ...challenger, predicted } }
    const at = (attempt: number) => decide(middling, { alpha: 0.05, attempt, refreshMargin: 0, given: true, random: () => 0.5 })
    expect(at(1)).toMatchObject({ promoted: true, reason: 'first-model' })
    expect(at(10_000)).toMatchObject({ promoted: false, reason: 'below-chance' })
  })

  const unfit: Record<string, [change: (at: string) => Promise<unknown>, why: RegExp]> = {
    'with weights that are no numbers': [at => reweigh(at, same => same, flat => { flat[7] = Number.NaN }), /holds what is no number/],
    'that does not tell what it learned from': [at => reweigh(at, ({ format = '' }) => ({ format })), /does not tell which images it learned from/],
    'that tells nonsense of it': [at => reweigh(at, former => ({ ...former, learned: 'AAAA' })), /does not tell which images it learned from/],
    'with the classes of another': [at => rewrite(at, card => ({ ...card, classes: [...card.classes, 'coat'] })), /the weight ".*" is \[.*\]; nano with 4 classes has/],
    'of another preset than it says': [at => rewrite(at, card => ({ ...card, preset: 'tiny' })), /the weight ".*" is/],
    'with an activation that there is not': [at => rewrite(at, card => ({ ...card, recipe: { activation: 'constructor' } })), /the card's activation is "constructor"/],
    'that answers what is no number': [at => reweigh(at, same => same, flat => { flat.forEach((value, index) => { flat[index] = value * 1e37 }) }), /answers what is no number|holds what is no number/],
    'with tensors on top of one another': [async at => {
      const file = await readFile(join(at, 'weights.safetensors'))
      await writeFile(join(at, 'weights.safetensors'), overlapping(file))
    }, /does not begin where the one before it ends/],
    'with a temperature that is nothing as float32': [at => rewrite(at, card => ({ ...card, temperature: 1e-300 })), /its temperature is 1e-300/],
    'with a temperature of nought': [at => rewrite(at, card => ({ ...card, temperature: 0 })), /its temperature is 0/],
    'that is cut off': [async at => { await writeFile(join(at, 'weights.safetensors'), (await readFile(join(at, 'weights.safetensors'))).subarray(0, 90_000)) }, /beyond the end|longer than its file|JSON/],
    'with a header without end': [at => writeFile(join(at, 'weights.safetensors'), Buffer.alloc(64, 0xff)), /header is longer than its file/],
  }
  for (const [what, [change, why]] of Object.entries(unfit)) {
    it(`${what} is unfit, and says why`, async () => {
      const given = await givenWith(what.replaceAll(' ', '-'), change)
      const error = await round(`out-${what.replaceAll(' ', '-')}`, { given }).catch((cause: unknown) => cause)
      expect(error).toMatchObject({ name: 'RoundError', reason: 'unfit', message: expect.stringMatching(why) as string })
    })
  }
})
