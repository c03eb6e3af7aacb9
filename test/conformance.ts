/**
 * tfjs-core's own operator specs (its package carries them) against a backend:
 * `npm run test:conformance [-- conv2d,pool] [--backend tensorflow] [--json]`, where names are the starts of spec files.
 *
 * Reports each kernel: a spec counts for every kernel that was asked for while it ran. Then the failures in full, then
 * one JSON line (with `--json` that line alone). Ends with 1 when a spec fails that is applicable, with 2 when the
 * backend does not load.
 */
import { createRequire, register } from 'node:module'
import { readdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { Random } from '../trainer/data/random.js'

interface SpecResult {
  fullName: string
  status: string
  failedExpectations: { message: string }[]
}
interface JasmineEnv {
  configure: (options: { random: boolean }) => void
  addReporter: (reporter: { specStarted: () => void; specDone: (result: SpecResult) => void }) => void
  execute: () => Promise<unknown>
}
interface Jasmine {
  jasmine: { getEnv: () => JasmineEnv }
}

/** Why a spec says nothing of this backend: what its name or its failure says, and the reason. */
const notApplicable: readonly (readonly [RegExp, string])[] = [
  [/no tensors of type (string|complex64)/, 'tensors of strings or complex numbers'],
  [/with message '(.+)', but it threw an exception with message '\w+ of .*: \1'/, 'an error in exactly these words: here the kernel and the shapes stand in front'],
  [/^exp .* int32:|^tan .* numbers exceed float32 precision:/, 'more digits than a float32 has'],
]

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { backend: { type: 'string', default: 'onnxruntime' }, json: { type: 'boolean', default: false } },
})
const say = (text: string) => { if (!options.json) process.stdout.write(`${text}\n`) }
function stop(reason: string): never {
  process.stderr.write(`${reason}\n`)
  process.exit(2)
}

/** What Node does not resolve by itself: the specs leave out file endings, and import seedrandom as a namespace with names of its own. */
const specResolver = `export async function resolve(specifier, context, next) {
  if (!context.parentURL?.includes('/tfjs-core/dist/')) return next(specifier, context)
  if (specifier.startsWith('.') && !specifier.endsWith('.js')) {
    try { return await next(specifier + '.js', context) } catch { return next(specifier + '/index.js', context) }
  }
  const resolved = await next(specifier, context)
  if (specifier !== 'seedrandom') return resolved
  const source = 'import random from ' + JSON.stringify(resolved.url) + '; export const alea = random.alea; export default random'
  return { url: 'data:text/javascript,' + encodeURIComponent(source), shortCircuit: true }
}`

const require = createRequire(import.meta.url)
// The specs' harness asks for jasmine by `require`, and for jasmine's functions as globals.
Object.assign(globalThis, { require })
register('data:text/javascript,' + encodeURIComponent(specResolver), import.meta.url)
// From here on the loader knows the way: not before may anything of tfjs be loaded. The console says what tfjs has to say.
if (options.json) console.warn = () => undefined
const tf = await import('../trainer/backend/tf.js')
// Specs that draw draw the same at every run.
const random = Random.of(1)
Math.random = () => random.float()
const backendName = await prepare(options.backend)
const core = require('jasmine-core') as { boot: () => unknown }
core.boot()
const { jasmine } = globalThis as typeof globalThis & Jasmine

const dist = join(dirname(require.resolve('@tensorflow/tfjs-core/package.json')), 'dist')
const load = (path: string): Promise<unknown> => import(pathToFileURL(join(dist, path)).href)
const harness = await load('jasmine_util.js') as { setTestEnvs: (envs: unknown[]) => void }
harness.setTestEnvs([{ name: backendName, backendName, isDataSync: backendName === 'tensorflow', flags: {} }])
await load('public/chained_ops/register_all_chained_ops.js')

const only = positionals.flatMap(names => names.split(','))
const files = (await readdir(join(dist, 'ops'), { recursive: true }))
  .filter(name => name.endsWith('_test.js') && (only.length === 0 || only.some(start => basename(name).startsWith(start)))).sort()
if (files.length === 0) stop(`no spec file of tfjs-core begins with ${only.join(' or ')}`)
for (const file of files) await load(join('ops', file))

/** Registers a backend; its name among tfjs's. */
async function prepare(wanted: string): Promise<string> {
  if (wanted === 'onnxruntime') {
    const { backendName, registerOnnxRuntimeBackend } = await import('../trainer/backend/backend.js')
    registerOnnxRuntimeBackend()
    return backendName
  }
  if (wanted !== 'tensorflow') stop(`--backend is "${wanted}", expected onnxruntime or tensorflow`)
  const reasons: string[] = []
  for (const name of ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node']) {
    try {
      await import(name)
      return wanted
    } catch (cause) {
      reasons.push(`${name}: ${(cause instanceof Error ? cause.message : String(cause)).split('\n')[0] ?? ''}`)
    }
  }
  return stop(`the tensorflow backend does not load:\n  ${reasons.join('\n  ')}`)
}

const registered = new Set(tf.getKernelsForBackend(backendName).map(({ kernelName }) => kernelName))
const asked = new Set<string>()
const engine = tf.engine()
const runKernel = engine.runKernel.bind(engine)
engine.runKernel = (name, inputs, attributes) => {
  asked.add(name)
  return runKernel(name, inputs, attributes)
}

/** What became of the specs that asked for one kernel. */
interface Row { passed: number; failed: number; notApplicable: Map<string, number> }
const none = '(no kernel)'
const rows = new Map([...registered].map((name): [string, Row] => [name, { passed: 0, failed: 0, notApplicable: new Map() }]))
const rowOf = (name: string): Row => {
  const row = rows.get(name) ?? { passed: 0, failed: 0, notApplicable: new Map() }
  rows.set(name, row)
  return row
}

const total = { passed: 0, failed: 0, notApplicable: 0 }
const failures: string[] = []
const environment = jasmine.getEnv()
environment.configure({ random: false })
environment.addReporter({
  specStarted: () => { asked.clear() },
  specDone: ({ fullName, status, failedExpectations }) => {
    const message = failedExpectations.map(expectation => expectation.message).join('; ').replaceAll(/\s+/g, ' ')
    const its = asked.size > 0 ? [...asked].map(rowOf) : [rowOf(none)]
    // A spec that expects any error passes without the kernel too: that says nothing of it.
    const missing = [...asked].filter(name => !registered.has(name))
    const reason = missing.length > 0
      ? `needs ${missing.join(', ')}`
      : status === 'passed' ? undefined : notApplicable.find(([pattern]) => pattern.test(`${fullName}: ${message}`))?.[1]
    if (reason) {
      total.notApplicable++
      for (const row of its) row.notApplicable.set(reason, (row.notApplicable.get(reason) ?? 0) + 1)
    } else if (status === 'passed') {
      total.passed++
      for (const row of its) row.passed++
    } else {
      total.failed++
      for (const row of its) row.failed++
      failures.push(`${fullName} [${[...asked].join(', ')}]: ${message}`)
    }
  },
})
await environment.execute()

const line = (name: string, passed: string, failed: string, rest: string) =>
  `${name.padEnd(40)} ${passed.padStart(6)} ${failed.padStart(6)}  ${rest}`.trimEnd()
say(line('kernel', 'passed', 'failed', 'not applicable'))
for (const [name, row] of [...rows].sort(([a], [b]) => (a < b ? -1 : 1))) {
  const reasons = [...row.notApplicable].map(([reason, number]) => `${String(number)} ${reason}`).join('; ')
  say(line(registered.has(name) || name === none ? name : `${name} (not registered)`, String(row.passed), String(row.failed), reasons))
}
for (const failure of failures) say(`FAILED ${failure}`)
const unexercised = [...registered].filter(name => rowOf(name).passed === 0).sort()
const kernels = { registered: registered.size, exercised: registered.size - unexercised.length, ...(only.length === 0 && { unexercised }) }
process.stdout.write(`${JSON.stringify({ ...total, kernels })}\n`)
process.exit(total.failed ? 1 : 0)
