/** What the learning benchmarks share: options from the command line, results as JSON lines, means and spreads. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { appendFile, mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { parseArgs, type ParseArgsConfig } from 'node:util'

/** What the command line says. At `--help`, and where it is not understood, the script tells what stands at its top. */
export function parsed<const Config extends ParseArgsConfig>(script: string, config: Config): ReturnType<typeof parseArgs<Config>> {
  const usage = () => (/\/\*\*([^]*?)\*\//.exec(readFileSync(script, 'utf8'))?.[1] ?? '').replaceAll(/^ \* ?/gm, '').trim()
  if (process.argv.includes('--help')) {
    process.stdout.write(`${usage()}\n`)
    process.exit(0)
  }
  try {
    return parseArgs(config)
  } catch (cause) {
    return stop(`${cause instanceof Error ? cause.message : String(cause)}\n\n${usage()}`)
  }
}

export function numbers(what: string, given: string): number[] {
  return given.split(',').map(text => number(what, text))
}

export function number(what: string, given: string): number {
  const value = Number(given)
  return value > 0 ? value : stop(`--${what} is "${given}", expected a number above 0`)
}

/** The comma-separated names, each one of `known`. */
export function names<Name extends string>(what: string, given: string, known: readonly Name[]): Name[] {
  return given.split(',').map(name => known.find(other => other === name) ?? stop(`--${what}: "${name}", expected some of ${known.join(', ')}`))
}

/** The lines of a file of JSON lines; none where there is no file. */
export async function linesOf<Line>(path: string): Promise<Line[]> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return ''
    throw cause
  })
  return text.split('\n').filter(line => line !== '').map(line => JSON.parse(line) as Line)
}

interface Missing<Key, Result extends Key> {
  /** Of the results, a JSON line each. */
  file: string
  /** Tells one run from all others. */
  nameOf: (key: Key) => string
  run: (key: Key) => Promise<Result>
  /** Whether a line still tells what the run would give; else it is run again. */
  holds?: (result: Result) => boolean
  /** Once its line is written. */
  onKept?: (key: Key) => Promise<void>
}

/**
 * Runs what is not among the results yet, one after the other; each line tells the commit that it was measured at. Gives all results that
 * there are in the end.
 */
export async function completed<Key, Result extends Key>(
  keys: readonly Key[], { file, nameOf, run, holds = () => true, onKept }: Missing<Key, Result>,
): Promise<Result[]> {
  const done = await linesOf<Result>(file)
  const commit = execFileSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' }).trim()
  const missing = keys.filter(key => !done.some(result => nameOf(result) === nameOf(key) && holds(result)))
  if (missing.length < keys.length) say(`${String(keys.length - missing.length)} of ${String(keys.length)} are in ${file} already, and are not run again: another --results would`)
  // Before a run of an hour, not after it.
  if (missing.length) await mkdir(dirname(file), { recursive: true })
  for (const key of new Map(missing.map(one => [nameOf(one), one])).values()) {
    say(nameOf(key))
    const result = await run(key)
    await appendFile(file, `${JSON.stringify({ ...result, commit })}\n`)
    await onKept?.(key)
    done.push(result)
  }
  return done
}

export function grouped<Item, Key>(items: readonly Item[], keyOf: (item: Item) => Key): Map<Key, Item[]> {
  const groups = new Map<Key, Item[]>()
  for (const item of items) groups.set(keyOf(item), [...groups.get(keyOf(item)) ?? [], item])
  return groups
}

export function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

export function stop(reason: string): never {
  process.stderr.write(`${reason}\n`)
  process.exit(2)
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Standard deviation of a sample. */
export function spread(values: readonly number[]): number {
  const middle = mean(values)
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / Math.max(values.length - 1, 1))
}
