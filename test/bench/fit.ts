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
