/** Tables as pages have them. */

/** A Markdown table; the names of the first row's values are the heads, all but the first column to the right. */
export function markdown(rows: readonly Readonly<Record<string, string>>[]): string[] {
  const heads = Object.keys(rows[0] ?? {})
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(heads), line(heads.map((_, column) => (column ? '---:' : '---'))), ...rows.map(row => line(heads.map(head => row[head] ?? '')))]
}

/** A share in per cent to one digit, with a proper minus. */
export function percent(share: number): string {
  return (100 * share).toFixed(1).replace('-', '−')
}
