/**
 * The pseudo-label gate: from which confidence on the teacher can be trusted, judged on the gate split through exactly the
 * pipeline that labels the stream. Pure: evidence and the former state in, a look and the next state out.
 *
 * It looks at the same split again and again, so across looks it is a control heuristic; within one look the thresholds
 * are tested in a fixed order, and the chance that an accepted one is less precise than promised is at most `alpha`.
 */
import type { GateLook } from '../contract.js'
import { clopperPearsonLower, wilsonInterval } from './statistics.js'

/** `precision`: the honest gate. `paper`: arXiv 2601.20072, section 3.3. The others hold it open or closed. */
export type GateKind = 'precision' | 'paper' | 'always' | 'never'

export interface GateEvidence {
  step: number
  classes: readonly string[]
  /** Teacher's probabilities on the gate split [N][C], and the true classes [N]. */
  probabilities: readonly (readonly number[])[]
  labels: readonly number[]
}

export interface GateState {
  open: boolean
  /** Consecutive looks at which an open gate was below `closeBelow`. */
  failures: number
}

export interface GateDecision {
  look: GateLook
  next: GateState
  /** 1 for a class whose pseudo-labels count, 0 for a vetoed one [C]. */
  classWeights: number[]
}

export const closedGate: GateState = { open: false, failures: 0 }

/** Thresholds in the order they are tested. */
export const thresholds = [0.99, 0.97, 0.95, 0.9, 0.85, 0.8, 0.7] as const

export const gateOptions = {
  /** Precision that opens the gate, and the one below which it closes. */
  openAt: 0.85,
  closeBelow: 0.8,
  /** Looks below `closeBelow` in a row that close it. */
  patience: 2,
  alpha: 0.05,
  /**
   * Images below which next to nothing can be proved: a smaller set is passed over and does not end the walk. The rule sees
   * only how many there are, not how many are right, so it costs the test nothing.
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

export function lookThroughGate(kind: GateKind, state: GateState, evidence: GateEvidence): GateDecision {
  const predictions = evidence.probabilities.map((row, index): Prediction => {
    const label = row.reduce((best, value, at) => (value > (row[best] ?? 0) ? at : best), 0)
    return { label, confidence: row[label] ?? 0, right: label === evidence.labels[index] }
  })
  const accuracy = share(predictions)
  const threshold = thresholdOf(kind, state, predictions)
  const accepted = predictions.filter(({ confidence }) => threshold !== null && confidence >= threshold.value)
  const correct = accepted.filter(({ right }) => right).length
  const classWeights = kind === 'precision' ? classesAllowed(accepted, evidence.classes.length, state.open ? gateOptions.closeBelow : gateOptions.openAt) : evidence.classes.map(() => 1)
  const open = threshold !== null && classWeights.includes(1)
  return {
    look: {
      step: evidence.step,
      open,
      threshold: open ? threshold.value : null,
      accepted: accepted.length,
      correct,
      precisionLowerBound: clopperPearsonLower(correct, accepted.length, gateOptions.alpha),
      vetoed: evidence.classes.filter((_, label) => classWeights[label] === 0),
      accuracy,
    },
    next: { open, failures: open ? threshold.failures : 0 },
    classWeights,
  }
}

function thresholdOf(kind: GateKind, state: GateState, predictions: readonly Prediction[]): { value: number; failures: number } | null {
  switch (kind) {
    case 'never': return null
    case 'always': return { value: gateOptions.paper.confidence, failures: 0 }
    case 'paper': {
      const { confidence, accuracy } = gateOptions.paper
      const confident = predictions.filter(prediction => prediction.confidence > confidence)
      return confident.length > 0 && share(confident) >= accuracy ? { value: confidence, failures: 0 } : null
    }
    case 'precision': {
      const proved = walk(predictions, gateOptions.openAt)
      if (proved !== null) return { value: proved, failures: 0 }
      if (!state.open) return null
      // Hysteresis: an open gate survives a look at which only the lower promise can be proved.
      const tolerated = walk(predictions, gateOptions.closeBelow)
      if (tolerated !== null) return { value: tolerated, failures: 0 }
      const failures = state.failures + 1
      return failures < gateOptions.patience ? { value: thresholds[0], failures } : null
    }
  }
}

/**
 * The last threshold, walking down, whose precision is at least `promise` at confidence 1 − alpha. Fixed order, stop at the
 * first that fails: no correction is needed (Maurer's fixed-sequence test).
 */
function walk(predictions: readonly Prediction[], promise: number): number | null {
  let accepted: number | null = null
  for (const threshold of thresholds) {
    const above = predictions.filter(({ confidence }) => confidence >= threshold)
    if (above.length < gateOptions.leastAccepted) continue
    const correct = above.filter(({ right }) => right).length
    if (clopperPearsonLower(correct, above.length, gateOptions.alpha) < promise) break
    accepted = threshold
  }
  return accepted
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

function share(predictions: readonly Prediction[]): number {
  return predictions.length ? predictions.filter(({ right }) => right).length / predictions.length : 0
}
