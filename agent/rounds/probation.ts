/**
 * Probation: for a while after a promotion the former model answers the frames of the site too, aside, and the new one falls back by itself
 * when it proves less sure of them than its predecessor. Pure.
 *
 * Without labels nothing tells which of two models is right. A calibrated confidence is the accuracy that a model expects of itself, so what
 * is compared is how much surer the new model is than the former, frame by frame ("gain"). It must be lost on both counts:
 * - beside the promotion images, where it proved itself: among frames that the former model names alike, a permutation test on the mean gain,
 *   stratified by that class, so that another mix of classes is no reason;
 * - by itself: a sign-flip test that the mean gain on the site's frames is below nothing.
 * Both must fall below `alpha`, a part of it at each look: a model that does on the site as on its promotion images, or that is no less sure
 * than its predecessor, falls back with at most that chance, as long as frames are independent (of each camera one in `everySeconds` counts).
 * Another answer than the former's is no reason: that is what a model is for that has learned a changed site.
 */
import { pairedPermutation } from '../../trainer/index.js'
import type { Pair } from '../classifier/side-by-side.js'

export interface ProbationRecord {
  /** Version on probation, and the one that it would fall back to. */
  model: number
  former: number
  /** ended: nothing came of it, as another model was put in service. */
  state: 'running' | 'passed' | 'failed' | 'ended'
  /** Why it failed; null: it has not. */
  reason: 'less-sure' | 'crashes' | null
  /** Frames seen by both models, and those that it takes to pass. */
  frames: number
  of: number
  /** On the site's frames, and on the promotion images: share that the models name differently, and mean gain; null: none yet. */
  site: { differ: number; gain: number } | null
  promotion: { differ: number; gain: number } | null
  /** Of the two tests the larger p, and what it had to stay below; null: not tested yet. */
  p: number | null
  alpha: number
  /** One sentence for people. */
  explanation: string
}

export interface ProbationOptions {
  model: number
  former: number
  of: number
  /** For one look. */
  alpha: number
  /** Uniform in [0, 1). */
  random: () => number
}

/** Enough for a thousandth part of the smallest alpha that is sensible. */
const permutations = 4000

export function judgeProbation(site: readonly Pair[], promotion: readonly Pair[], options: ProbationOptions): ProbationRecord {
  const { model, former, of, alpha, random } = options
  const p = Math.max(
    pairedPermutation(site.map(({ gain }) => -gain), random, permutations),
    stratifiedPermutation(site, promotion, random),
  )
  const seen = { model, former, frames: site.length, of, site: summary(site), promotion: summary(promotion), p, alpha }
  const state = p < alpha ? 'failed' : site.length < of ? 'running' : 'passed'
  return { ...seen, state, reason: state === 'failed' ? 'less-sure' : null, explanation: explain(state, seen) }
}

/** Of one that nothing came of. */
export function endedProbation(site: readonly Pair[], promotion: readonly Pair[], told: Pick<ProbationRecord, 'model' | 'former' | 'of' | 'alpha'>): ProbationRecord {
  return {
    ...told, state: 'ended', reason: null, frames: site.length, site: summary(site), promotion: summary(promotion), p: null,
    explanation: `the probation of model ${String(told.model)} beside model ${String(told.former)} ended before anything was proved`,
  }
}

function explain(state: 'running' | 'passed' | 'failed', seen: Omit<ProbationRecord, 'state' | 'reason' | 'explanation'>): string {
  const { model, former, frames, of, site, promotion, p, alpha } = seen
  const points = (pairs: ProbationRecord['site']) => `${(100 * (pairs?.gain ?? 0)).toFixed(1)} points`
  const said = {
    failed: 'is less sure of the site than its predecessor, which comes back',
    running: 'is on probation',
    passed: 'has passed its probation',
  }[state]
  return `model ${String(model)} ${said}: beside model ${String(former)} its confidence has changed by ${points(site)} on ${String(frames)} of `
    + `${String(of)} frames of the site, by ${points(promotion)} on the promotion images (p = ${(p ?? 1).toPrecision(2)}, falls back below ${alpha.toPrecision(2)})`
}

function summary(pairs: readonly Pair[]): ProbationRecord['site'] {
  if (pairs.length === 0) return null
  const mean = (of: (pair: Pair) => number) => pairs.reduce((sum, pair) => sum + of(pair), 0) / pairs.length
  return { differ: mean(({ former, now }) => (former === now ? 0 : 1)), gain: mean(({ gain }) => gain) }
}

/** One-sided: the chance of so little mean gain on the site when, among images of one former class, it does not matter where they are from. */
function stratifiedPermutation(site: readonly Pair[], promotion: readonly Pair[], random: () => number): number {
  const strata = [...new Set(site.map(({ former }) => former))].flatMap(name => {
    const own = (pairs: readonly Pair[]) => pairs.filter(({ former }) => former === name).map(({ gain }) => gain)
    const [here, there] = [own(site), own(promotion)]
    return there.length ? [{ all: [...here, ...there], here: here.length }] : []
  })
  if (strata.length === 0) return 1
  const observed = strata.reduce((sum, { all, here }) => sum + lost(all, here), 0)
  const atLeast = observed - 1e-9 * Math.abs(observed)
  let asMuch = 1
  for (let time = 0; time < permutations; time++) {
    let sum = 0
    for (const { all, here } of strata) {
      drawFirst(all, here, random)
      sum += lost(all, here)
    }
    if (sum >= atLeast) asMuch++
  }
  return asMuch / (permutations + 1)
}

/** Mean of the others minus mean of the first `here`, weighted by what the numbers of both tell (as Cochran and Mantel and Haenszel do). */
function lost(gains: readonly number[], here: number): number {
  const there = gains.length - here
  let [first, rest] = [0, 0]
  gains.forEach((gain, index) => {
    if (index < here) first += gain
    else rest += gain
  })
  return (rest / there - first / here) * (here * there) / gains.length
}

/** Puts a random choice of `count` values first. */
function drawFirst(values: number[], count: number, random: () => number): void {
  for (let place = 0; place < count; place++) {
    const other = place + Math.floor(random() * (values.length - place))
    const drawn = values[other] ?? 0
    values[other] = values[place] ?? 0
    values[place] = drawn
  }
}
