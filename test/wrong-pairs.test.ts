/** Challengers that must not be promoted, or must, and data that must not be learned from: real rounds on real images. */
import { copyFile, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundled } from '../agent/config.js'
import { decide, type Verdict } from '../agent/rounds/promotion.js'
import { Random, train, type LabeledImage, type RoundEvent, type RoundResult, type RoundSpec } from '../trainer/index.js'
import { ordinary } from './ordinary.js'

const [boot, bag, trouser] = ['ankle-boot', 'bag', 'trouser'] as const
let folder = ''
let data: Pick<RoundSpec, 'labeled' | 'gate' | 'promotion' | 'unlabeled'> = { labeled: [], gate: [], promotion: [], unlabeled: [] }
let champion: RoundResult

async function someOf(part: 'labeled' | 'validation', from: number, count: number): Promise<LabeledImage[]> {
  const each = await Promise.all([boot, bag, trouser].map(async label => {
    const names = (await readdir(join(bundled(part), label))).sort().slice(from, from + count)
    return names.map(name => ({ path: join(bundled(part), label, name), label }))
  }))
  return each.flat()
}

/** Two steps on labels alone, from scratch: the classifier that is fitted to them does the rest. */
function round(name: string, changes: Partial<RoundSpec> = {}, onEvent: (event: RoundEvent) => void = () => undefined): Promise<RoundResult> {
  return train({
    ...ordinary, ...data, unlabeled: [], out: join(folder, name), seed: 5, steps: 2, lanes: 1, ...changes,
  }, { signal: new AbortController().signal, onEvent })
}

/** As if one had met the other: both predicted the same promotion images. */
function judge(challenger: RoundResult, serving: RoundResult): Verdict {
  const random = new Random(1)
  expect(challenger.evidence.labels).toEqual(serving.evidence.labels)
  const evidence = { ...challenger.evidence, champion: serving.evidence.challenger }
  return decide(evidence, { alpha: 0.05, attempt: 1, refreshMargin: 0, random: () => random.float() })
}

const relabeled = (as: Record<string, string>) => data.labeled.map(image => ({ ...image, label: as[image.label] ?? image.label }))

const shuffled = <T extends { label: string }>(images: readonly T[], seed: number): T[] => {
  const order = new Random(seed).permutation(images.length)
  return images.map((image, index) => ({ ...image, label: images[order[index] ?? 0]?.label ?? image.label }))
}

/** A copy as PNG under another name; `changed`: one pixel of it is another. */
async function copyOf(path: string, name: string, changed: boolean): Promise<string> {
  const { data: pixels, info: { width, height, channels } } = await sharp(path).raw().toBuffer({ resolveWithObject: true })
  if (changed) pixels[0] = (pixels[0] ?? 0) ^ 1
  const copy = join(folder, name)
  await sharp(pixels, { raw: { width, height, channels } }).png({ compressionLevel: 1 }).toFile(copy)
  return copy
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-wrong-'))
  const unlabeled = (await readdir(bundled('unlabeled'))).sort().slice(0, 60).map(name => join(bundled('unlabeled'), name))
  data = { labeled: await someOf('labeled', 0, 10), gate: await someOf('validation', 0, 10), promotion: await someOf('validation', 10, 20), unlabeled }
  champion = await round('champion')
  const { evidence } = champion
  expect(evidence.challenger.predicted.filter((label, index) => label === evidence.labels[index]).length).toBeGreaterThan(45)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('a wrong challenger', () => {
  it('that was taught noise is refused as worse', async () => {
    const verdict = judge(await round('noise', { labeled: shuffled(data.labeled, 3) }), champion)
    expect(verdict).toMatchObject({ promoted: false, reason: 'regressed' })
  })

  it('that never says one class is refused as worse at that class, although it is better in all', async () => {
    // The champion takes boots for bags and bags for boots; the challenger knows both, and no trousers.
    const swapped = await round('swapped', { labeled: relabeled({ [boot]: bag, [bag]: boot }) })
    const challenger = await round('collapsed', { labeled: relabeled({ [trouser]: boot }), gate: data.gate.filter(({ label }) => label !== trouser) })
    expect(challenger.evidence.classes).toEqual([boot, bag, trouser])
    expect(challenger.evidence.challenger.predicted).not.toContain(2)
    const verdict = judge(challenger, swapped)
    expect(verdict).toMatchObject({ promoted: false, reason: 'class-regressed' })
    expect(verdict.comparison.p).toBeLessThan(0.05)
    expect(verdict.explanation).toContain(`"${trouser}"`)
  })

  it('whose gate images leaked is judged by the promotion images alone', async () => {
    // Learned by heart, wrong labels and all, so that the gate split finds it perfect; one pixel hides the copies.
    const gate = shuffled(data.gate, 4)
    const labeled = await Promise.all(gate.map(async ({ path, label }, index) => ({ path: await copyOf(path, `heart-${String(index)}.png`, true), label })))
    const challenger = await round('by-heart', { labeled, gate })
    expect(challenger.card.validation.accuracy).toBeGreaterThan(0.9)
    expect(judge(challenger, champion)).toMatchObject({ promoted: false, reason: 'regressed' })
  })
})

describe('a class that the champion cannot name', () => {
  const decided = ({ evidence }: RoundResult) => decide(evidence, { alpha: 0.05, attempt: 1, refreshMargin: 0, random: () => 0.5 })

  it('comes into service with four images to judge it by, unless the others are forgotten for it', async () => {
    const known = <T extends { label: string }>(images: readonly T[]) => images.filter(({ label }) => label !== bag)
    const promotion = [...known(data.promotion), ...data.promotion.filter(({ label }) => label === bag).slice(0, 4)]
    await round('of-two', { labeled: known(data.labeled), gate: known(data.gate), promotion })
    const against = { promotion, champion: { version: 1, folder: join(folder, 'of-two') } }
    const [grown, forgetful] = [await round('grown', against), await round('forgetful', { ...against, labeled: shuffled(data.labeled, 3) })]
    expect(grown.evidence.champion?.unnamed).toEqual([1])
    expect(grown.evidence.challenger.unnamed).toBeUndefined()
    expect(decided(grown)).toMatchObject({
      promoted: true, reason: 'better', explanation: expect.stringMatching(/\d won, \d lost of 44 images, [34] of 4 right of "bag", which the model in service cannot name/) as string,
    })
    expect(decided(forgetful)).toMatchObject({ promoted: false, reason: 'regressed' })
  })
})

describe('an image that judges', () => {
  it('refuses the round where all labels of a class are such', async () => {
    const [judging] = data.gate.filter(({ label }) => label === boot)
    const labeled = [...data.labeled.filter(({ label }) => label !== boot), ...judging ? [judging] : []]
    const error = await round('all-leaked', { labeled }).catch((cause: unknown) => cause)
    const message = `of ${boot}, no label is left that can be read and does not judge as well, as ${judging?.path ?? ''} does, the same picture as ${judging?.path ?? ''}; add others`
    expect(error).toMatchObject({ name: 'RoundError', reason: 'labels', message })
  })

  it('is not learned from, as a label of any name or as a frame; the round goes on with the others, and tells which labels; a labeled frame may stay', async () => {
    await mkdir(join(folder, 'frames'))
    const judging = [data.gate[0], data.promotion[0]].filter(image => image !== undefined)
    const frames = await Promise.all([...judging, data.labeled[0]].map(async image => {
      const copy = join(folder, 'frames', `frame-${basename(image?.path ?? '')}`)
      await copyFile(image?.path ?? '', copy)
      return copy
    }))
    const labels = await Promise.all(judging.map(async ({ path, label }, index) => ({ path: await copyOf(path, `copy-${String(index)}.png`, false), label })))
    const told: RoundEvent[] = []
    const { card, quarantined } = await round('left-out', {
      method: 'mae-finetune', labeled: [...data.labeled, ...labels], unlabeled: [...data.unlabeled, ...frames],
    }, event => { if (event.type === 'leaked' || event.type === 'quarantine') told.push(event) })
    expect(card.data).toMatchObject({ labeled: 30, unlabeled: 61, quarantined: 0, leaked: 2 })
    expect(quarantined).toEqual(labels.map(({ path }, index) => ({
      path, reason: `it is the same picture as ${judging[index]?.path ?? ''}, which judges`,
    })))
    // Once, however many there are.
    const pairs = labels.map(({ path }, index) => `${path} (${judging[index]?.path ?? ''})`).join(', ')
    expect(told).toEqual([{
      type: 'leaked', labels: 2,
      message: `labels are left out that are the same picture as one that judges: ${pairs}; what was learned from proves nothing: remove one of each two`,
    }])
  })
})
