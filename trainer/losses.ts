/** The losses of a round as a curve of bounded length. */
import type { LossPoint } from './contract.js'

type Losses = Omit<LossPoint, 'step'>

/** Plain data, so that it outlives an interruption. */
export interface LossCurve {
  /** Means over `stretch` steps each. */
  points: LossPoint[]
  stretch: number
  /** Sums over the steps since the last point, and how many those are. */
  since: Losses
  steps: number
}

const mostPoints = 200
const none: Losses = { reconstruction: 0, labeled: 0, unlabeled: 0 }

export function emptyCurve(): LossCurve {
  return { points: [], stretch: 1, since: none, steps: 0 }
}

/** The curve with one step more; where it would have too many points, two become one. */
export function withStep({ points, stretch, since, steps }: LossCurve, step: number, losses: Losses): LossCurve {
  const sums = combined(since, losses, (sum, loss) => sum + loss)
  if (steps + 1 < stretch) return { points, stretch, since: sums, steps: steps + 1 }
  const longer = [...points, { step, ...combined(sums, none, sum => sum / stretch) }]
  if (longer.length < mostPoints) return { points: longer, stretch, since: none, steps: 0 }
  const halved = longer.flatMap((point, index) => {
    const former = longer[index - 1]
    return former && index % 2 === 1 ? [{ step: point.step, ...combined(former, point, (one, other) => (one + other) / 2) }] : []
  })
  return { points: halved, stretch: 2 * stretch, since: none, steps: 0 }
}

function combined(a: Losses, b: Losses, how: (one: number, other: number) => number): Losses {
  return {
    reconstruction: how(a.reconstruction, b.reconstruction), labeled: how(a.labeled, b.labeled), unlabeled: how(a.unlabeled, b.unlabeled),
  }
}
