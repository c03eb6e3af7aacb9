/** What a class may be called: it is a folder, a word in topics and in people's mouths. */
import { PawlError } from '../errors.js'

/** A file system takes 255 bytes; a page and a broker would rather have fewer. */
const mostBytes = 100
/** All that steers a terminal or turns text around, but for what joins the parts of an emoji. */
const unseen = /(?!\u200d)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u

/** `Bag` beside `bag` would be a slip. */
export function sameClass(one: string, other: string): boolean {
  return folded(one) === folded(other)
}

function folded(name: string): string {
  return name.normalize('NFC').toLowerCase()
}

/** The name as its folder has it: one that is there already, however it is written, else a new one. Errors: COMMAND_INVALID, saying why. */
export function classNameOf(text: string, there: readonly string[]): string {
  if (there.includes(text)) return text
  const name = text.normalize('NFC').trim()
  const known = there.find(other => other.normalize('NFC') === name) ?? there.find(other => sameClass(other, name))
  if (known !== undefined) return known
  const wrong = (what: string) => new PawlError('COMMAND_INVALID', `"${name.slice(0, 40)}${name.length > 40 ? '…' : ''}" cannot be the name of a class: ${what}`)
  if (name === '') throw wrong('it is empty')
  if (/[/\\]/.test(name)) throw wrong('it has a slash')
  if (unseen.test(name)) throw wrong('it has a sign that cannot be seen')
  if (name.startsWith('.')) throw wrong('it begins with a dot, as hidden folders do')
  if (Buffer.byteLength(name) > mostBytes) throw wrong(`it is longer than ${String(mostBytes)} bytes`)
  return name
}
