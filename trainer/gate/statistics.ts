/** Exact and closed-form statistics of the two gates. Pure functions of counts. */

const lanczos = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
] as const

/** ln Γ(x) for x > 0 (Lanczos, g = 7, nine terms; relative error below 1e-14). */
export function logGamma(x: number): number {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x)
  const shifted = x - 1
  let sum: number = lanczos[0]
  for (let index = 1; index < lanczos.length; index++) sum += (lanczos[index] ?? 0) / (shifted + index)
  const base = shifted + 7.5
  return 0.5 * Math.log(2 * Math.PI) + (shifted + 0.5) * Math.log(base) - base + Math.log(sum)
}

/** Regularised incomplete beta I_x(a, b), by its continued fraction (Lentz). */
export function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0
  if (x >= 1) return 1
  // The fraction converges fast below the mean; above it, the mirror image does.
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a)
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log(1 - x)) / a
  const tiny = 1e-300
  let c = 1
  let d = 1 / notZero(1 - ((a + b) * x) / (a + 1), tiny)
  let fraction = d
  for (let m = 1; m <= 500; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m))
    d = 1 / notZero(1 + even * d, tiny)
    c = notZero(1 + even / c, tiny)
    fraction *= d * c
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))
    d = 1 / notZero(1 + odd * d, tiny)
    c = notZero(1 + odd / c, tiny)
    fraction *= d * c
    if (Math.abs(d * c - 1) < 1e-15) break
  }
  return front * fraction
}

function notZero(value: number, tiny: number): number {
  return Math.abs(value) < tiny ? tiny : value
}

/** P(X ≥ successes) for X ~ Binomial(trials, probability). */
export function binomialUpperTail(successes: number, trials: number, probability: number): number {
  if (successes <= 0) return 1
  if (successes > trials) return 0
  return incompleteBeta(probability, successes, trials - successes + 1)
}

/** One-sided exact lower bound of a proportion at confidence 1 − alpha (Clopper & Pearson, 1934); 0 for no trials. */
export function clopperPearsonLower(successes: number, trials: number, alpha: number): number {
  if (successes === 0) return 0
  return bisect(probability => binomialUpperTail(successes, trials, probability) < alpha)
}

/** Whether that bound lies above `promise`, without the search for it. */
export function provesAtLeast(promise: number, successes: number, trials: number, alpha: number): boolean {
  return binomialUpperTail(successes, trials, promise) < alpha
}

/** One-sided exact upper bound of a proportion at confidence 1 − alpha; 1 for no trials. */
export function clopperPearsonUpper(successes: number, trials: number, alpha: number): number {
  return 1 - clopperPearsonLower(trials - successes, trials, alpha)
}

/** The largest x in [0, 1] up to which `below` holds. */
function bisect(below: (x: number) => boolean): number {
  let [low, high] = [0, 1]
  for (let round = 0; round < 60; round++) {
    const middle = (low + high) / 2
    if (below(middle)) low = middle
    else high = middle
  }
  return low
}

/** Two-sided 95 % interval of a proportion (Wilson, 1927): for display. [0, 1] for no trials. */
export function wilsonInterval(successes: number, trials: number, z = 1.959964): [number, number] {
  if (trials === 0) return [0, 1]
  const share = successes / trials
  const denominator = 1 + z ** 2 / trials
  const centre = (share + z ** 2 / (2 * trials)) / denominator
  const reach = (z * Math.sqrt((share * (1 - share)) / trials + z ** 2 / (4 * trials ** 2))) / denominator
  return [Math.max(0, centre - reach), Math.min(1, centre + reach)]
}

/**
 * Exact one-sided McNemar: the chance of at least `wins` wins among wins + losses discordant pairs when neither model is
 * better. 1 when there are none.
 */
export function mcnemar(wins: number, losses: number): number {
  return binomialUpperTail(wins, wins + losses, 0.5)
}

/**
 * Exact one-sided sign-flip test: the chance of a sum as large as this when the sign of each difference is random. Whole numbers: images
 * won less images lost, one number a scene. Where no scene has more than one image between the models, it is `mcnemar`.
 */
export function signFlip(differences: readonly number[]): number {
  const sizes = differences.map(Math.abs).filter(size => size > 0)
  const total = sizes.reduce((sum, size) => sum + size, 0)
  const observed = differences.reduce((sum, value) => sum + value, 0)
  if (total === sizes.length) return mcnemar((total + observed) / 2, (total - observed) / 2)
  // Chance of each sum of the sizes whose sign came out positive, scene after scene.
  const chances = new Float64Array(total + 1)
  chances[0] = 1
  for (const size of sizes) {
    for (let sum = total; sum >= 0; sum--) chances[sum] = ((chances[sum] ?? 0) + (sum >= size ? chances[sum - size] ?? 0 : 0)) / 2
  }
  let p = 0
  for (let sum = (observed + total) / 2; sum <= total; sum++) p += chances[sum] ?? 0
  return Math.min(1, p)
}

/**
 * How many independent images those in scenes of the given sizes are worth at least (Kish, 1965): as if all images of a scene were
 * alike. As many as there are where each is a scene of its own.
 */
export function effectiveImages(scenes: readonly number[]): number {
  const images = scenes.reduce((sum, size) => sum + size, 0)
  return images ? images ** 2 / scenes.reduce((sum, size) => sum + size ** 2, 0) : 0
}

/** α of the `attempt`th look (from 1) at one promotion set; the sum over all looks is `alpha`. */
export function spentAlpha(alpha: number, attempt: number): number {
  return (alpha * 6) / (Math.PI ** 2 * attempt ** 2)
}

/** Holm's step-down adjustment, in the order given. */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((p, index) => ({ p, index })).sort((a, b) => a.p - b.p)
  const adjusted = new Array<number>(pValues.length).fill(1)
  let highest = 0
  order.forEach(({ p, index }, rank) => {
    highest = Math.max(highest, Math.min(1, p * (pValues.length - rank)))
    adjusted[index] = highest
  })
  return adjusted
}

/**
 * One-sided paired sign-flip permutation test: the chance of a mean difference as large as this when signs are random.
 * `random` draws uniformly from [0, 1). 1 for no differences.
 */
export function pairedPermutation(differences: readonly number[], random: () => number, rounds = 2000): number {
  const observed = differences.reduce((sum, value) => sum + value, 0)
  // Sums that are equal on paper differ by rounding: they count as equal.
  const atLeast = observed - 1e-12 * differences.reduce((sum, value) => sum + Math.abs(value), 0)
  let asLarge = 1
  for (let round = 0; round < rounds; round++) {
    let sum = 0
    for (const value of differences) sum += random() < 0.5 ? value : -value
    if (sum >= atLeast) asLarge++
  }
  return differences.length ? asLarge / (rounds + 1) : 1
}

/**
 * One-sided lower bound of (wins − losses) / images, the accuracy that the challenger gains, by Tango's score interval (1998): it stays
 * honest where hardly a pair is discordant, as of two versions of one model; −z² / (images + z²) without any. −1 for no images.
 */
export function pairedGainScoreLower(wins: number, losses: number, images: number, z = 1.644854): number {
  if (images === 0) return -1
  const estimate = (wins - losses) / images
  const share = bisect(part => scoreOfGain(part * (estimate + 1) - 1, { wins, losses, images }) > z)
  return share * (estimate + 1) - 1
}

/** Images that only the challenger, and only the champion, has right, of so many. */
export interface Paired {
  wins: number
  losses: number
  images: number
}

/**
 * One-sided p of a challenger that names classes which the champion cannot, so that of their images it can lose none: the chance of this or more when
 * share × (its accuracy on them) + (1 − share) × (its gain on the others) is not above 0. `share`: of the new among all classes, 0 to 1. However
 * many of the new images (`right` of `images`) it may truly have right, it may then lose as much on the others: the p of both are joined (Fisher,
 * 1925; Tango's score for the others, which is no exact one), and the truth that speaks most against it counts. 1 where there are no others.
 */
export function newClassesP(fresh: { right: number; images: number }, share: number, others: Paired): number {
  const truths = Array.from({ length: 201 }, (_, index) => index / 200)
  const both = Math.max(...truths.map(recall =>
    binomialUpperTail(fresh.right, fresh.images, recall) * gainScoreP(-recall * share / (1 - share), others)))
  return both > 0 ? both * (1 - Math.log(both)) : 0
}

/** The chance of winning so many more than losing when the true gain is this, at most 0, by the same score. */
function gainScoreP(gain: number, others: Paired): number {
  if (others.images === 0) return 1
  if (gain <= -1) return 0
  const score = scoreOfGain(gain, others)
  return score > 0 ? normalUpperTail(Math.min(8, score)) : 1
}

/** Deviations by which wins − losses lie above what a true gain lets expect, under the likeliest losses for that gain; 0: they do not. */
function scoreOfGain(gain: number, { wins, losses, images }: Paired): number {
  const linear = (2 * images - wins + losses) * gain - wins - losses
  const root = Math.sqrt(Math.max(0, linear ** 2 + 8 * images * losses * gain * (1 - gain)))
  const lossShare = (root - linear) / (4 * images)
  const variance = images * (2 * lossShare + gain * (1 - gain))
  const above = wins - losses - images * gain
  return above <= 0 ? 0 : above / Math.sqrt(Math.max(0, variance))
}

/** The z that a standard normal exceeds with chance `alpha`, 0 < alpha ≤ 0.5. */
export function normalUpperQuantile(alpha: number): number {
  // Beyond 8 deviations nothing is left that a double could tell from 0.
  return 8 * bisect(part => normalUpperTail(8 * part) > alpha)
}

/** P(Z > z) for 0 ≤ z ≤ 8, by the series of the normal integral (absolute error below 1e-15). */
function normalUpperTail(z: number): number {
  let [term, sum] = [z, z]
  for (let odd = 3; term > 1e-17 * sum; odd += 2) {
    term *= z ** 2 / odd
    sum += term
  }
  return 0.5 - (sum * Math.exp(-(z ** 2) / 2)) / Math.sqrt(2 * Math.PI)
}
