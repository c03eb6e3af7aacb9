export type Point = readonly [x: number, y: number]

export interface Fit {
  slope: number
  intercept: number
  /** Share of the variance of y that the line explains, 0 to 1. */
  r2: number
}

/** The least-squares line through two points or more, not all at one x. */
export function fitted(points: readonly Point[]): Fit {
  const mean = (of: (point: Point) => number) => points.reduce((sum, point) => sum + of(point), 0) / points.length
  const [meanX, meanY] = [mean(([x]) => x), mean(([, y]) => y)]
  const slope = mean(([x, y]) => (x - meanX) * (y - meanY)) / mean(([x]) => (x - meanX) ** 2)
  const intercept = meanY - slope * meanX
  const spread = mean(([, y]) => (y - meanY) ** 2)
  return { slope, intercept, r2: spread === 0 ? 1 : 1 - mean(([x, y]) => (y - slope * x - intercept) ** 2) / spread }
}

/** Round numbers from 0 to the first that is not below `largest`, 4 to 8 of them. */
export function ticks(largest: number): number[] {
  const decade = 10 ** Math.floor(Math.log10(largest))
  const step = [0.2, 0.25, 0.5, 1, 2].map(part => part * decade).find(size => largest / size <= 6) ?? 2 * decade
  return Array.from({ length: Math.ceil(largest / step - 1e-9) + 1 }, (_, index) => Number((index * step).toPrecision(12)))
}
