/** Panels of points and lines side by side, as SVG. */
import { ticks, type Fit, type Point } from './fit.js'

export interface Panel {
  title: string
  /** With its unit. */
  x: string
  y: string
  points: readonly Point[]
  /** What the legend calls the points. */
  measured: string
  fit: Fit
  /** Of y in the legend's equation. */
  digits: number
  colour: string
}

const [width, height] = [400, 340]
/** Pixels around the area of a panel. */
const margin = { left: 66, right: 20, top: 46, bottom: 56 }
const ink = { text: '#1f2328', quiet: '#59636e', grid: '#e4e8ec', axis: '#8c959f', ground: '#ffffff' }

/** `caption` stands below all panels. */
export function plotted(panels: readonly Panel[], caption: string): string {
  const [w, h] = [width * panels.length, height + 28]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${String(w)} ${String(h)}" width="${String(w)}" height="${String(h)}"`
    + ' font-family="system-ui, -apple-system, \'Segoe UI\', \'DejaVu Sans\', sans-serif" font-size="12">',
    `<rect width="100%" height="100%" fill="${ink.ground}"/>`,
    ...panels.map((panel, index) => `<g transform="translate(${String(index * width)} 0)">\n${drawn(panel).join('\n')}\n</g>`),
    text(w / 2, height + 12, caption, { fill: ink.quiet, anchor: 'middle', size: 11 }),
    '</svg>',
    '',
  ].join('\n')
}

function drawn(panel: Panel): string[] {
  const { points, fit, colour } = panel
  const [xs, ys] = [ticks(Math.max(...points.map(([x]) => x))), ticks(Math.max(...points.map(([, y]) => y)))]
  const [right, bottom, endX, endY] = [width - margin.right, height - margin.bottom, xs.at(-1) ?? 1, ys.at(-1) ?? 1]
  const atX = (x: number) => margin.left + (x / endX) * (right - margin.left)
  const atY = (y: number) => bottom - (y / endY) * (bottom - margin.top)
  const on = (x: number): Point => [atX(x), atY(fit.intercept + fit.slope * x)]
  const largest = Math.max(...points.map(([x]) => x))
  // A line that meets the axis below 0 begins where it comes up.
  const from = fit.intercept < 0 && fit.slope > 0 ? -fit.intercept / fit.slope : 0
  // What grows leaves the corner at the bottom right free.
  const legend = { x: right - 206, y: bottom - 42 }
  return [
    text((margin.left + right) / 2, 26, panel.title, { anchor: 'middle', size: 14, weight: 600 }),
    ...ys.map(y => line([margin.left, atY(y)], [right, atY(y)], ink.grid)),
    ...ys.map(y => text(margin.left - 8, atY(y) + 4, String(y), { fill: ink.quiet, anchor: 'end' })),
    ...xs.map(x => line([atX(x), bottom], [atX(x), bottom + 4], ink.axis)),
    ...xs.map(x => text(atX(x), bottom + 18, String(x), { fill: ink.quiet, anchor: 'middle' })),
    line([margin.left, margin.top], [margin.left, bottom], ink.axis),
    line([margin.left, bottom], [right, bottom], ink.axis),
    text((margin.left + right) / 2, bottom + 40, panel.x, { anchor: 'middle' }),
    text(0, 0, panel.y, { anchor: 'middle', transform: `translate(18 ${place((margin.top + bottom) / 2)}) rotate(-90)` }),
    line(on(from), on(largest), colour, ' stroke-width="1.5" stroke-dasharray="6 4"'),
    ...points.map(([x, y]) => dot([atX(x), atY(y)], colour)),
    `<rect x="${place(legend.x - 8)}" y="${place(legend.y - 14)}" width="212" height="48" rx="4" fill="${ink.ground}" fill-opacity="0.9"/>`,
    dot([legend.x + 10, legend.y], colour),
    text(legend.x + 28, legend.y + 4, panel.measured, {}),
    line([legend.x, legend.y + 18], [legend.x + 20, legend.y + 18], colour, ' stroke-width="1.5" stroke-dasharray="6 4"'),
    text(legend.x + 28, legend.y + 22, equation(panel), {}),
  ]
}

/** `0.012 + 0.0043 x, R² 0.9991`. */
function equation({ fit, digits }: Panel): string {
  const sign = fit.slope < 0 ? '−' : '+'
  const r2 = Math.floor(fit.r2 * 1e4) / 1e4
  return `${fit.intercept.toFixed(digits).replace('-', '−')} ${sign} ${Math.abs(fit.slope).toPrecision(3)} x,  R² ${r2.toFixed(4)}`
}

function line([x1, y1]: Point, [x2, y2]: Point, colour: string, more = ''): string {
  return `<path d="M${place(x1)} ${place(y1)}L${place(x2)} ${place(y2)}" stroke="${colour}" fill="none"${more}/>`
}

function dot([x, y]: Point, colour: string): string {
  return `<circle cx="${place(x)}" cy="${place(y)}" r="4" fill="${colour}" stroke="${ink.ground}" stroke-width="1.5"/>`
}

interface TextStyle { fill?: string; anchor?: 'middle' | 'end'; size?: number; weight?: number; transform?: string }

function text(x: number, y: number, content: string, { fill = ink.text, anchor, size, weight, transform }: TextStyle): string {
  const attributes = Object.entries({ fill, 'text-anchor': anchor, 'font-size': size, 'font-weight': weight, transform })
    .flatMap(([name, value]) => (value === undefined ? [] : [` ${name}="${String(value)}"`]))
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${place(x)}" y="${place(y)}"${attributes.join('')}>${escaped}</text>`
}

function place(pixels: number): string {
  return String(Math.round(pixels * 10) / 10)
}
