/** What every command prints: words and tables for people, or one JSON object as the last line for machines. */
import { visible } from '../lib/logger.js'
import { cut, padded, widthOf } from '../lib/text-width.js'

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
  const widths = header.map((_, column) => Math.max(...cells.map(row => widthOf(row[column] ?? ''))))
  const gaps = gap * (header.length - 1)
  for (let over = sum(widths) + gaps - room; over > 0; over--) {
    const widest = Math.max(...widths)
    if (widest <= leastWidth) break
    widths[widths.indexOf(widest)] = widest - 1
  }
  return cells.map((row, index) => row.map((text, column) => {
    const width = widths[column] ?? 0
    const cell = cut(text, width)
    return typeof rows[0]?.[column] === 'number' && index > 0 ? ' '.repeat(width - widthOf(cell)) + cell : padded(cell, width)
  }).join(' '.repeat(gap)).trimEnd())
}

const [gap, leastWidth] = [2, 6]

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
