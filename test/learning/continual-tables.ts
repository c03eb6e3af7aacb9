/** Tables of what became of the models. */
import { tabled } from '../bench/table.js'
import type { ContinualResult, ContinualRound } from './continual.js'
import { grouped, mean, spread } from './script.js'

/** A new model in service is worse by more than noise where this many rounds together would say so of an equal one in 1 of 20 stories. */
const worseAlpha = 0.05

/** One row a way of upkeep, over all its seeds; then accuracy round by round. In per cent of pictures of the time, unless named otherwise. */
export function rendered(results: readonly ContinualResult[]): string[] {
  const groups = grouped(results, ({ upkeep, steps, choose }) => `${upkeep}, ${String(steps)} steps${choose ? ', to choose by' : ''}`)
  const summary = [...groups].map(([name, runs]) => {
    const rounds = runs.flatMap(run => run.rounds.slice(1))
    const changes = runs.flatMap(run => recoveries(run.rounds))
    const recovered = changes.filter(taken => taken !== null)
    const taught = runs.flatMap(run => run.rounds).map(countedIn).filter(({ used }) => used > 0)
    const { used, right } = countedIn({ pseudoLabels: taught })
    return {
      upkeep: name, seeds: runs.length,
      mean: percent(mean(rounds.map(({ accuracy }) => accuracy))),
      spread: percent(spread(runs.map(run => mean(run.rounds.slice(1).map(({ accuracy }) => accuracy))))),
      'first domain at the end': percent(mean(runs.map(run => run.rounds.at(-1)?.first ?? Number.NaN))),
      'lost of it': percent(mean(runs.map(run => (run.rounds[0]?.first ?? Number.NaN) - (run.rounds.at(-1)?.first ?? Number.NaN)))),
      refused: (rounds.filter(({ trained, promoted }) => trained && !promoted).length / runs.length).toFixed(1),
      worse: runs.map(run => worseRounds(run.rounds)).join(' '),
      recovered: `${String(recovered.length)} of ${String(changes.length)}`,
      'in rounds': recovered.length ? mean(recovered).toFixed(1) : null,
      'right of pseudo-labels': used > 0 ? percent(right / used) : null,
      'least of a round': used > 0 ? percent(Math.min(...taught.map(round => round.right / round.used))) : null,
    }
  })
  const byRound = [...groups].map(([name, runs]) => ({
    upkeep: name,
    ...Object.fromEntries((runs[0]?.rounds ?? []).map(({ round }, index) => [
      `r${String(round)}`, percent(mean(runs.map(run => run.rounds[index]?.accuracy ?? Number.NaN))),
    ])),
  }))
  return [...tabled(summary), '', ...tabled(byRound)]
}

/** Rounds after which the model in service was worse than before by more than noise. */
export function worseRounds(rounds: readonly ContinualRound[]): number {
  return rounds.filter(({ worseP }) => worseP < worseAlpha / rounds.length).length
}

/** For each change that cost at least 5 points: rounds until the accuracy is back to 5 points below what it was; null: never in this story. */
export function recoveries(rounds: readonly ContinualRound[]): (number | null)[] {
  return rounds.flatMap(({ before }, index) => {
    const target = (rounds[index - 1]?.accuracy ?? Number.NaN) - 0.05
    if (before === null || !(before < target)) return []
    const found = rounds.slice(index).findIndex(({ accuracy }) => accuracy >= target)
    return [found < 0 ? null : found + 1]
  })
}

/** Pseudo-labels that counted in a round, and how many of them were right. */
function countedIn({ pseudoLabels }: { pseudoLabels: readonly { used: number; right: number }[] }): { used: number; right: number } {
  return pseudoLabels.reduce((sum, { used, right }) => ({ used: sum.used + used, right: sum.right + right }), { used: 0, right: 0 })
}

function percent(share: number): string {
  return (100 * share).toFixed(1)
}
