/** Text in columns of a terminal: wide signs and emoji take two, and none is cut in two. */
import stringWidth from 'string-width'

const segmenter = new Intl.Segmenter()

export const widthOf = (text: string) => stringWidth(text)

/** The text, or as much of it as fits with a sign that there is more. */
export function cut(text: string, width: number): string {
  if (width < 1) return ''
  if (stringWidth(text) <= width) return text
  let [kept, taken] = ['', 0]
  for (const { segment } of segmenter.segment(text)) {
    taken += stringWidth(segment)
    if (taken >= width) break
    kept += segment
  }
  return `${kept}…`
}

/** With blanks behind it up to the width. */
export const padded = (text: string, width: number) => text + ' '.repeat(Math.max(0, width - stringWidth(text)))
