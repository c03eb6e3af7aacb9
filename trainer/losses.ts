/** The losses of a round as a curve of bounded length. */
import type { LossPoint } from './contract.js'

type Branch = Exclude<keyof LossPoint, 'step'>
const branches: readonly Branch[] = ['reconstruction', 'labeled', 'unlabeled']

/** What one step says: null where a branch was not computed. */
export type Losses = Record<Branch, number | null>

/** Plain data, so that it outlives an interruption. */
export interface LossCurve {
  points: LossPoint[]
  /** Steps from one point to the next. */
  stretch: number
  /** The steps since the last point. */
  since: LossPoint[]
}

const mostPoints = 200

export function emptyCurve(): LossCurve {
  return { points: [], stretch: 1, since: [] }
}

/** The curve with one step more; where it would have too many points, two become one. */
export function withStep({ points, stretch, since }: LossCurve, step: number, losses: Losses): LossCurve {
  const more = [...since, { step, ...losses }]
  if (more.length < stretch) return { points, stretch, since: more }
  const longer = [...points, meanOf(more)]
  if (longer.length < mostPoints) return { points: longer, stretch, since: [] }
  const halved = longer.flatMap((point, index) => (index % 2 === 1 ? [meanOf([longer[index - 1] ?? point, point])] : []))
  return { points: halved, stretch: 2 * stretch, since: [] }
}

/** All of the round, its last steps too. */
export function pointsOf({ points, since }: LossCurve): LossPoint[] {
  return since.length > 0 ? [...points, meanOf(since)] : points
}

/** At the last step, each branch by the points that know it. */
function meanOf(points: readonly LossPoint[]): LossPoint {
  const mean = (branch: Branch) => {
    const known = points.flatMap(point => point[branch] ?? [])
    return known.length > 0 ? known.reduce((sum, loss) => sum + loss, 0) / known.length : null
  }
  const [reconstruction, labeled, unlabeled] = branches.map(mean)
  return { step: points.at(-1)?.step ?? 0, reconstruction: reconstruction ?? null, labeled: labeled ?? null, unlabeled: unlabeled ?? null }
}
