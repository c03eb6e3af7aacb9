/** What all plots have in common: how they look, and the way from a Vega-Lite spec to SVG. */
import { parse, View } from 'vega'
import { compile, type Config, type TopLevelSpec } from 'vega-lite'

const font = ['system-ui', '-apple-system', 'Segoe UI', 'DejaVu Sans', 'sans-serif'].join(', ')

export const ink = { text: '#1f2328', quiet: '#59636e', grid: '#e4e8ec', axis: '#8c959f', ground: '#ffffff' } as const

/** Told apart by the colour-blind: Okabe and Ito, *Color Universal Design*, 2008, without the yellow, which is lost on white. */
export const colours = {
  blue: '#0072b2', vermilion: '#d55e00', green: '#009e73', purple: '#cc79a7', orange: '#e69f00', sky: '#56b4e9', black: '#000000',
} as const

/** A ground of its own, so that a page in dark mode does not shine through. */
const house: Config = {
  background: ink.ground,
  padding: 12,
  font,
  view: { stroke: null },
  title: { color: ink.text, fontSize: 14, fontWeight: 600, subtitleColor: ink.quiet, subtitleFontSize: 12, anchor: 'start', frame: 'group', offset: 14, subtitlePadding: 5 },
  axis: {
    labelColor: ink.quiet, labelFontSize: 12, titleColor: ink.text, titleFontSize: 12, titleFontWeight: 'normal', titlePadding: 10,
    domainColor: ink.axis, tickColor: ink.axis, gridColor: ink.grid, tickSize: 4,
  },
  axisX: { grid: false, labelFlush: false },
  axisY: { ticks: false },
  legend: { labelColor: ink.text, labelFontSize: 12, labelLimit: 0, titleColor: ink.text, titleFontSize: 12, titleFontWeight: 'normal' },
  header: { labelColor: ink.text, labelFontSize: 14, labelFontWeight: 600, title: null },
  point: { filled: true, opacity: 1 },
}

export async function chart(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile({ ...spec, config: house }).spec), { renderer: 'none' })
  const svg = await view.toSVG()
  view.finalize()
  return `${svg}\n`
}
