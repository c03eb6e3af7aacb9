/** Lines over steps, and an accuracy with its interval: drawings that read the same on the page and in a report. */
import { scaleLinear } from 'd3-scale'
import { line } from 'd3-shape'
import { percent } from '../format.js'

export interface Series {
  name: string
  points: readonly Point[]
}

interface Point {
  x: number
  /** Null: not known there; the line has a gap. */
  y: number | null
}

export interface ChartProps {
  title: string
  series: readonly Series[]
  /** Stretches along the line to mark, and what they are. */
  marked?: { name: string; from: number; to: number }[]
  /** Whether values are shares, 0 to 1, told in percent; else they begin at 0. */
  shares?: boolean
}

const [width, height] = [640, 220]
const margin = { left: 52, right: 12, top: 10, bottom: 30 } as const

/** Lines over the steps of a round. Nothing is drawn where there are no points. */
export function Chart({ title, series, marked = [], shares = false }: ChartProps) {
  const points = series.flatMap(one => one.points.filter(isKnown))
  if (points.length === 0) return null
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)]
  const x = scaleLinear([Math.min(...xs), Math.max(...xs, Math.min(...xs) + 1)], [margin.left, width - margin.right])
  const y = scaleLinear([shares ? Math.min(...ys) : 0, shares ? 1 : Math.max(...ys)], [height - margin.bottom, margin.top]).nice(5)
  const told = (value: number) => (shares ? percent(value, 0) : value.toLocaleString())
  const draw = line<Point>(point => x(point.x), point => y(point.y ?? 0)).defined(isKnown)
  const said = series.flatMap(({ name, points: own }) => {
    const known = own.filter(isKnown)
    const [first, last] = [known[0], known.at(-1)]
    return first && last ? [`${name}: from ${told(first.y)} to ${shares ? percent(last.y) : last.y.toPrecision(3)}`] : []
  })
  return <figure class="chart">
    <figcaption>{title}</figcaption>
    <ul class="legend">
      {series.map(({ name, points: own }, at) => own.some(isKnown) && <li key={name}><svg viewBox="0 0 24 8" aria-hidden="true"><line class={`series-${String(at)}`} x1="0" y1="4" x2="24" y2="4" /></svg>{name}</li>)}
      {[...new Set(marked.map(({ name }) => name))].map(name => <li key={name}><svg viewBox="0 0 24 8" aria-hidden="true"><rect class="marked" width="24" height="8" /></svg>{name}</li>)}
    </ul>
    <Wide label={title}><svg viewBox={`0 0 ${String(width)} ${String(height)}`} role="img" aria-label={`${title}. ${said.join('; ')}`}>
      {marked.map(({ from, to }) => <rect key={from} class="marked" x={x(from)} width={Math.max(1, x(to) - x(from))} y={margin.top} height={height - margin.top - margin.bottom} />)}
      {y.ticks(4).map(tick => <g key={tick}>
        <line class="axis" x1={margin.left} x2={width - margin.right} y1={y(tick)} y2={y(tick)} />
        <text x={margin.left - 6} y={y(tick) + 4} text-anchor="end">{told(tick)}</text>
      </g>)}
      {x.ticks(6).filter(Number.isInteger).map(tick => <text key={tick} x={x(tick)} y={height - 10} text-anchor="middle">{tick.toLocaleString()}</text>)}
      {series.map(({ name, points: own }, at) => <g key={name} class={`series-${String(at)}`}>
        <path d={draw(own) ?? ''} />
        {own.filter(isKnown).filter(point => standsAlone(own, point)).map(point => <circle key={point.x} cx={x(point.x)} cy={y(point.y)} r="3" />)}
      </g>)}
    </svg></Wide>
  </figure>
}

/** No line leads to it. */
function standsAlone(points: readonly Point[], point: Point): boolean {
  const at = points.indexOf(point)
  return [points[at - 1], points[at + 1]].every(next => next === undefined || !isKnown(next))
}

function isKnown(point: Point): point is { x: number; y: number } {
  return point.y !== null
}

/** An accuracy with its 95 % interval, on a line from 0 to 100 %. */
export function Interval({ value, interval, label }: { value: number; interval: readonly [number, number] | null; label: string }) {
  const x = (share: number) => 200 * share
  const said = `${label}: ${percent(value)}${interval ? `, between ${percent(interval[0])} and ${percent(interval[1])}` : ''}`
  return <figure class="interval">
    <figcaption>{said}</figcaption>
    <svg viewBox="0 0 200 12" role="img" aria-label={said}>
      <line x1="0" y1="6" x2="200" y2="6" class="axis" />
      {interval && <line x1={x(interval[0])} y1="6" x2={x(interval[1])} y2="6" class="range" />}
      <circle cx={x(value)} cy="6" r="4" class="point" />
    </svg>
  </figure>
}

/** What is wider than the screen moves sideways, by the keyboard too. */
export function Wide({ label, children }: { label: string; children: preact.ComponentChildren }) {
  return <div class="wide" role="region" aria-label={label} tabIndex={0}>{children}</div>
}
