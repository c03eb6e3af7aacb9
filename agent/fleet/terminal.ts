/** Rows as a table that fits a terminal: columns that there is no room for are left out, the last one is cut off. */
import { styleText } from 'node:util'
import { visible } from '../lib/logger.js'
import { cut, padded, widthOf } from '../lib/text-width.js'
import { columnNames, columns, filterNames, filters, type ColumnName, type Row, type View } from './row.js'
import { accuracyOf, camerasOf, modelOf, roundOf, stateOf, wrongOf } from './words.js'

type Cell = (row: Row) => string
const cells: Record<ColumnName, Cell> = {
  device: ({ device }) => device,
  state: row => stateOf(row).text,
  cameras: camerasOf,
  model: modelOf,
  accuracy: accuracyOf,
  round: roundOf,
  drift: ({ drift }) => drift ?? '',
  frames: ({ frames, frameBytes }) => (frames === null ? '' : `${String(frames)}, ${((frameBytes ?? 0) / 1e6).toFixed(0)} MB`),
  version: ({ version }) => version ?? '',
  wrong: wrongOf,
}
/** What goes first where there is no room. */
const leastNeeded: readonly ColumnName[] = ['version', 'frames', 'drift', 'accuracy', 'round', 'cameras', 'model']
const leastWrong = 16
type Style = 'bold' | 'green' | 'yellow' | 'red'
const tones = { good: 'green', warning: 'yellow', bad: 'red' } as const

export interface Shape {
  /** Columns of the terminal; Infinity: nothing is cut off. */
  width: number
  colours: boolean
}

export function fleetTable(rows: readonly Row[], view: View, { width, colours }: Shape): string[] {
  const text = (name: ColumnName, row: Row) => visible(cells[name](row)).replaceAll('\n', ' ')
  const header = (name: ColumnName) => `${columns[name].title}${name === view.sort ? (view.descending ? ' ↓' : ' ↑') : ''}`
  const widest = (name: ColumnName) => rows.reduce((most, row) => Math.max(most, widthOf(text(name, row))), widthOf(header(name)))
  const widths = new Map(columnNames.map(name => [name, widest(name)]))
  const chosen = () => [...widths.keys()].filter(name => name !== 'wrong')
  const taken = () => chosen().reduce((sum, name) => sum + (widths.get(name) ?? 0) + 2, 0)
  for (const name of leastNeeded) if (taken() + leastWrong > width) widths.delete(name)
  const line = (of: (name: ColumnName) => string, paint = (_: ColumnName, cell: string) => cell) => {
    const fixed = chosen().map(name => paint(name, padded(cut(of(name), width), widths.get(name) ?? 0))).join('  ')
    const left = width - taken()
    return `${fixed}  ${cut(of('wrong'), left)}`.trimEnd()
  }
  const styled = (style: Style, cell: string) => (colours ? styleText(style, cell, { validateStream: false }) : cell)
  const painted = (row: Row) => (name: ColumnName, cell: string) => (name === 'state' ? styled(tones[stateOf(row).tone], cell) : cell)
  return [styled('bold', line(header)), ...rows.map(row => line(name => text(name, row), painted(row)))]
}

/** How many there are of each kind: `10 boxes, 2 shown · 1 offline · 2 degraded`. */
export function summary(rows: readonly Row[], shown: number): string {
  const counts = filterNames.map(name => ({ title: filters[name].title, count: rows.filter(filters[name].keeps).length }))
  const boxes = `${String(rows.length)} ${rows.length === 1 ? 'box' : 'boxes'}${shown === rows.length ? '' : `, ${String(shown)} shown`}`
  return [boxes, ...counts.filter(({ count }) => count > 0).map(({ title, count }) => `${String(count)} ${title}`)].join(' · ')
}
