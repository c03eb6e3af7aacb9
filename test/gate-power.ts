/**
 * What the gates' promises cost: how often each opens for a teacher, or promotes a challenger, that deserves it. Prints the tables of
 * trainer/gate/README.md: `npx tsx test/gate-power.ts`.
 */
import { Random } from '../trainer/data/random.js'
import { mcnemar, newClassesP, spentAlpha } from '../trainer/gate/statistics.js'
import { chanceOfPromotion, drawGrown } from './gate/promotions.js'
import { simulate } from './gate/rounds.js'

const rounds = 2000
/** Of the first attempt. */
const alpha = spentAlpha(0.05, 1)
const percent = (share: number) => (100 * share).toFixed(0)

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map(cells => `| ${cells.join(' | ')} |`).join('\n')
}

const precisions = [0.9, 0.93, 0.95, 0.97]
const gates = [
  ...[100, 150, 300, 600].map(images => ({ images, spendthrift: false })), { images: 300, spendthrift: true },
].map(({ images, spendthrift }) => [`${String(images)}${spendthrift ? ', all of alpha at every look' : ''}`, ...precisions.map(precision => {
  const teacher = new Array<number>(7).fill(precision)
  const { openedAtOnce, opened, openLooks } = simulate({ rounds, images, kept: 0.7, teacher: () => teacher, random: new Random(1), spendthrift })
  return `${percent(openedAtOnce / rounds)} / ${percent(opened / rounds)} / ${percent(openLooks / rounds / 13)}`
})])
process.stdout.write(`${table(['gate images', ...precisions.map(precision => `precision ${precision.toFixed(2)}`)], gates)}\n\n`)

const cells = [0.1, 0.2].flatMap(discordance => [0.02, 0.05, 0.08].map(gain => ({ discordance, gain })))
const promotions = [100, 300, 500, 1000].map(images => [String(images), ...cells.map(cell => percent(chanceOfPromotion({ images, ...cell }, alpha)))])
process.stdout.write(`${table(['promotion images', ...cells.map(({ discordance, gain }) => `+${percent(gain)} at ${percent(discordance)} %`)], promotions)}\n`)

const gains = [-0.01, 0, 0.02]
const grown = [[60, 4], [150, 2], [150, 4], [350, 2], [350, 4], [350, 10]].map(([images = 0, fresh = 0]) => [`${String(images)} and ${String(fresh)}`, ...gains.map(gain => {
  const random = new Random(1)
  let [alike, byImage] = [0, 0]
  for (let round = 0; round < rounds; round++) {
    const [shown, share, others] = drawGrown({ images, discordance: 0.1, gain }, { images: fresh, recall: 0.8 }, 0.1, random)
    const exact = mcnemar(shown.right + others.wins, others.losses)
    if (2 * Math.min(exact, newClassesP(shown, share, others)) < alpha) alike++
    if (exact < alpha) byImage++
  }
  return `${percent(alike / rounds)} / ${percent(byImage / rounds)}`
})])
process.stdout.write(`\n${table(['images of nine known classes and of a new one', ...gains.map(gain => `${gain > 0 ? '+' : ''}${percent(gain)} on the known`)], grown)}\n`)
