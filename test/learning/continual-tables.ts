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
    const { rounds, changes, recovered, refused, pseudoLabels } = storyOf(runs)
    return {
      upkeep: name, seeds: runs.length,
      mean: percent(mean(rounds.map(({ accuracy }) => accuracy))),
      spread: percent(spread(runs.map(run => mean(run.rounds.slice(1).map(({ accuracy }) => accuracy))))),
      'first domain at the end': percent(mean(runs.map(run => run.rounds.at(-1)?.first ?? Number.NaN))),
      'lost of it': percent(mean(runs.map(run => (run.rounds[0]?.first ?? Number.NaN) - (run.rounds.at(-1)?.first ?? Number.NaN)))),
      refused: refused.toFixed(1),
      worse: runs.map(run => worseRounds(run.rounds)).join(' '),
      recovered: `${String(recovered.length)} of ${String(changes)}`,
      'in rounds': recovered.length ? mean(recovered).toFixed(1) : null,
      'right of pseudo-labels': pseudoLabels && percent(pseudoLabels.right),
      'least of a round': pseudoLabels && percent(pseudoLabels.least),
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

/** What one way of upkeep did in all rounds but the first, over its seeds. */
export function storyOf(runs: readonly ContinualResult[]) {
  const rounds = runs.flatMap(run => run.rounds.slice(1))
  const changes = runs.flatMap(run => recoveries(run.rounds))
  return {
    rounds,
    /** Changes that cost at least 5 points, and for those that were recovered from, the rounds that it took. */
    changes: changes.length,
    recovered: changes.filter(taken => taken !== null),
    /** Challengers refused in a story. */
    refused: rounds.filter(({ trained, promoted }) => trained && !promoted).length / runs.length,
    /** Of those that counted, the first round's too; the least is of a round. */
    pseudoLabels: rightOf(runs.flatMap(run => run.rounds).map(({ pseudoLabels }) => counted(pseudoLabels))),
  }
}

/** Pseudo-labels that counted, and how many of them were right, over the looks of a round. */
export function counted(looks: readonly { used: number; right: number }[]): { used: number; right: number } {
  return { used: looks.reduce((sum, { used }) => sum + used, 0), right: looks.reduce((sum, { right }) => sum + right, 0) }
}

/** Shares of pseudo-labels that are right, of all and of the worst part of which any counted; null where none counted. */
export function rightOf(parts: readonly { used: number; right: number }[]): { right: number; least: number } | null {
  const some = parts.filter(({ used }) => used > 0)
  const { used, right } = counted(some)
  return used === 0 ? null : { right: right / used, least: Math.min(...some.map(part => part.right / part.used)) }
}

function percent(share: number): string {
  return (100 * share).toFixed(1)
}
