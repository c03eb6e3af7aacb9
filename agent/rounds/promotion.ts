/**
 * The promotion gate: whether a finished challenger replaces the champion, from their paired predictions on images that neither
 * learned from. Pure. Whatever is not proved keeps the champion.
 *
 * Images of one scene are right or wrong together, so scenes are what is counted: the tests flip the signs of whole scenes (with one image
 * a scene that is McNemar's), and the bounds take a scene for one image. The flips are exact where two equal models might as well have
 * changed places in every scene. Of classes that the champion cannot name there are few images at first, too few to be proved among the others:
 * it is enough too when such a class, counted as one of all classes however few images show it, is worth more than what is lost (`newClassesP`).
 */
import type { PairedEvidence, RoundFailure } from '../../trainer/contract.js'
import {
  calibrationError, clopperPearsonLower, effectiveImages, holm, newClassesP, normalUpperQuantile, pairedGainScoreLower, pairedPermutation,
  signFlip, spentAlpha, wilsonInterval,
} from '../../trainer/index.js'

export type PromotionReason =
  | 'first-model'
  | 'better'
  | 'refreshed'
  | 'inconclusive'
  | 'regressed'
  | 'class-regressed'
  | 'likelihood-worse'
  | 'below-chance'
  | 'no-evidence'
  /** Passed, but a person has it otherwise, or another model serves by now. */
  | 'held'
  | RoundFailure

/** What the models are worth on the promotion split; the challenger's side alone when there was no champion. */
export interface Comparison {
  images: number
  /** Scenes that the images show; absent in records of before scenes were told apart. */
  scenes?: number | undefined
  /** Images that only the challenger, and only the champion, has right. */
  wins: number
  losses: number
  /** Exact one-sided McNemar, or sign flips by scene where a scene has several images; with classes that the champion cannot name, `betterP`. */
  p: number
  /** Classes that the champion cannot name and images show; absent: none. */
  newClasses?: string[] | undefined
  /** What p had to stay below at this attempt. */
  alpha: number
  /** Looks at this promotion split so far, this one included. */
  attempt: number
  /** 95 % Wilson intervals; scenes of several images count as one. */
  intervalChallenger: [number, number]
  intervalChampion: [number, number] | null
  /** One-sided 95 % lower bound of the accuracy gained (Tango's score interval); scenes of several images count as one. */
  gainLowerBound: number
  nllChallenger: number
  nllChampion: number | null
  /** Expected calibration error; absent in records of earlier versions. */
  eceChallenger?: number | undefined
  eceChampion?: number | null | undefined
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
  /** Where a challenger comes from that was made elsewhere; absent: it was made here. */
  from?: Origin | undefined
}

/** Whether a model was judged: not where the box could not, for want of memory or room, say. */
export function isVerdict({ comparison, reason }: Pick<PromotionRecord, 'comparison' | 'reason'>): boolean {
  return comparison !== null || reason === 'unfit'
}

/** Another box, by the name under which its key is trusted, its version of the model, and the digest of the manifest that it was fetched by. */
export interface Origin {
  box: string
  version: number
  digest: string
}

export interface PromotionOptions {
  /** Chance of promoting a challenger that is not better, or a first model that only guesses, over all attempts on one promotion split. */
  alpha: number
  /** Part of alpha that is spent on challengers of this kind, 0 to 1; what guards against a worse one holds at all of it. */
  share?: number
  /** Counts from 1; starts again when the promotion split changes. */
  attempt: number
  /** Share of the accuracy by which a challenger may be worse that replaces the champion without being better; 0: none does. */
  refreshMargin: number
  /**
   * The challenger was made elsewhere: it must be better (nothing refreshes a model but what learned here), on so many images at least.
   */
  given?: boolean
  /** Uniform in [0, 1), seeded: for the permutation test. */
  random: () => number
}

export interface Verdict {
  promoted: boolean
  reason: PromotionReason
  explanation: string
  comparison: Comparison
}

/** Images on which a model from elsewhere is judged at least. */
const leastForGiven = 20

export function decide(evidence: PairedEvidence, options: PromotionOptions): Verdict {
  const comparison = compare(evidence, options)
  const lacks = lackOf(evidence, options)
  const unjudged = comparison.perClass.filter(({ images: shown }) => shown === 0).map(({ class: name }) => `"${name}"`)
  const leftOut = evidence.leftOut?.length ?? 0
  const verdict = (promoted: boolean, reason: PromotionReason, why: string): Verdict => ({
    promoted, reason, comparison,
    explanation: [
      why,
      ...leftOut > 0 ? [`${String(leftOut)} images were left out, which taught or judged a model that was made elsewhere`] : [],
      ...unjudged.length && images > 0 ? [`nothing judges ${unjudged.join(', ')}: label more of it`] : [],
    ].join('; '),
  })
  const { images, wins, losses, p, alpha } = comparison
  const { classes, labels, challenger, champion } = evidence
  const scenes = scenesOf(evidence)
  if (lacks !== null) return verdict(false, 'no-evidence', lacks)
  if (!champion) {
    const correct = count(labels.map((label, index) => challenger.predicted[index] === label))
    const lower = clopperPearsonLower(correct * scenes.worth, images * scenes.worth, alpha)
    // The most that one answer for everything would get right.
    const chance = Math.max(...classes.map((_, label) => count(labels.map(actual => actual === label)))) / images
    return lower > chance
      ? verdict(true, 'first-model', `the first model: ${percent(correct / images)} of ${String(images)} promotion images right, surely above the ${percent(chance)} of always naming one class`)
      : verdict(false, 'below-chance', `${percent(correct / images)} of ${String(images)} promotion images right is not surely above the ${percent(chance)} of always naming one class`)
  }
  const shown = `${String(images)} images${scenes.count === images ? '' : ` in ${String(scenes.count)} scenes`}`
  const score = `${String(wins)} won, ${String(losses)} lost of ${shown}${newOf(comparison)} (p = ${p.toPrecision(2)}, needed below ${alpha.toPrecision(2)})`
  const fallen = comparison.perClass.find(({ regressionP }) => regressionP !== null && regressionP < options.alpha)
  const gains = labels.map((_, index) => gainAt(evidence, index))
  if (signFlip(scenes.sums(gains.map(gain => -gain))) < options.alpha) return verdict(false, 'regressed', `the challenger is worse: ${score}`)
  if (fallen) return verdict(false, 'class-regressed', `the challenger is worse at "${fallen.class}" (adjusted p = ${(fallen.regressionP ?? 0).toPrecision(2)}): ${score}`)
  // With what the champion cannot name, and holds to be impossible: of the others alone who tells more classes apart is less sure.
  const likelihoodP = pairedPermutation(scenes.sums(challenger.nll.map((value, index) => value - (champion.nll[index] ?? 0))), options.random)
  if (likelihoodP < options.alpha) return verdict(false, 'likelihood-worse', `the challenger's probabilities are worse (p = ${likelihoodP.toPrecision(2)}): ${score}`)
  if (p < alpha) return verdict(true, 'better', `the challenger is better: ${score}`)
  const least = pairedGainScoreLower(wins * scenes.worth, losses * scenes.worth, images * scenes.worth, normalUpperQuantile(alpha))
  return options.refreshMargin > 0 && !options.given && least > -options.refreshMargin
    ? verdict(true, 'refreshed', `not proved better, but surely not worse by ${percent(options.refreshMargin)}, which refreshMargin allows (at most ${percent(Math.max(0, -least))} worse): ${score}`)
    : verdict(false, 'inconclusive', `not proved better: ${score}`)
}

/** What an explanation says of classes that the champion cannot name; nothing where there is none. */
function newOf({ newClasses = [], perClass }: Comparison): string {
  const rows = perClass.filter(({ class: name }) => newClasses.includes(name))
  const [right, images] = [sum(rows.map(row => row.challenger)), sum(rows.map(row => row.images))]
  const names = newClasses.map(name => `"${name}"`).join(', ')
  return rows.length > 0 ? `, ${String(right)} of ${String(images)} right of ${names}, which the model in service cannot name` : ''
}

/** Why there is nothing to decide by, which then costs no alpha; null: there is. */
export function lackOf({ classes, labels, leftOut = [] }: PairedEvidence, { given = false }: Pick<PromotionOptions, 'given'>): string | null {
  if (labels.length === 0) return 'there is no readable image to compare on'
  if (given && labels.length < leastForGiven) return `there are ${String(labels.length)} images to judge a model from elsewhere by, fewer than ${String(leastForGiven)}`
  const emptied = [...new Set(leftOut)].filter(label => !labels.includes(label)).map(label => `"${classes[label] ?? ''}"`)
  return emptied.length > 0 ? `no image of ${emptied.join(', ')} is left to judge by` : null
}

/** Sizes of promotion sets are told apart by bounds, each so many times the one before. */
const apart = 1.1

/**
 * Name of the set over whose attempts alpha is shared out. By its size alone: labels come one by one, and if each began a new set, a hundred of them
 * would give a hundred times alpha. A set that a person replaces by another of its size goes on being counted, which only makes it stricter.
 */
export function promotionSetOf(images: number): string {
  const size = Math.floor(Math.log(images) / Math.log(apart))
  return `${String(Math.ceil(apart ** size))} to ${String(Math.ceil(apart ** (size + 1)) - 1)} images`
}

function compare(evidence: PairedEvidence, { alpha, share = 1, attempt }: PromotionOptions): Comparison {
  const { classes, labels, challenger, champion } = evidence
  const images = labels.length
  const scenes = scenesOf(evidence)
  const hits = (predictions: { predicted: number[] } | null) => labels.map((label, index) => predictions?.predicted[index] === label)
  const [own, other] = [hits(challenger), hits(champion)]
  const gains = labels.map((_, index) => gainAt(evidence, index))
  const [wins, losses] = [1, -1].map(gain => count(gains.map(value => value === gain))) as [number, number]
  const interval = (correct: number) => wilsonInterval(correct * scenes.worth, images * scenes.worth)
  const fresh = freshOf(evidence)
  const lossesOf = (label: number) => scenes.sums(gains.map((gain, index) => (labels[index] === label ? -gain : 0)))
  // Classes without images neither show anything nor make the others less sure.
  const judged = [...new Set(labels)]
  const adjusted = champion ? holm(judged.map(label => signFlip(lossesOf(label)))) : []
  return {
    images,
    scenes: scenes.count,
    wins,
    losses,
    p: betterP(evidence, fresh),
    ...fresh.length > 0 && { newClasses: fresh.map(label => classes[label] ?? '') },
    alpha: spentAlpha(alpha * share, attempt),
    attempt,
    intervalChallenger: interval(count(own)),
    intervalChampion: champion ? interval(count(other)) : null,
    gainLowerBound: pairedGainScoreLower(wins * scenes.worth, losses * scenes.worth, images * scenes.worth),
    nllChallenger: mean(challenger.nll),
    nllChampion: champion ? mean(champion.nll) : null,
    eceChallenger: calibrationError(challenger.confidence, own),
    eceChampion: champion ? calibrationError(champion.confidence, other) : null,
    perClass: classes.map((name, label) => {
      const of = (values: boolean[]) => count(values.filter((_, index) => labels[index] === label))
      return {
        class: name,
        images: count(labels.map(actual => actual === label)),
        challenger: of(own),
        champion: champion ? of(other) : null,
        regressionP: champion ? adjusted[judged.indexOf(label)] ?? 1 : null,
      }
    }),
  }
}

/**
 * The chance of this or more when the challenger is not better. With classes that the champion cannot name there are two proofs, by image and by
 * `newClassesP`, of which either is enough: twice the smaller.
 */
function betterP(evidence: PairedEvidence, fresh: readonly number[]): number {
  const { classes, labels, scenes } = evidence
  const gains = labels.map((_, index) => gainAt(evidence, index))
  const byImage = signFlip(scenesOf(evidence).sums(gains))
  if (fresh.length === 0) return byImage
  const isNew = labels.map(label => fresh.includes(label))
  // What is known is won together with what is new of the same scene: it would count twice. What is lost there counts.
  const newScenes = new Set(scenes.filter((_, index) => isNew[index]))
  const once = gains.map((gain, index) => (!isNew[index] && newScenes.has(scenes[index] ?? '') ? Math.min(0, gain) : gain))
  const side = (wanted: boolean) => {
    const indices = labels.flatMap((_, index) => (isNew[index] === wanted ? [index] : []))
    const { worth } = scenesOf({ scenes: indices.map(index => scenes[index] ?? '') })
    const having = (gain: number) => worth * count(indices.map(index => once[index] === gain))
    return { images: worth * indices.length, wins: having(1), losses: having(-1) }
  }
  const { wins: right, images } = side(true)
  return Math.min(1, 2 * byImage, 2 * newClassesP({ right, images }, fresh.length / classes.length, side(false)))
}

/** The classes, as indices, that images show and that the challenger alone can name. */
function freshOf({ labels, challenger, champion }: PairedEvidence): number[] {
  return (champion?.unnamed ?? []).filter(label => labels.includes(label) && !challenger.unnamed?.includes(label))
}

/** 1 for an image that only the challenger has right, −1 for one that only the champion has, else 0; 0 without a champion. */
function gainAt({ labels, challenger, champion }: PairedEvidence, index: number): number {
  if (!champion) return 0
  return Number(challenger.predicted[index] === labels[index]) - Number(champion.predicted[index] === labels[index])
}

/** The scenes of the evidence: how many, what an image in them is worth (1: an image of its own), and sums by scene of values by image. */
function scenesOf({ scenes }: Pick<PairedEvidence, 'scenes'>) {
  const places = new Map<string, number>()
  const placeOf = scenes.map(scene => places.get(scene) ?? places.set(scene, places.size).size - 1)
  const sums = (values: readonly number[]) => {
    const totals = new Array<number>(places.size).fill(0)
    placeOf.forEach((place, index) => { totals[place] = (totals[place] ?? 0) + (values[index] ?? 0) })
    return totals
  }
  const worth = scenes.length ? effectiveImages(sums(scenes.map(() => 1))) / scenes.length : 1
  return { count: places.size, worth, sums }
}

/** Accuracy on the promotion split. */
export function accuracyOf({ labels }: PairedEvidence, predictions: { predicted: number[] } | null): number | null {
  return predictions && labels.length ? count(labels.map((label, index) => predictions.predicted[index] === label)) / labels.length : null
}

function count(values: readonly boolean[]): number {
  return values.filter(Boolean).length
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function mean(values: readonly number[]): number {
  return values.length ? sum(values) / values.length : 0
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
