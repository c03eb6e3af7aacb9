/** A site that changes: twelve rounds of photographs, each in the light, turn, blur, noise and mix of classes of its time. */
import { access, mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { classes, readPhotographs, side, type Photograph } from '../../fixtures/dataset.js'
import type { LabeledImage } from '../../trainer/contract.js'
import { Random } from '../../trainer/data/random.js'

/** How pictures of a time look. */
export interface Domain {
  name: string
  /** Brightness against the original. */
  light: number
  /** Degrees, clockwise. */
  turn: number
  /** Deviation of the blur, in pixels; 0: none. */
  blur: number
  /** Deviation of the sensor's noise, in grey levels of 255. */
  noise: number
  /** How often each class is seen against the others [C]; 0: not at all. */
  mix: readonly number[]
  /** Somebody labels some pictures of this time: it is the first of its kind. */
  labels: boolean
}

const [nine, ten] = [classes.map((_, label) => (label < 9 ? 1 : 0)), classes.map(() => 1)]
const footwear = ['sandal', 'sneaker', 'bag']
const skewed = classes.map((name, label) => (label === 9 ? 0 : footwear.includes(name) ? 4 : 1))
const day: Domain = { name: 'day', light: 1, turn: 0, blur: 0, noise: 0, mix: nine, labels: true }

/** The site's year: most changes last, as a camera that was knocked stays turned. */
export const story: readonly Domain[] = [
  day,
  { ...day, labels: false },
  { ...day, name: 'dusk', light: 0.4 },
  { ...day, name: 'dusk', light: 0.4, labels: false },
  { ...day, name: 'turned', turn: 35 },
  { ...day, name: 'turned', turn: 35, labels: false },
  { ...day, name: 'turned, blurred', turn: 35, blur: 1.3 },
  { ...day, name: 'turned, noise', turn: 35, noise: 30 },
  { ...day, name: 'turned, noise, other mix', turn: 35, noise: 30, mix: skewed },
  { ...day, name: 'turned, ankle boots', turn: 35, mix: ten },
  { ...day, name: 'turned, ankle boots', turn: 35, mix: ten, labels: false },
  { ...day, name: 'turned back, dusk, blurred, noise', light: 0.5, turn: -30, blur: 0.8, noise: 15, mix: ten },
]

export interface Scene {
  domain: Domain
  /** What a person labels at this time, already divided as the agent would; empty where nobody does. */
  labeled: LabeledImage[]
  gate: LabeledImage[]
  promotion: LabeledImage[]
  /** What the camera stores; the classes are for whoever measures. */
  frames: LabeledImage[]
  /** What the models are measured on, by all classes seen so far. */
  test: LabeledImage[]
}

export interface StreamOptions {
  folder: string
  seed: number
  /** Frames and test images a round. */
  frames: number
  tests: number
  /** The test images come from the training file: for choices. */
  choose: boolean
}

/** Of each class at the first round, and at every later change. */
const labels = { first: { labeled: 10, gate: 15, promotion: 15 }, later: { labeled: 6, gate: 2, promotion: 4 } } as const

/** Files written at once. */
const atOnce = 100

/** The whole story as files; no photograph is used twice. */
export async function streamOf({ folder, seed, frames, tests, choose }: StreamOptions): Promise<Scene[]> {
  const train = new Deck(await readPhotographs('train'), Random.of(seed, 20))
  const test = choose ? train : new Deck(await readPhotographs('t10k'), Random.of(seed, 21))
  const scenes: Scene[] = []
  for (const [index, domain] of story.entries()) {
    const place = join(folder, String(index + 1))
    const { labeled, gate, promotion } = index === 0 ? labels.first : labels.later
    const ofEach = (count: number) => domain.mix.flatMap((share, label) => (domain.labels && share > 0 ? train.deal(label, count) : []))
    const ofMix = (deck: Deck, count: number) => {
      const whole = domain.mix.reduce((sum, share) => sum + share, 0)
      return domain.mix.flatMap((share, label) => deck.deal(label, Math.round((count * share) / whole)))
    }
    const parts = Object.entries({
      labeled: ofEach(labeled), gate: ofEach(gate), promotion: ofEach(promotion), frames: ofMix(train, frames), test: ofMix(test, tests),
    })
    const images = Object.fromEntries(parts.map(([part, dealt]) => [part, dealt.map(photograph => imageOf(join(place, part), photograph))]))
    if (!await access(place).then(() => true, () => false)) {
      const fresh = `${place}.new`
      for (const [part, photographs] of parts) {
        for (const name of classes) await mkdir(join(fresh, part, name), { recursive: true })
        for (let start = 0; start < photographs.length; start += atOnce) {
          await Promise.all(photographs.slice(start, start + atOnce).map(async photograph => {
            const picture = await seen(photograph, domain, Random.of(seed, 22, index, photograph.index))
            await writeFile(imageOf(join(fresh, part), photograph).path, picture)
          }))
        }
      }
      await rename(fresh, place)
    }
    scenes.push({ domain, ...images as Omit<Scene, 'domain'> })
  }
  return scenes
}

/** Photographs in a shuffled pile for each class, from which each is dealt once. */
export class Deck {
  private readonly piles: Photograph[][]

  constructor(photographs: readonly Photograph[], random: Random) {
    const order = [...random.permutation(photographs.length)].map(index => photographs[index] as Photograph)
    this.piles = classes.map((_, label) => order.filter(photograph => photograph.label === label))
  }

  deal(label: number, count: number): Photograph[] {
    const dealt = this.piles[label]?.splice(0, count) ?? []
    if (dealt.length < count) throw new Error(`there are no photographs of "${classes[label] ?? ''}" left: ask for fewer frames or tests a round`)
    return dealt
  }
}

function imageOf(folder: string, { index, label }: Photograph): LabeledImage {
  const name = classes[label] ?? ''
  return { path: join(folder, name, `${String(index).padStart(5, '0')}.png`), label: name }
}

/** The photograph as the camera of that time saw it, as PNG. */
async function seen({ pixels }: Photograph, { light, turn, blur, noise }: Domain, random: Random): Promise<Buffer> {
  const raw = { width: side, height: side, channels: 1 } as const
  let image = sharp(pixels, { raw })
  if (turn !== 0) {
    const turned = await image.rotate(turn, { background: '#000' }).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true })
    const edge = Math.floor((turned.info.width - side) / 2)
    image = sharp(turned.data, { raw: { width: turned.info.width, height: turned.info.height, channels: turned.info.channels } })
      .extract({ left: edge, top: edge, width: side, height: side })
  }
  if (blur > 0) image = image.blur(blur)
  const plain = await image.toColourspace('b-w').raw().toBuffer({ resolveWithObject: true })
  const grey = Buffer.alloc(side ** 2)
  for (let at = 0; at < grey.length; at++) {
    const value = (plain.data[at * plain.info.channels] ?? 0) * light + (noise > 0 ? noise * random.normal() : 0)
    grey[at] = Math.max(0, Math.min(255, Math.round(value)))
  }
  return sharp(grey, { raw }).png().toBuffer()
}
