/** The two-sample test of Kolmogorov and Smirnov. Pure. */

/** Largest distance between the empirical distributions of two ascending lists, 0 to 1. Values that come in both are passed together. */
export function ksStatistic(a: Float32Array, b: Float32Array): number {
  let [i, j, largest] = [0, 0, 0]
  while (i < a.length && j < b.length) {
    const value = Math.min(a[i] ?? 0, b[j] ?? 0)
    while (i < a.length && (a[i] ?? 0) <= value) i++
    while (j < b.length && (b[j] ?? 0) <= value) j++
    largest = Math.max(largest, Math.abs(i / a.length - j / b.length))
  }
  return largest
}

/**
 * P(D ≥ statistic) for samples of n and m from one continuous distribution: exact, by the share of lattice paths from (0, 0) to (n, m)
 * that leave the band (Hodges, 1957). Sums up those that leave, so that a chance of 1e-12 keeps its digits. Values that repeat make D
 * smaller, hence the test more careful. O(n m).
 */
export function ksPValue(statistic: number, n: number, m: number): number {
  if (statistic <= 0) return 1
  // Half a lattice step below the smallest distance that counts: rounding must not decide.
  const limit = (Math.floor(statistic * n * m - 1e-7) + 0.5) / (n * m)
  const left = new Float64Array(m + 1)
  for (let i = 0; i <= n; i++) {
    for (let j = 0; j <= m; j++) {
      if (Math.abs(i / n - j / m) > limit) left[j] = 1
      else if (i + j === 0) left[j] = 0
      else left[j] = ((i > 0 ? i * (left[j] ?? 0) : 0) + (j > 0 ? j * (left[j - 1] ?? 0) : 0)) / (i + j)
    }
  }
  return left[m] ?? 1
}
