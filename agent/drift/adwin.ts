/**
 * ADWIN (Bifet & Gavaldà, 2007, "Learning from time-changing data with adaptive windowing", ADWIN2): a window over numbers from 0 to 1
 * that grows while their mean stays and loses its older part when that part had another mean.
 *
 * INVARIANTS
 * - Memory: at most `bucketsPerRow` × `rows` buckets, whatever was added; beyond five million numbers the oldest go.
 * - While the numbers are independent draws of one distribution, a check finds a change with a chance of at most what it is given. This is
 *   Bernstein's bound over all cuts, with the variance of the window in place of the true one, as the paper has it (eq. 3.1).
 *   Where buckets end follows from the count alone until a change is found, so that the cuts that are looked at are all that must be paid for.
 */
export interface Change {
  /** Bound on the chance of such a cut anywhere in the window while nothing changes. */
  p: number
  /** Means before and after the cut. */
  from: number
  to: number
  /** Numbers since the cut, and the time of the first of them. */
  count: number
  sinceMs: number
}

interface Bucket {
  count: number
  sum: number
  squares: number
  /** Time of its first number. */
  atMs: number
}

const bucketsPerRow = 5
const rows = 20
/** Numbers on each side of a cut that is looked at. */
const leastSide = 10

export class Adwin {
  /** Row r holds buckets of 2^r numbers; in a row, the oldest first. */
  private readonly buckets: Bucket[][] = [[]]
  /** See `inertiaOf`: variances are so many times what independent draws would have. */
  private readonly inertia: number

  constructor({ inertia }: { inertia: number }) {
    this.inertia = inertia
  }

  /** Numbers in the window. */
  get count(): number {
    return this.oldestFirst().reduce((sum, { count }) => sum + count, 0)
  }

  get bucketCount(): number {
    return this.buckets.reduce((sum, { length }) => sum + length, 0)
  }

  /** `value` from 0 to 1. O(1) on average. */
  add(value: number, atMs: number): void {
    this.buckets[0]?.push({ count: 1, sum: value, squares: value ** 2, atMs })
    for (let row = 0; (this.buckets[row]?.length ?? 0) > bucketsPerRow; row++) {
      const [first, second] = this.buckets[row]?.splice(0, 2) ?? []
      if (!first || !second || row + 1 === rows) return
      const merged = { count: first.count + second.count, sum: first.sum + second.sum, squares: first.squares + second.squares, atMs: first.atMs };
      (this.buckets[row + 1] ??= []).push(merged)
    }
  }

  /** The clearest change of the mean if its chance is at most `delta`; what was before it is then forgotten. O(buckets). */
  check(delta: number): Change | null {
    const found = this.clearest()
    if (!found || found.p > delta) return null
    for (let cut: Change | null = found; cut && cut.p <= delta; cut = this.clearest()) this.forgetOldest()
    return found
  }

  private clearest(): Change | null {
    const buckets = this.oldestFirst()
    const total = buckets.reduce((all, { count, sum, squares }) => ({ count: all.count + count, sum: all.sum + sum, squares: all.squares + squares }),
      { count: 0, sum: 0, squares: 0 })
    const variance = Math.max(0, total.squares / total.count - (total.sum / total.count) ** 2)
    let [count, sum, cuts] = [0, 0, 0]
    let best: (Omit<Change, 'p'> & { exponent: number }) | null = null
    for (const bucket of buckets) {
      const [before, after] = [count, total.count - count]
      if (before >= leastSide && after >= leastSide) {
        cuts++
        const [from, to] = [sum / before, (total.sum - sum) / after]
        const exponent = this.exponentOf(Math.abs(from - to), variance, 1 / (1 / before + 1 / after))
        if (!best || exponent > best.exponent) best = { exponent, from, to, count: after, sinceMs: bucket.atMs }
      }
      count += bucket.count
      sum += bucket.sum
    }
    if (!best) return null
    const { exponent, ...change } = best
    return { ...change, p: Math.min(1, 2 * cuts * Math.exp(-exponent)) }
  }

  /** L of the cut that would just be made: difference = √(2 v L / m) + 2 L / (3 m), v the variance and m the harmonic size. */
  private exponentOf(difference: number, variance: number, size: number): number {
    const m = size / this.inertia
    const [linear, square] = [Math.sqrt((2 * variance) / m), 2 / (3 * m)]
    return ((Math.sqrt(linear ** 2 + 4 * square * difference) - linear) / (2 * square)) ** 2
  }

  private forgetOldest(): void {
    this.buckets.findLast(row => row.length > 0)?.shift()
  }

  private oldestFirst(): Bucket[] {
    return this.buckets.toReversed().flat()
  }
}
