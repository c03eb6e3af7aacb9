/** What every command prints: words and tables for people, or one JSON object as the last line for machines. */
import { visible } from '../lib/logger.js'

export interface OutputOptions {
  json?: boolean | undefined
}

/** Prints `data` as JSON where it was asked for, else `lines`. */
export function print({ json }: OutputOptions, data: unknown, lines: readonly string[]): void {
  process.stdout.write(json ? `${JSON.stringify(data)}\n` : `${lines.map(visible).join('\n')}\n`)
}

/** Columns as wide as their widest cell; numbers to the right. */
export function table(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string[] {
  const cells = [header, ...rows.map(row => row.map(String))]
  const widths = header.map((_, column) => Math.max(...cells.map(row => row[column]?.length ?? 0)))
  return cells.map((row, index) => row.map((cell, column) => {
    const width = widths[column] ?? 0
    return typeof rows[0]?.[column] === 'number' && index > 0 ? cell.padStart(width) : cell.padEnd(width)
  }).join('  ').trimEnd())
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
