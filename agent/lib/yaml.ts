/** YAML that a person wrote, or a machine broke: what is wrong with it, and where. */
import { isNode, isScalar, LineCounter, parseDocument, visit, type Document, type Node, type Pair } from 'yaml'
import { PawlError } from '../errors.js'

/** Characters of a file that is read. */
const longestText = 250_000

export interface Yaml {
  document: Document
  value: unknown
  /** File, line and column of a place in the text. */
  at: (offset: number) => string
}

/** Errors: CONFIG_INVALID, saying where it went wrong first: the rest follows from that. */
export function parseYaml(text: string, file: string): Yaml {
  if (text.length > longestText) throw new PawlError('CONFIG_INVALID', `${file}: it has ${String(text.length)} characters; at most ${String(longestText)} are read`)
  const lines = new LineCounter()
  const document: Document = parseDocument(text, { lineCounter: lines, uniqueKeys: false, logLevel: 'error' })
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${file}:${String(line)}:${String(col)}`
  }
  const error = document.errors[0] ?? document.warnings[0]
  const wrong = error ? { offset: error.pos[0], what: syntaxOf(error.code, error.message) } : strangeIn(document)
  if (wrong) throw new PawlError('CONFIG_INVALID', `${at(wrong.offset)}: ${wrong.what}`)
  return { document, value: plainOf(document, file), at }
}

/** What begins with a sign of YAML may be meant to be a password: it is not repeated. */
const unquoted = (sign: string) => `a text that begins with ${sign} needs quotes`

function syntaxOf(code: string, message: string): string {
  if (code === 'TAG_RESOLVE_FAILED') return unquoted('!')
  return message.startsWith('Maximum call stack') ? 'it is nested too deeply' : message.replace(/ at line \d[^]*$/, '')
}

/** What the parser lets pass, or takes too long to find. */
function strangeIn(document: Document): { offset: number; what: string } | null {
  let found: { offset: number; what: string } | null = null
  const tell = (node: Node, what: string) => {
    found = { offset: node.range?.[0] ?? 0, what }
    return visit.BREAK
  }
  visit(document, {
    Alias: (_, alias) => (alias.resolve(document) ? undefined : tell(alias, unquoted('*'))),
    Map: (_, map) => {
      const keys = new Set<unknown>()
      for (const { key } of map.items as Pair<Node | null>[]) {
        const name = isScalar(key) ? key.value : key
        if (isNode(key) && !isScalar(key)) return tell(key, 'a key is a word')
        if (isNode(key) && keys.has(name)) return tell(key, `the key "${String(name)}" is there twice`)
        keys.add(name)
      }
      return undefined
    },
  })
  return found
}

/** Errors: CONFIG_INVALID for aliases that stand for more than anybody writes. */
function plainOf(document: Document, file: string): unknown {
  try {
    return document.toJS()
  } catch (cause) {
    throw new PawlError('CONFIG_INVALID', `${file}: ${cause instanceof Error ? cause.message : String(cause)}; write it without & and *`, { cause })
  }
}
