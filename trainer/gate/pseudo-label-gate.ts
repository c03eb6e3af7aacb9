/**
 * The pseudo-label gate: from which confidence on the teacher can be trusted, judged on the gate split through exactly the
 * pipeline that labels the stream. Pure: evidence and the former state in, a look and the next state out.
 *
 * PROMISES, each broken in at most `alpha` of all rounds, whatever the number of looks that the round planned:
 * 1. a closed gate opens only where the teacher's precision (the share of its answers at or above the threshold that are right, on
 *    pictures like those of the gate split) is at least `openAt`;
 * 2. wherever the gate is open, the precision is at least `closeBelow`.
 * Within a look the thresholds are tested in a fixed order, each at the look's own share of alpha; over the looks the shares add up to alpha
 * (Bonferroni), so looks may resemble each other as they like.
 *
 * NOT PROMISED: anything of the teacher that learns on between two looks; the precision of a single class, or of what a veto leaves (vetoes
 * are a safeguard, not a test); pictures unlike the gate split, or a gate split of frames that resemble each other. And looks adapt. Until the
 * gate opens for the first time, no teacher of a round from scratch depends on the labels of the gate split: up to there the promises hold
 * strictly, as long as how many images a teacher is sure of says nothing about how many of those a later one has right: on that hangs which
 * share of alpha a look has. After it, and in a round that starts from a champion of the same gate split, a teacher has learned from what the
 * gate let through, a few bits of those labels, and the promises are those for teachers that had not.
 * Figures: README.md beside this file.
 */
import type { GateLook } from '../contract.js'
import { clopperPearsonLower, provesAtLeast, wilsonInterval } from './statistics.js'

/** `precision`: the honest gate. `paper`: arXiv 2601.20072, section 3.3. `never` is closed, `always` open for what is surer than the paper's .95. */
export type GateKind = 'precision' | 'paper' | 'always' | 'never'

export interface GateEvidence {
  step: number
  classes: readonly string[]
  /** Teacher's probabilities on the gate split [N][C], and the true classes [N]. */
  probabilities: readonly (readonly number[])[]
  labels: readonly number[]
}

export interface GateState {
  /** Looks taken at which there was enough to judge by, and looks that the round plans in all: alpha is shared out among them. */
  taken: number
  looks: number
  /** It opened and has not closed since: the lower promise is enough, and after a look that fails it only pauses. */
  open: boolean
  /** Looks in a row at which an open gate could not prove `closeBelow`. */
  failures: number
}

export interface GateDecision {
  look: GateLook
  next: GateState
  /** 1 for a class whose pseudo-labels count, 0 for a vetoed one [C]. */
  classWeights: number[]
}

/** The state before the first of so many looks. */
export function closedGate(looks: number): GateState {
  return { taken: 0, looks, open: false, failures: 0 }
}

/** Thresholds in the order they are tested. */
export const thresholds = [0.99, 0.97, 0.95, 0.9, 0.85, 0.8, 0.7] as const

export const gateOptions = {
  /** Precision that opens the gate, and the one that holds while it is open. */
  openAt: 0.85,
  closeBelow: 0.8,
  /** Looks in a row that fail to prove `closeBelow` and close it. */
  patience: 2,
  /** Chance of breaking a promise, over all looks of a round. */
  alpha: 0.05,
  /** Share of alpha of the first look with something to judge by, which chooses the round's first pseudo-labels; the others share the rest evenly. */
  firstShare: 0.5,
  /**
   * Images below which next to nothing can be proved: a smaller set is passed over and does not end the walk, and a look with nothing
   * else spends no alpha. The rule sees only how many there are, not how many are right: the bound is one for this number.
   */
  leastAccepted: 60,
  /** Strength of the shrinkage of a class's precision to the whole one, in images. */
  shrinkage: 10,
  leastPerClass: 5,
  paper: { confidence: 0.95, accuracy: 0.7 },
} as const

interface Prediction {
  label: number
  confidence: number
  right: boolean
}

/** How many gate images the teacher names at or above a threshold, and how many of them rightly. */
export interface Tally {
  accepted: number
  correct: number
}

/** What a look proves: the place of its threshold in `thresholds`, null while no pseudo-labels count, and the state after it. */
interface Proof {
  level: number | null
  next: GateState
}

export function lookThroughGate(kind: GateKind, state: GateState, evidence: GateEvidence): GateDecision {
  const predictions = evidence.probabilities.map((row, index): Prediction => {
    const label = row.reduce((best, value, at) => (value > (row[best] ?? 0) ? at : best), 0)
    return { label, confidence: row[label] ?? 0, right: label === evidence.labels[index] }
  })
  const { threshold, next } = thresholdOf(kind, state, predictions)
  const accepted = predictions.filter(({ confidence }) => threshold !== null && confidence >= threshold)
  const { correct } = tallyOf(accepted)
  const classWeights = kind === 'precision' ? classesAllowed(accepted, evidence.classes.length, state.open ? gateOptions.closeBelow : gateOptions.openAt) : evidence.classes.map(() => 1)
  const open = threshold !== null && classWeights.includes(1)
  return {
    look: {
      step: evidence.step,
      open,
      threshold: open ? threshold : null,
      accepted: accepted.length,
      correct,
      precisionLowerBound: clopperPearsonLower(correct, accepted.length, alphaOf(state)),
      vetoed: evidence.classes.filter((_, label) => classWeights[label] === 0),
      accuracy: share(predictions),
    },
    // No class left is as good as closed.
    next: threshold !== null && !open ? { ...next, open: false } : next,
    classWeights,
  }
}

function thresholdOf(kind: GateKind, state: GateState, predictions: readonly Prediction[]): { threshold: number | null; next: GateState } {
  const simply = (threshold: number | null) => ({ threshold, next: { ...state, taken: state.taken + 1, open: threshold !== null } })
  switch (kind) {
    case 'never': return simply(null)
    case 'always': return simply(gateOptions.paper.confidence)
    case 'paper': {
      const { confidence, accuracy } = gateOptions.paper
      const confident = predictions.filter(prediction => prediction.confidence > confidence)
      return simply(confident.length > 0 && share(confident) >= accuracy ? confidence : null)
    }
    case 'precision': {
      const { level, next } = prove(state, thresholds.map(threshold => tallyOf(predictions.filter(({ confidence }) => confidence >= threshold))))
      return { threshold: level === null ? null : thresholds[level] ?? null, next }
    }
  }
}

/** The rule on counts alone, one tally a threshold: all that the promises rest on. */
export function prove(state: GateState, tallies: readonly Tally[]): Proof {
  const alpha = alphaOf(state)
  // Hysteresis: an open gate survives a look at which only the lower promise can be proved.
  const level = walk(tallies, gateOptions.openAt, alpha) ?? (state.open ? walk(tallies, gateOptions.closeBelow, alpha) : null)
  const failures = state.open && level === null ? state.failures + 1 : 0
  const taken = state.taken + (tallies.some(({ accepted }) => accepted >= gateOptions.leastAccepted) ? 1 : 0)
  return { level, next: { ...state, taken, open: level !== null || (state.open && failures < gateOptions.patience), failures } }
}

/** The share of alpha of the look to come; none for one that was not planned. */
export function alphaOf({ taken, looks }: GateState): number {
  const { alpha, firstShare } = gateOptions
  if (taken >= looks) return 0
  if (looks === 1) return alpha
  return taken === 0 ? alpha * firstShare : (alpha * (1 - firstShare)) / (looks - 1)
}

/**
 * The last threshold, walking down, whose precision is at least `promise` at confidence 1 − alpha. Fixed order, stop at the
 * first that fails: no correction is needed (Maurer's fixed-sequence test).
 */
function walk(tallies: readonly Tally[], promise: number, alpha: number): number | null {
  let proved: number | null = null
  for (const [level, { accepted, correct }] of tallies.entries()) {
    if (accepted < gateOptions.leastAccepted) continue
    if (!provesAtLeast(promise, correct, accepted, alpha)) break
    proved = level
  }
  return proved
}

/** Vetoes classes, by what was predicted, with too few hits or with an upper bound of precision below the promise; an open gate tolerates less. */
function classesAllowed(accepted: readonly Prediction[], classes: number, promise: number): number[] {
  const whole = share(accepted)
  return Array.from({ length: classes }, (_, label) => {
    const own = accepted.filter(prediction => prediction.label === label)
    if (own.length < gateOptions.leastPerClass) return 0
    const correct = own.filter(({ right }) => right).length + whole * gateOptions.shrinkage
    const [, upper] = wilsonInterval(correct, own.length + gateOptions.shrinkage)
    return upper < promise ? 0 : 1
  })
}

function tallyOf(predictions: readonly Prediction[]): Tally {
  return { accepted: predictions.length, correct: predictions.filter(({ right }) => right).length }
}

function share(predictions: readonly Prediction[]): number {
  return predictions.length ? tallyOf(predictions).correct / predictions.length : 0
}
