/** What a class may be called: it is a folder, a word in topics and in people's mouths. */
import { PawlError } from '../errors.js'

/** A file system takes 255 bytes; a page and a broker would rather have fewer. */
const mostBytes = 100
// eslint-disable-next-line no-control-regex
const forbidden = /[/\\\u0000-\u001f\u007f]/u

/** The name as its folder has it. Errors: COMMAND_INVALID, saying what is wrong with it. */
export function classNameOf(text: string): string {
  const name = text.normalize('NFC').trim()
  const wrong = (what: string) => new PawlError('COMMAND_INVALID', `"${name.slice(0, 40)}${name.length > 40 ? '…' : ''}" cannot be the name of a class: ${what}`)
  if (name === '') throw wrong('it is empty')
  if (forbidden.test(name)) throw wrong('it has a slash, or a sign that cannot be seen')
  if (name.startsWith('.')) throw wrong('it begins with a dot, as hidden folders do')
  if (Buffer.byteLength(name) > mostBytes) throw wrong(`it is longer than ${String(mostBytes)} bytes`)
  return name
}
