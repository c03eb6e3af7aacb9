/** The slope of a series that jumps about: Theil-Sen, the median of the slopes between all pairs of points, with Sen's interval. Pure. */

export interface Slope {
  /** Change of y per unit of x. */
  slope: number
  /** 95 % interval; from minus to plus infinity where there are too few points for one. */
  interval: [number, number]
}

const z95 = 1.959964

/** Sen (1968), Journal of the American Statistical Association 63, with the variance of Kendall's S corrected for ties in y. */
export function theilSen(points: readonly (readonly [x: number, y: number])[]): Slope {
  const slopes: number[] = []
  points.forEach(([x, y], index) => {
    for (const [laterX, laterY] of points.slice(index + 1)) if (laterX !== x) slopes.push((laterY - y) / (laterX - x))
  })
  slopes.sort((a, b) => a - b)
  const n = points.length
  const ties = new Map<number, number>()
  for (const [, y] of points) ties.set(y, (ties.get(y) ?? 0) + 1)
  const tied = [...ties.values()].reduce((sum, count) => sum + count * (count - 1) * (2 * count + 5), 0)
  const spread = z95 * Math.sqrt(Math.max(0, n * (n - 1) * (2 * n + 5) - tied) / 18)
  const [low, high] = [Math.floor((slopes.length - spread) / 2), Math.ceil((slopes.length + spread) / 2)]
  return { slope: median(slopes), interval: [slopes[low] ?? -Infinity, slopes[high] ?? Infinity] }
}

/** Of sorted or unsorted values; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  return ((sorted[Math.floor(middle)] ?? NaN) + (sorted[Math.ceil(middle)] ?? NaN)) / 2
}
