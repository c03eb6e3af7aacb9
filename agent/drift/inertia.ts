/** How much less a series says than as many independent draws would: neighbours in time resemble each other. Pure. */

/**
 * Integrated autocorrelation time of the ranks, 1 + 2 Σ ρ, up to the first lag without positive correlation (Geyer, 1992): the variance of
 * what is counted over the series is so many times that of independent draws. 1 for independent or constant values, never less.
 */
export function inertiaOf(values: Float32Array): number {
  const ranks = centredRanks(values)
  const variance = products(ranks, 0)
  if (variance === 0) return 1
  let sum = 0
  for (let lag = 1; lag < values.length / 5; lag++) {
    const correlation = products(ranks, lag) / variance
    if (correlation <= 0) break
    sum += correlation
  }
  return 1 + 2 * sum
}

function products(values: Float64Array, lag: number): number {
  let sum = 0
  for (let at = lag; at < values.length; at++) sum += (values[at] ?? 0) * (values[at - lag] ?? 0)
  return sum
}

/** Equal values share the middle of their ranks: ranked in the order of time they would seem to rise. */
function centredRanks(values: Float32Array): Float64Array {
  const order = Array.from(values.keys()).sort((a, b) => (values[a] ?? 0) - (values[b] ?? 0))
  const ranks = new Float64Array(values.length)
  for (let first = 0, next = 0; first < order.length; first = next) {
    const value = values[order[first] ?? 0]
    while (next < order.length && values[order[next] ?? 0] === value) next++
    const middle = (first + next - 1) / 2 - (values.length - 1) / 2
    for (let at = first; at < next; at++) ranks[order[at] ?? 0] = middle
  }
  return ranks
}
