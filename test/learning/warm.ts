/** Rounds that begin with a champion's weights beside rounds that begin with nothing: at the same number of steps, and so in the same minutes. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { LabeledImage, Start } from '../../trainer/contract.js'
import { Random } from '../../trainer/data/random.js'
import type { Recipe } from '../../trainer/recipe.js'
import { ordinary } from '../ordinary.js'
import { leftOut } from './ablations.js'
import { divided, imageFolder } from './data.js'
import { metricsOn, trained } from './run.js'

/** What the round begins with: nothing, a champion of the same labels, or one that learned from labels mixed up at random. */
export const beginnings = ['scratch', 'good champion', 'bad champion'] as const

export interface WarmKey {
  seed: number
  perClass: number
  /** Of each of the champion's rounds, and of the round. */
  steps: number
  /** Rounds that made the champion, each begun with the model of the one before; absent: one. More than one: none of mixed-up labels is made. */
  before?: number | undefined
  /** What is otherwise than the recipe says, in all of them. */
  switches: Partial<Recipe>
}

interface Made {
  /** On 5,000 of the frames that the round after the champion learns from, whose classes nobody was told. */
  accuracy: number
  /** What the round took of its champion, and how much the transformer counts in its model, as its card says; lines of before do not tell. */
  start?: Start | undefined
  trainedShare?: number | null | undefined
}

export interface WarmRound extends Made {
  beginning: (typeof beginnings)[number]
  /** Accuracy of the champion, and each of the rounds that made it, where the line tells them. */
  champion: number | null
  made?: Made[] | undefined
}

export interface WarmResult extends WarmKey {
  rounds: WarmRound[]
}

/** The champion learns from one half of the frames, the round from the other. */
export async function warmUp(key: WarmKey, images: readonly LabeledImage[], say: (text: string) => void): Promise<WarmResult> {
  const { seed, perClass, steps, before = 1, switches } = key
  const { unlabeled, ...labels } = divided(images, { seed, perClass, validation: 600 })
  const half = Math.floor(unlabeled.length / 2)
  const measured = unlabeled.slice(-5000)
  const place = join(imageFolder, 'warm', [leftOut(switches) ?? 'whole', seed, perClass, steps, before].join('-').replaceAll(' ', '-'))
  interface Learning {
    frames: readonly LabeledImage[]
    labeled?: LabeledImage[]
    champion: string | null
    random?: number
  }
  const learn = async (name: string, { frames, labeled = labels.labeled, champion, random = seed }: Learning) => {
    const out = join(place, name)
    await mkdir(out, { recursive: true })
    const { card } = await trained({
      ...ordinary, ...labels, labeled, unlabeled: frames.map(({ path }) => path), out, seed: random, steps, switches,
      champion: champion === null ? null : { version: 1, folder: join(place, champion) },
    }, () => undefined)
    const { accuracy } = await metricsOn(out, measured)
    say(`  ${name}: ${(100 * accuracy).toFixed(2)} %`)
    return { accuracy, start: card.start, trainedShare: card.trainedShare }
  }
  const order = [...Random.of(seed, 40).permutation(labels.labeled.length)]
  const mixedUp = labels.labeled.map(({ path }, index) => ({ path, label: labels.labeled[order[index] ?? 0]?.label ?? '' }))
  const [former, later] = [unlabeled.slice(0, half), unlabeled.slice(half)]
  /** The rounds of a champion in a row, with other random numbers each. */
  const madeBy = async (labeled: LabeledImage[], nameOf: (round: number) => string) => {
    const made: Made[] = []
    for (let round = 1; round <= before; round++) {
      const champion = round === 1 ? null : nameOf(round - 1)
      made.push(await learn(nameOf(round), { frames: former, labeled, champion, random: seed + 1000 * (round - 1) }))
    }
    return made
  }
  const rounds: WarmRound[] = []
  for (const beginning of beginnings.filter(name => before === 1 || name !== 'bad champion')) {
    const nameOf = (round: number) => `${beginning} ${String(round)}`
    const made = beginning === 'scratch' ? [] : await madeBy(beginning === 'bad champion' ? mixedUp : labels.labeled, nameOf)
    const own = await learn(`from ${beginning}`, { frames: later, champion: made.length === 0 ? null : nameOf(made.length) })
    rounds.push({ beginning, champion: made.at(-1)?.accuracy ?? null, made, ...own })
  }
  await rm(place, { recursive: true, force: true })
  return { ...key, rounds }
}
