/** Which engine trains: the one that is asked for, or the fastest that passes its self-check on this machine. */
import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { cpus } from 'node:os'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { embedded, engines, nameOf, sameEngine, type Engine } from './backend/choose.js'
import { trainerEnvironment, type PresetName, type Verification } from './contract.js'

/** Time that one engine has for its self-check where nobody waits for it. */
const patientMs = 10 * 60_000

export interface Choice {
  engine: Engine
  /** Why this one, and why none of the others. */
  reason: string
  verifications: Verification[]
}

export interface Wish {
  backend: 'auto' | Engine['backend']
  device: 'auto' | Engine['device']
  preset: PresetName
  /** File that remembers what was verified on this machine; null: nothing is remembered. */
  memory: string | null
  /** Milliseconds that one engine may take; one that takes longer is passed over, and tried again the next time. */
  limitMs?: number
  /** Ends a self-check that is running. */
  signal?: AbortSignal
}

/**
 * An engine that is asked for by backend and device is taken as it is; else the fastest that passes. Where none but the embedded one
 * passes, that one is taken with the others' reasons. Errors: a backend is asked for of which nothing passes.
 */
export async function chooseEngine({ backend, device, ...rest }: Wish): Promise<Choice> {
  const wanted = engines.filter(engine => (backend === 'auto' || engine.backend === backend) && (device === 'auto' || engine.device === device))
  const [only] = wanted
  if (only && (wanted.length === 1 || (backend === 'onnxruntime' && device === 'auto'))) {
    return { engine: only, reason: `${nameOf(only)} was asked for`, verifications: [] }
  }
  const verifications = await verifiedEngines({ wanted, ...rest })
  const passing = verifications.filter(({ ok }) => ok)
  const [best] = passing.toSorted((a, b) => (b.imagesPerSecond ?? 0) - (a.imagesPerSecond ?? 0))
  if (!best && backend === 'tensorflow') {
    const reasons = verifications.map(({ reason }) => reason).join('; ')
    throw new Error(`the tensorflow backend does not train here: ${reasons}. Install @tensorflow/tfjs-node-gpu (deploy/README.md), or use --backend onnxruntime`)
  }
  return { engine: best?.engine ?? embedded, reason: verifications.map(told).join('; '), verifications }
}

/** `onnxruntime on cpu: 210 images/s`, or why not. */
function told({ engine, ok, reason, imagesPerSecond }: Verification): string {
  return `${nameOf(engine)}: ${ok ? `${(imagesPerSecond ?? 0).toFixed(1)} images/s` : reason ?? 'fails'}`
}

/**
 * What is known of the engines on this machine, from the memory where it is there and `anew` does not say otherwise. Each is verified in a
 * process of its own, one after the other so that their times are true.
 */
export async function verifiedEngines(
  { wanted = engines, preset, memory, anew = false, ...limits }: Omit<Wish, 'backend' | 'device'> & { wanted?: readonly Engine[]; anew?: boolean },
): Promise<Verification[]> {
  const known = await remembered(memory, preset)
  const verifications: Verification[] = []
  for (const engine of wanted) {
    const before = known.find(verification => sameEngine(verification.engine, engine))
    verifications.push(before && !anew ? before : await verifyInChild(engine, preset, limits))
    limits.signal?.throwIfAborted()
  }
  if (memory !== null) {
    const others = known.filter(({ engine }) => !wanted.some(other => sameEngine(engine, other)))
    await remember(memory, preset, [...others, ...verifications.filter(({ reason }) => !reason?.startsWith(tooLong))])
  }
  return verifications
}

/** How the reason begins of an engine that was passed over for time. */
const tooLong = 'its self-check took longer than'

/** Never raises: what goes wrong is the engine's reason. */
function verifyInChild(engine: Engine, preset: PresetName, { limitMs = patientMs, signal }: Pick<Wish, 'limitMs' | 'signal'>): Promise<Verification> {
  const nothing = { engine, ok: false, lossDifference: null, gradientDifference: null, slopeDifference: null, imagesPerSecond: null }
  const program = fileURLToPath(new URL('./verify-process.js', import.meta.url))
  const start = existsSync(program) ? [program] : ['--import', 'tsx', program.replace(/\.js$/, '.ts')]
  return new Promise(resolve => {
    const options = { timeout: limitMs, signal, maxBuffer: 1e7, env: { ...process.env, ...trainerEnvironment } }
    execFile(process.execPath, [...start, JSON.stringify(engine), JSON.stringify(preset)], options, (error, stdout, stderr) => {
      const line = stdout.trimEnd().split('\n').at(-1) ?? ''
      if (error?.killed) {
        resolve({ ...nothing, reason: `${tooLong} ${String(Math.round(limitMs / 1000))} s` })
        return
      }
      if (!line.startsWith('{')) {
        const [last = ''] = stderr.trimEnd().split('\n').slice(-1)
        resolve({ ...nothing, reason: `its process ended: ${error?.signal ?? String(error?.code ?? 0)} ${last}`.trim() })
        return
      }
      const answer = JSON.parse(line) as Omit<Verification, 'engine' | 'reason'> | { failed: string }
      if ('failed' in answer) resolve({ ...nothing, reason: firstLine(answer.failed) })
      else resolve({ ...answer, engine, reason: answer.ok ? null : differencesOf(answer) })
    })
  })
}

/** Of onnxruntime's reports of a failed check only what it says in words. */
function firstLine(message: string): string {
  const [line = ''] = message.split('\n')
  return line.replace(/^\/\S+:\d+ .* was false\. /, '').slice(0, 200)
}

function differencesOf({ lossDifference, gradientDifference, slopeDifference }: Omit<Verification, 'engine' | 'reason'>): string {
  const shown = (value: number | null) => (value ?? Number.NaN).toExponential(1)
  return `computes something else: losses differ by ${shown(lossDifference)}, the gradient by ${shown(gradientDifference)}, its slope by ${shown(slopeDifference)}`
}

/** Writes down that an engine failed in a round, so that the next round takes another. */
export async function rememberFailure(memory: string, preset: PresetName, engine: Engine, reason: string): Promise<void> {
  const known = await remembered(memory, preset)
  await remember(memory, preset, known.map(verification =>
    (sameEngine(verification.engine, engine) ? { ...verification, ok: false, reason: `failed in a round: ${firstLine(reason)}` } : verification)))
}

type Memory = Record<string, Verification[]>

async function remembered(memory: string | null, preset: PresetName): Promise<Verification[]> {
  const found = memory === null ? [] : (await readMemory(memory))[machine(preset)]
  return Array.isArray(found) ? found : []
}

async function remember(memory: string, preset: PresetName, verifications: Verification[]): Promise<void> {
  await mkdir(dirname(memory), { recursive: true })
  const fresh = `${memory}.${String(process.pid)}`
  await writeFile(fresh, JSON.stringify({ ...await readMemory(memory), [machine(preset)]: verifications }, null, 2))
  await rename(fresh, memory)
}

/** A file that cannot be read is measured anew. */
async function readMemory(path: string): Promise<Memory> {
  return readFile(path, 'utf8').then(text => (JSON.parse(text) ?? {}) as Memory).catch(() => ({}))
}

/** What the answer depends on: the machine, its GPUs and drivers, the versions, the preset. */
function machine(preset: PresetName): string {
  const require = createRequire(import.meta.url)
  const version = (name: string) => {
    try { return (require(`${name}/package.json`) as { version: string }).version } catch { return 'none' }
  }
  const gpus = ['/dev/dri', '/proc/driver/nvidia/gpus'].flatMap(folder => (existsSync(folder) ? readdirSync(folder) : []))
  return [
    cpus()[0]?.model, cpus().length, gpus.join(','), process.env.VK_ICD_FILENAMES, process.version, version('onnxruntime-node'),
    ...['core', 'node-gpu', 'node'].map(part => version(`@tensorflow/tfjs-${part}`)), preset,
  ].join('|')
}
