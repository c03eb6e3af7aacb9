/** A file that a person wrote, against its schema: everything that is wrong with it, by line and column. */
import { readFile } from 'node:fs/promises'
import { isMap, isNode, type Document, type Node } from 'yaml'
import { z } from 'zod'
import { PawlError } from '../errors.js'
import { withoutPasswords } from './logger.js'
import { readingFix } from './ownership.js'
import { parseYaml } from './yaml.js'

/** Problems that are told of at once. */
const mostProblems = 20

export interface CheckedOptions {
  text: string
  /** Its name, for what is said of it. */
  file: string
  /** Where to look what is right. */
  hint: string
}

/** Errors: CONFIG_INVALID, naming file, line, column, key, value and fix of everything that is wrong. */
export function parseChecked<S extends z.ZodType>(schema: S, { text, file, hint }: CheckedOptions): z.infer<S> {
  const { document, value, at } = parseYaml(text, file)
  const parsed = schema.safeParse(value ?? {})
  if (parsed.success) return parsed.data
  const told = { schema, document, at, hint }
  const problems = parsed.error.issues.slice(0, mostProblems).flatMap(issue => problemsOf(issue, told)).slice(0, mostProblems)
  throw new PawlError('CONFIG_INVALID', problems.join('\n'))
}

/** `hint`: what to do where there is none. Errors: CONFIG_INVALID. */
export async function readText(file: string, hint: string): Promise<string> {
  return await readFile(file, 'utf8').catch(async (cause: unknown) => {
    const denied = cause instanceof Error && 'code' in cause && cause.code === 'EACCES'
    const fix = denied ? await readingFix(file) : hint
    throw new PawlError('CONFIG_INVALID', `${file}: the file cannot be read (${cause instanceof Error ? cause.message : String(cause)}); ${fix}`, { cause })
  })
}

interface Told {
  schema: z.ZodType
  document: Document
  at: (offset: number) => string
  hint: string
}

function problemsOf(issue: z.core.$ZodIssue, { schema, document, at, hint }: Told): string[] {
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, issue.path)
    return issue.keys.slice(0, mostProblems).map(key => {
      const path = [...issue.path, key].join('.')
      const near = nearest(key, known)
      const fix = near ? `did you mean "${near}"?` : `known here: ${known.join(', ')}`
      return `${at(offsetOf(document, issue.path, key))}: ${path}: there is no such key; ${fix}`
    })
  }
  const key = issue.path.join('.')
  const value: unknown = document.getIn(issue.path)
  const shown = isNode(value) || /password/i.test(key) ? '' : value === undefined ? 'is missing' : `is ${shownOf(value)}`
  return [`${at(offsetOf(document, issue.path))}: ${key} ${shown}`.trimEnd() + `; ${issue.message}; ${hint}`]
}

function shownOf(value: unknown): string {
  return typeof value === 'number' ? String(value) : withoutPasswords(JSON.stringify(value)).slice(0, 200)
}

/** Where a value (or a key inside it) stands in the file. */
function offsetOf(document: Document, path: readonly PropertyKey[], key?: string): number {
  const node = document.getIn(path, true) as Node | undefined
  if (key !== undefined && isMap(node)) {
    const pair = node.items.find(item => String(item.key) === key)
    if (isNode(pair?.key)) return pair.key.range?.[0] ?? 0
  }
  return node?.range?.[0] ?? (path.length ? offsetOf(document, path.slice(0, -1)) : 0)
}

function knownKeys(whole: z.ZodType, path: readonly PropertyKey[]): string[] {
  let schema = z.toJSONSchema(whole, { io: 'input' }) as JsonSchema
  for (const step of path) schema = (typeof step === 'number' ? schema.items : schema.properties?.[String(step)]) ?? {}
  const object = schema.properties ? schema : schema.anyOf?.find(option => option.properties) ?? {}
  return Object.keys(object.properties ?? {})
}

export interface JsonSchema {
  properties?: Record<string, JsonSchema>
  items?: JsonSchema
  anyOf?: JsonSchema[]
  description?: string
  default?: unknown
}

/** The known key that is at most a third of its letters away. */
function nearest(key: string, known: readonly string[]): string | null {
  const ranked = known.map(other => ({ other, distance: editDistance(key.toLowerCase(), other.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)
  const [best] = ranked
  return best && best.distance <= Math.max(1, key.length / 3) ? best.other : null
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const [above = 0, left = 0, corner = 0] = [row[j], next[j - 1], row[j - 1]]
      next.push(Math.min(above + 1, left + 1, corner + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length] ?? 0
}
