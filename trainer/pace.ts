/** How far a round is: by counted steps, or by the clock when it has minutes instead. */

export interface Phase {
  name: 'reconstruct' | 'finetune' | 'semi-supervised'
  /** Share of the training. */
  share: number
}

export type Budget = { steps: number } | { wholeMs: number }

export class Pace {
  private readonly budget: Budget
  private readonly phases: readonly Phase[]
  private readonly nowMs: () => number
  private readonly startedAtMs: number

  /** `spentMs`: what an interrupted training had taken before. */
  constructor({ budget, phases, nowMs, spentMs }: { budget: Budget; phases: readonly Phase[]; nowMs: () => number; spentMs: number }) {
    this.budget = budget
    this.phases = phases.filter(phase => phase.share > 0)
    this.nowMs = nowMs
    this.startedAtMs = nowMs() - spentMs
  }

  /** The phases that take place, in order, with where each begins and ends in the whole (0 to 1). */
  get plan(): { phase: Phase; begins: number; ends: number }[] {
    const total = this.phases.reduce((sum, phase) => sum + phase.share, 0)
    let begins = 0
    return this.phases.map(phase => {
      const start = begins
      begins += phase.share / total
      return { phase, begins: start, ends: Math.min(1, begins) }
    })
  }

  /** Milliseconds of training so far. */
  get spentMs(): number {
    return this.nowMs() - this.startedAtMs
  }

  /** Share of the training that is done after `steps` steps, 0 to 1. */
  fraction(steps: number): number {
    if ('steps' in this.budget) return Math.min(1, steps / this.budget.steps)
    const { wholeMs } = this.budget
    return wholeMs <= 0 ? 1 : Math.min(1, this.spentMs / wholeMs)
  }

  secondsLeft(steps: number): number {
    const elapsed = this.spentMs / 1000
    const fraction = this.fraction(steps)
    return fraction > 0 ? (elapsed * (1 - fraction)) / fraction : Number.NaN
  }

  /** Steps of the whole round as far as can be told now. */
  expectedSteps(steps: number): number {
    if ('steps' in this.budget) return this.budget.steps
    const fraction = this.fraction(steps)
    return fraction > 0 ? Math.max(steps, Math.round(steps / fraction)) : steps
  }
}

/** Linear warm-up over the first twentieth, then half a cosine down to a hundredth. */
export function rateAt(fraction: number): number {
  const warmUp = 0.05
  if (fraction < warmUp) return (fraction + 0.002) / (warmUp + 0.002)
  return 0.01 + 0.99 * 0.5 * (1 + Math.cos((Math.PI * (fraction - warmUp)) / (1 - warmUp)))
}
