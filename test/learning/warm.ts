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
  /** Of the champion and of the round. */
  steps: number
  /** What is otherwise than the recipe says, in all of them. */
  switches: Partial<Recipe>
}

export interface WarmRound {
  beginning: (typeof beginnings)[number]
  /** Accuracy of the champion itself and of the round's model, on 5,000 of the frames, whose classes nobody was told. */
  champion: number | null
  accuracy: number
  /** What the round took of the champion, and how much the transformer counts in its model, as its card says; lines of before do not tell. */
  start?: Start | undefined
  trainedShare?: number | null | undefined
}

export interface WarmResult extends WarmKey {
  rounds: WarmRound[]
}

/** The champion learns from one half of the frames, the round from the other. */
export async function warmUp(key: WarmKey, images: readonly LabeledImage[], say: (text: string) => void): Promise<WarmResult> {
  const { seed, perClass, steps, switches } = key
  const { unlabeled, ...labels } = divided(images, { seed, perClass, validation: 600 })
  const half = Math.floor(unlabeled.length / 2)
  const measured = unlabeled.slice(-5000)
  const place = join(imageFolder, 'warm', [leftOut(switches) ?? 'whole', seed, perClass, steps].join('-').replaceAll(' ', '-'))
  const learn = async (name: string, frames: readonly LabeledImage[], changes: { labeled?: LabeledImage[]; champion?: string }) => {
    const out = join(place, name)
    await mkdir(out, { recursive: true })
    const { card } = await trained({
      ...ordinary, ...labels, ...(changes.labeled ? { labeled: changes.labeled } : {}),
      unlabeled: frames.map(({ path }) => path), out, seed, steps, switches,
      champion: changes.champion === undefined ? null : { version: 1, folder: join(place, changes.champion) },
    }, () => undefined)
    const { accuracy } = await metricsOn(out, measured)
    say(`  ${name}: ${(100 * accuracy).toFixed(2)} %`)
    return { accuracy, start: card.start, trainedShare: card.trainedShare }
  }
  const order = [...Random.of(seed, 40).permutation(labels.labeled.length)]
  const mixedUp = labels.labeled.map(({ path }, index) => ({ path, label: labels.labeled[order[index] ?? 0]?.label ?? '' }))
  const [former, later] = [unlabeled.slice(0, half), unlabeled.slice(half)]
  const champions = {
    scratch: null,
    'good champion': (await learn('good', former, {})).accuracy,
    'bad champion': (await learn('bad', former, { labeled: mixedUp })).accuracy,
  }
  const rounds: WarmRound[] = []
  for (const beginning of beginnings) {
    const champion = champions[beginning]
    const made = await learn(`from ${beginning}`, later, champion === null ? {} : { champion: beginning.split(' ')[0] ?? '' })
    rounds.push({ beginning, champion, ...made })
  }
  await rm(place, { recursive: true, force: true })
  return { ...key, rounds }
}
