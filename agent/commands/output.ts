/** What every command prints: words and tables for people, or one JSON object as the last line for machines. */
import stringWidth from 'string-width'
import { visible } from '../lib/logger.js'

export interface OutputOptions {
  json?: boolean | undefined
}

/** Prints `data` as JSON where it was asked for, else `lines`. */
export function print({ json }: OutputOptions, data: unknown, lines: readonly string[]): void {
  process.stdout.write(json ? `${JSON.stringify(data)}\n` : `${lines.map(visible).join('\n')}\n`)
}

/** Columns as wide as their widest cell, the widest of them narrower where a terminal has no room for all; numbers to the right. */
export function table(
  header: readonly string[], rows: readonly (readonly (string | number)[])[], room = process.stdout.isTTY ? process.stdout.columns : Infinity,
): string[] {
  const cells = [header, ...rows.map(row => row.map(String))].map(row => row.map(cell => visible(cell).replaceAll('\n', ' ')))
  const widths = header.map((_, column) => Math.max(...cells.map(row => stringWidth(row[column] ?? ''))))
  const gaps = gap * (header.length - 1)
  for (let over = sum(widths) + gaps - room; over > 0; over--) {
    const widest = Math.max(...widths)
    if (widest <= leastWidth) break
    widths[widths.indexOf(widest)] = widest - 1
  }
  return cells.map((row, index) => row.map((text, column) => {
    const width = widths[column] ?? 0
    const cell = cut(text, width)
    const blank = ' '.repeat(width - stringWidth(cell))
    return typeof rows[0]?.[column] === 'number' && index > 0 ? blank + cell : cell + blank
  }).join(' '.repeat(gap)).trimEnd())
}

const [gap, leastWidth] = [2, 6]

/** The text, or as much of it as fits with a sign that there is more. */
function cut(text: string, width: number): string {
  if (stringWidth(text) <= width) return text
  let kept = ''
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    if (stringWidth(kept + segment) >= width) break
    kept += segment
  }
  return `${kept}…`
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
