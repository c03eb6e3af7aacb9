/**
 * The promotion gate: whether a finished challenger replaces the champion, from their paired predictions on images that neither
 * learned from. Pure. Whatever is not proved keeps the champion.
 */
import type { PairedEvidence, RoundFailure } from '../../trainer/contract.js'
import {
  clopperPearsonLower, holm, mcnemar, pairedGainLower, pairedPermutation, spentAlpha, wilsonInterval,
} from '../../trainer/index.js'

export type PromotionReason =
  | 'first-model'
  | 'better'
  | 'inconclusive'
  | 'regressed'
  | 'class-regressed'
  | 'likelihood-worse'
  | 'below-chance'
  | 'no-evidence'
  | RoundFailure

/** What the models are worth on the promotion split; the challenger's side alone when there was no champion. */
export interface Comparison {
  images: number
  /** Images that only the challenger, and only the champion, has right. */
  wins: number
  losses: number
  /** Exact one-sided McNemar. */
  p: number
  /** What p had to stay below at this attempt. */
  alpha: number
  /** Looks at this promotion split so far, this one included. */
  attempt: number
  /** 95 % Wilson intervals. */
  intervalChallenger: [number, number]
  intervalChampion: [number, number] | null
  /** One-sided 95 % lower bound of the accuracy gained. */
  gainLowerBound: number
  nllChallenger: number
  nllChampion: number | null
  perClass: { class: string; images: number; challenger: number; champion: number | null; regressionP: number | null }[]
}

/** The whole evidence for a decision, also when the answer is no. */
export interface PromotionRecord {
  round: number
  decidedAtMs: number
  promoted: boolean
  reason: PromotionReason
  /** One sentence for people. */
  explanation: string
  /** Version of the model that was in service; null: none. */
  champion: number | null
  /** Version that the challenger has in the registry; null: the round ended without a model. */
  challenger: number | null
  accuracyChampion: number | null
  accuracyChallenger: number | null
  comparison: Comparison | null
}

export interface PromotionOptions {
  /** Chance of promoting a challenger that is not better, over all attempts on one promotion split. */
  alpha: number
  /** Counts from 1; starts again when the promotion split changes. */
  attempt: number
  /** Uniform in [0, 1), seeded: for the permutation test. */
  random: () => number
}

export interface Verdict {
  promoted: boolean
  reason: PromotionReason
  explanation: string
  comparison: Comparison
}

export function decide(evidence: PairedEvidence, options: PromotionOptions): Verdict {
  const comparison = compare(evidence, options)
  const verdict = (promoted: boolean, reason: PromotionReason, explanation: string): Verdict => ({ promoted, reason, explanation, comparison })
  const { images, wins, losses, p, alpha } = comparison
  const { classes, labels, challenger, champion } = evidence
  if (images === 0) return verdict(false, 'no-evidence', 'there is no readable image to compare on')
  if (!champion) {
    const correct = count(labels.map((label, index) => challenger.predicted[index] === label))
    const lower = clopperPearsonLower(correct, images, options.alpha)
    // The most that one answer for everything would get right.
    const chance = Math.max(...classes.map((_, label) => count(labels.map(actual => actual === label)))) / images
    return lower > chance
      ? verdict(true, 'first-model', `the first model: ${percent(correct / images)} of ${String(images)} promotion images right, surely above the ${percent(chance)} of always naming one class`)
      : verdict(false, 'below-chance', `${percent(correct / images)} of ${String(images)} promotion images right is not surely above the ${percent(chance)} of always naming one class`)
  }
  const score = `${String(wins)} images won, ${String(losses)} lost of ${String(images)} (p = ${p.toPrecision(2)}, needed below ${alpha.toPrecision(2)})`
  const fallen = comparison.perClass.find(({ regressionP }) => regressionP !== null && regressionP < options.alpha)
  if (mcnemar(losses, wins) < options.alpha) return verdict(false, 'regressed', `the challenger is worse: ${score}`)
  if (fallen) return verdict(false, 'class-regressed', `the challenger is worse at "${fallen.class}" (adjusted p = ${(fallen.regressionP ?? 0).toPrecision(2)}): ${score}`)
  const likelihoodP = pairedPermutation(challenger.nll.map((value, index) => value - (champion.nll[index] ?? 0)), options.random)
  if (likelihoodP < options.alpha) return verdict(false, 'likelihood-worse', `the challenger's probabilities are worse (p = ${likelihoodP.toPrecision(2)}): ${score}`)
  return p < alpha
    ? verdict(true, 'better', `the challenger is better: ${score}`)
    : verdict(false, 'inconclusive', `not proved better: ${score}`)
}

function compare({ classes, labels, challenger, champion }: PairedEvidence, { alpha, attempt }: PromotionOptions): Comparison {
  const right = (predictions: { predicted: number[] } | null) => labels.map((label, index) => predictions?.predicted[index] === label)
  const [own, other] = [right(challenger), right(champion)]
  const only = (a: boolean[], b: boolean[], label?: number) =>
    count(labels.map((actual, index) => a[index] === true && b[index] === false && (label === undefined || actual === label)))
  const [wins, losses] = champion ? [only(own, other), only(other, own)] : [0, 0]
  const regressions = champion ? holm(classes.map((_, label) => mcnemar(only(other, own, label), only(own, other, label)))) : null
  return {
    images: labels.length,
    wins,
    losses,
    p: mcnemar(wins, losses),
    alpha: spentAlpha(alpha, attempt),
    attempt,
    intervalChallenger: wilsonInterval(count(own), labels.length),
    intervalChampion: champion ? wilsonInterval(count(other), labels.length) : null,
    gainLowerBound: pairedGainLower(wins, losses, labels.length),
    nllChallenger: mean(challenger.nll),
    nllChampion: champion ? mean(champion.nll) : null,
    perClass: classes.map((name, label) => {
      const of = (hits: boolean[]) => count(hits.filter((_, index) => labels[index] === label))
      return {
        class: name,
        images: count(labels.map(actual => actual === label)),
        challenger: of(own),
        champion: champion ? of(other) : null,
        regressionP: regressions?.[label] ?? null,
      }
    }),
  }
}

/** Accuracy on the promotion split. */
export function accuracyOf({ labels }: PairedEvidence, predictions: { predicted: number[] } | null): number | null {
  return predictions && labels.length ? count(labels.map((label, index) => predictions.predicted[index] === label)) / labels.length : null
}

function count(values: readonly boolean[]): number {
  return values.filter(Boolean).length
}

function mean(values: readonly number[]): number {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : 0
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
