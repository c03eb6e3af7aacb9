/** Measurements in processes of their own, so that neither peaks of memory nor what one left behind reach the next. */
import { execFile } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { BenchReport, TimingOptions } from '../../trainer/bench.js'
import { trainerEnvironment, type PresetName } from '../../trainer/contract.js'
import { evenLanes, type Preset } from '../../trainer/model/presets.js'
import { plain } from '../../trainer/recipe.js'

/** What the command line asks for. */
export interface Options {
  /** How often the variants of a section are gone through. */
  turns: number
  /** Counted steps of one measurement; null: what the section takes. */
  repeats: number | null
  presets: readonly PresetName[]
  /** Tells what is being measured. */
  say: (text: string) => void
}

export type Row = Readonly<Record<string, string | number | null>>

/** A section's table, and what has to be said beside it. */
export interface Result {
  rows: Row[]
  notes: string[]
}

interface Times {
  secondsPerStep: number
  minSeconds: number
  firstSeconds: number
  peakRssBytes: number
}

const run = promisify(execFile)
/** Huge pages as the tuned peer has them. */
const environment = { env: { ...process.env, ...trainerEnvironment }, maxBuffer: 1e8 }

/** What `pawl bench train --plain` says, from the program that users run. */
export async function trainReport(preset: PresetName, repeats: number): Promise<BenchReport> {
  const program = join(import.meta.dirname, '../../dist/agent/main.js')
  const wanted = ['--preset', preset, '--repeats', String(repeats), '--backend', 'onnxruntime', '--device', 'cpu', '--plain', '--json']
  return JSON.parse(lastLine(await run(process.execPath, [program, 'bench', 'train', ...wanted], environment))) as BenchReport
}

/** Median of the counted steps on the embedded engine; a lane a core unless said otherwise. */
export async function stepTimes(options: Omit<TimingOptions, 'engine' | 'lanes' | 'switches'> & { lanes?: number }): Promise<Times> {
  const lanes = evenLanes(options.preset, availableParallelism())
  const timing: TimingOptions = { lanes, ...options, switches: plain, engine: { backend: 'onnxruntime', device: 'cpu' } }
  const child = ['--import', 'tsx', join(import.meta.dirname, 'child.ts'), JSON.stringify(timing)]
  const { seconds, ...rest } =
    JSON.parse(lastLine(await run(process.execPath, child, environment))) as Omit<Times, 'secondsPerStep' | 'minSeconds'> & { seconds: number[] }
  return { ...rest, secondsPerStep: median(seconds), minSeconds: Math.min(...seconds) }
}

function lastLine({ stdout }: { stdout: string }): string {
  return stdout.trimEnd().split('\n').at(-1) ?? ''
}

/** Measures A, B, C, then A, B, C again: what drifts on the machine reaches all alike. */
export async function inTurns<K extends string, R>(turns: number, names: readonly K[], measure: (name: K) => Promise<R>): Promise<Map<K, R[]>> {
  const results = new Map(names.map((name): [K, R[]] => [name, []]))
  for (let turn = 0; turn < turns; turn++) for (const name of names) results.get(name)?.push(await measure(name))
  return results
}

/** Median over the turns of what `others` take against what `ours` took in the same turn. */
export function medianRatio(others: readonly number[], ours: readonly number[]): number {
  return median(others.map((other, turn) => other / (ours[turn] ?? Number.NaN)))
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const half = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[half] ?? Number.NaN : ((sorted[half - 1] ?? Number.NaN) + (sorted[half] ?? Number.NaN)) / 2
}

export function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6)
}

export function imagesOf({ labeled, unlabeled }: Preset): number {
  return labeled + unlabeled
}
