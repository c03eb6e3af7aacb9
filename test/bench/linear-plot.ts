/** Panels of measured points and their least-squares lines, side by side. */
import type { TopLevelSpec } from 'vega-lite'
import { ink } from './chart.js'
import { fitted, type Fit, type Point } from './fit.js'

export interface Panel {
  title: string
  /** With its unit. */
  x: string
  y: string
  points: readonly Point[]
  /** Of y in the line's equation. */
  digits: number
  colour: string
}

const [width, height, ticks] = [314, 238, 6]

/** `caption` stands below all panels. */
export function linearSpec(panels: readonly Panel[], caption: string): TopLevelSpec {
  return {
    title: { text: caption, orient: 'bottom', color: ink.quiet, fontSize: 11, fontWeight: 'normal', anchor: 'middle', frame: 'bounds', offset: 16 },
    hconcat: panels.map(drawn),
    spacing: 32,
  }
}

function drawn({ title, x, y, points, digits, colour }: Panel, index: number) {
  const fit = fitted(points)
  const largest = Math.max(...points.map(([at]) => at))
  // A line that meets the axis below 0 begins where it comes up.
  const from = fit.intercept < 0 && fit.slope > 0 ? -fit.intercept / fit.slope : 0
  const scale = { zero: true, nice: ticks }
  const axes = {
    x: { field: 'x', type: 'quantitative', title: x, scale, axis: { tickCount: ticks } },
    y: { field: 'y', type: 'quantitative', title: y, scale, axis: { tickCount: ticks } },
  } as const
  return {
    title: { text: title, anchor: 'middle' }, width, height,
    layer: [
      {
        data: { values: [from, largest].map(at => ({ x: at, y: fit.intercept + fit.slope * at })) },
        mark: { type: 'line', color: colour, strokeWidth: 1.5, strokeDash: [6, 4] },
        encoding: axes,
      },
      {
        // Layers of one name would share their points.
        name: `measured_${String(index)}`,
        data: { values: points.map(([x, y]) => ({ x, y })) },
        mark: { type: 'point', color: colour, size: 60, stroke: ink.ground, strokeWidth: 1.5 },
        encoding: axes,
      },
      {
        // What grows leaves the corner at the bottom right free.
        data: { values: [{}] },
        mark: { type: 'text', text: equation(fit, digits), color: colour, align: 'right', fontSize: 13, fontWeight: 600 },
        encoding: { x: { value: width - 8 }, y: { value: height - 20 } },
      },
    ],
  } satisfies TopLevelSpec
}

/** `0.012 + 0.0043 x, R² 0.9991`. */
function equation({ slope, intercept, r2 }: Fit, digits: number): string {
  const sign = slope < 0 ? '−' : '+'
  const rounded = Math.floor(r2 * 1e4) / 1e4
  return `${intercept.toFixed(digits).replace('-', '−')} ${sign} ${Math.abs(slope).toPrecision(3)} x, R² ${rounded.toFixed(4)}`
}
