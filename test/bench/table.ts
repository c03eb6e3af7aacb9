/** Rows as columns of text, numbers to three digits and to the right; the names of the first row's values are the heads. */
import type { Row } from './measure.js'

export function tabled(rows: readonly Row[]): string[] {
  const heads = Object.keys(rows[0] ?? {})
  const lines = [heads, ...rows.map(row => heads.map(head => cell(row[head] ?? null)))]
  const widths = heads.map((_, column) => Math.max(...lines.map(line => line[column]?.length ?? 0)))
  const isText = heads.map(head => typeof rows[0]?.[head] === 'string')
  return lines.map(line => line.map((value, column) => {
    const width = widths[column] ?? 0
    return isText[column] ? value.padEnd(width) : value.padStart(width)
  }).join('  ').trimEnd())
}

function cell(value: string | number | null): string {
  if (value === null) return '-'
  if (typeof value === 'string' || Number.isInteger(value)) return String(value)
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3)
}
