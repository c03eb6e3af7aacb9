/** Which engine trains: the one that is asked for, or the fastest that passes its self-check on this machine. */
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { cpus } from 'node:os'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { embedded, engines, nameOf, sameEngine, type Engine } from './backend/choose.js'
import { RoundError, trainerEnvironment, type PresetName, type Verification } from './contract.js'

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
 * An engine that is asked for by backend and device is taken as it is, and so is the embedded one when only its backend is named; else the
 * fastest that passes. Errors: `RoundError` where a backend or a device is asked for of which nothing passes, with the reasons.
 */
export async function chooseEngine({ backend, device, ...rest }: Wish): Promise<Choice> {
  const wanted = engines.filter(engine => (backend === 'auto' || engine.backend === backend) && (device === 'auto' || engine.device === device))
  const [only] = wanted
  if (!only) throw new RoundError('crashed', `there is no ${backend} on ${device}; device webgpu is onnxruntime's alone`)
  if (wanted.length === 1 || (backend === 'onnxruntime' && device === 'auto')) {
    return { engine: only, reason: `${nameOf(only)} was asked for`, verifications: [] }
  }
  const verifications = await verifiedEngines({ wanted, ...rest })
  const passing = verifications.filter(({ ok }) => ok)
  const [best] = passing.toSorted((a, b) => (b.imagesPerSecond ?? 0) - (a.imagesPerSecond ?? 0))
  const reason = verifications.map(told).join('; ')
  if (!best && (backend !== 'auto' || device !== 'auto')) {
    const [what, other] = backend === 'auto' ? [`the device ${device}`, '--device auto'] : [`the ${backend} backend`, '--backend onnxruntime']
    throw new RoundError('crashed', `${what} does not train here: ${reason}. Install what is missing (deploy/README.md), or use ${other}`)
  }
  // A box that is too busy for a check in time has to train with something: with what needs no device.
  const unproved = 'unverified, for nothing passed in time; "pawl doctor --verify-device" takes all it needs: '
  return { engine: best?.engine ?? embedded, reason: `${best ? '' : unproved}${reason}`, verifications }
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
  const results: Result[] = []
  for (const engine of wanted) {
    const before = known.find(verification => sameEngine(verification.engine, engine))
    results.push(before && !anew ? { verification: before, lasting: true } : await verifyInChild(engine, preset, limits))
    limits.signal?.throwIfAborted()
  }
  if (memory !== null) {
    const others = known.filter(({ engine }) => !wanted.some(other => sameEngine(engine, other)))
    await remember(memory, preset, [...others, ...results.flatMap(({ verification, lasting }) => (lasting ? [verification] : []))])
  }
  return results.map(({ verification }) => verification)
}

interface Result {
  verification: Verification
  /** False for what may go otherwise the next time: no time, no memory, a busy device. */
  lasting: boolean
}

/** Never raises: what goes wrong is the engine's reason. */
function verifyInChild(engine: Engine, preset: PresetName, { limitMs = patientMs, signal }: Pick<Wish, 'limitMs' | 'signal'>): Promise<Result> {
  const program = fileURLToPath(new URL('./verify-process.js', import.meta.url))
  const start = existsSync(program) ? [program] : ['--import', 'tsx', program.replace(/\.js$/, '.ts')]
  return new Promise(resolve => {
    const options = { timeout: Math.ceil(limitMs), signal, killSignal: 'SIGKILL', maxBuffer: 1e7, env: { ...process.env, ...trainerEnvironment } } as const
    const failed = (reason: string, lasting: boolean) => {
      const nothing = { lossDifference: null, gradientDifference: null, slopeDifference: null, imagesPerSecond: null }
      resolve({ verification: { engine, ok: false, reason, ...nothing }, lasting })
    }
    execFile(process.execPath, [...start, JSON.stringify(engine), JSON.stringify(preset)], options, (error, stdout, stderr) => {
      const line = stdout.trimEnd().split('\n').at(-1) ?? ''
      if (error?.killed) return failed(`its self-check took longer than ${String(Math.round(limitMs / 1000))} s`, false)
      if (!line.startsWith('{')) {
        const [last = ''] = stderr.trimEnd().split('\n').slice(-1)
        return failed(`its process ended: ${error?.signal ?? String(error?.code ?? 0)} ${last}`.trim(), false)
      }
      const answer = JSON.parse(line) as Omit<Verification, 'engine' | 'reason'> | { failed: string }
      if ('failed' in answer) return failed(firstLine(answer.failed), true)
      resolve({ verification: { ...answer, engine, reason: answer.ok ? null : differencesOf(answer) }, lasting: true })
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

const silentEnd = 'the last round with it ended without a word'

/**
 * Trains with an engine on trial: where `work` fails by the engine, or takes the process down with it, the next round leaves that engine
 * alone until `pawl doctor --verify-device` clears it. `blames` says of an error whether it speaks of the engine.
 */
export async function onTrial<T>(
  { memory, preset, engine, blames }: { memory: string | null; preset: PresetName; engine: Engine; blames: (cause: unknown) => boolean },
  work: () => Promise<T>,
): Promise<T> {
  if (memory === null || sameEngine(engine, embedded)) return work()
  const known = await remembered(memory, preset)
  const tell = (reason: string) => remember(memory, preset, known.map(verification =>
    (sameEngine(verification.engine, engine) ? { ...verification, ok: false, reason } : verification)))
  // Also of what a power cut left: the round that went on with the engine afterwards speaks for it.
  const clear = () => remember(memory, preset, known.map(verification =>
    (sameEngine(verification.engine, engine) && verification.reason === silentEnd ? { ...verification, ok: true, reason: null } : verification)))
  await tell(silentEnd)
  try {
    const result = await work()
    await clear()
    return result
  } catch (cause) {
    if (blames(cause)) await tell(`failed in a round: ${firstLine(cause instanceof Error ? cause.message : String(cause))}`)
    else await clear()
    throw cause
  }
}

const Remembered = z.record(z.string(), z.array(z.object({
  engine: z.object({ backend: z.enum(['onnxruntime', 'tensorflow']), device: z.enum(['cpu', 'webgpu', 'cuda']) }),
  ok: z.boolean(),
  reason: z.string().nullable(),
  lossDifference: z.number().nullable(),
  gradientDifference: z.number().nullable(),
  slopeDifference: z.number().nullable(),
  imagesPerSecond: z.number().nullable(),
})))

/** What the memory holds for this machine; nothing where there is none, and a file that cannot be read is measured anew. */
export async function remembered(memory: string | null, preset: PresetName): Promise<Verification[]> {
  return memory === null ? [] : (await readMemory(memory))[machine(preset)] ?? []
}

async function remember(memory: string, preset: PresetName, verifications: Verification[]): Promise<void> {
  await mkdir(dirname(memory), { recursive: true })
  const fresh = `${memory}.new`
  await writeFile(fresh, JSON.stringify({ ...await readMemory(memory), [machine(preset)]: verifications }, null, 2), { flush: true })
  await rename(fresh, memory)
}

async function readMemory(path: string): Promise<z.infer<typeof Remembered>> {
  return readFile(path, 'utf8').then(text => Remembered.parse(JSON.parse(text))).catch(() => ({}))
}

/** What the answer depends on: the machine, its GPUs and NVIDIA's driver, the versions, the preset. */
function machine(preset: PresetName): string {
  const require = createRequire(import.meta.url)
  const version = (name: string) => {
    try { return (require(`${name}/package.json`) as { version: string }).version } catch { return 'none' }
  }
  const gpus = ['/dev/dri', '/proc/driver/nvidia/gpus'].flatMap(folder => (existsSync(folder) ? readdirSync(folder) : []))
  const driver = '/sys/module/nvidia/version'
  const own = ['../package.json', '../../package.json'].map(path => new URL(path, import.meta.url)).find(url => existsSync(url))
  return [
    own ? (JSON.parse(readFileSync(own, 'utf8')) as { version: string }).version : 'none',
    existsSync(driver) ? readFileSync(driver, 'utf8').trim() : 'none', cpus()[0]?.model, cpus().length, gpus.join(','), process.env.VK_ICD_FILENAMES, process.version, version('onnxruntime-node'),
    ...['core', 'node-gpu', 'node'].map(part => version(`@tensorflow/tfjs-${part}`)), preset,
  ].join('|')
}
