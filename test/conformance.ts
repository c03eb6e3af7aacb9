/**
 * tfjs-core's own operator specs (its package carries them) against our backend: `npm run test:conformance [-- add,conv2d]`.
 * Reports each spec file, then one JSON line. Ends with 1 when a spec fails that is applicable.
 */
import { createRequire, register } from 'node:module'
import { readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'

interface SpecResult {
  fullName: string
  status: string
  failedExpectations: { message: string }[]
}
interface JasmineEnv {
  configure: (options: { random: boolean }) => void
  addReporter: (reporter: { specDone: (result: SpecResult) => void }) => void
  execute: () => Promise<unknown>
}
type Describe = (name: string, body: () => void) => unknown
interface Jasmine {
  describe: Describe
  jasmine: { getEnv: () => JasmineEnv }
}

/** Why a spec says nothing of this backend: what its name or its failure says, and the reason. */
const notApplicable: readonly (readonly [RegExp, string])[] = [
  [/Kernel '\w+' not registered/, 'a kernel that is not registered'],
  [/no tensors of type (string|complex64)/, 'tensors of strings or complex numbers'],
  [/^exp .* int32:|^tan .* numbers exceed float32 precision:/, 'more digits than a float32 has'],
]

/** The specs import seedrandom as a namespace, which Node gives no names of its own. */
const namesOfSeedrandom = `export async function resolve(specifier, context, next) {
  const resolved = await next(specifier, context)
  if (specifier !== 'seedrandom' || !context.parentURL?.includes('/tfjs-core/dist/')) return resolved
  const source = 'import random from ' + JSON.stringify(resolved.url) + '; export const alea = random.alea; export default random'
  return { url: 'data:text/javascript,' + encodeURIComponent(source), shortCircuit: true }
}`

const require = createRequire(import.meta.url)
// The specs' harness asks for jasmine by `require`, and for jasmine's functions as globals.
Object.assign(globalThis, { require })
register('data:text/javascript,' + encodeURIComponent(namesOfSeedrandom), import.meta.url)
// From here on the loader knows the names: not before may anything of tfjs be loaded.
const { backendName, registerOnnxRuntimeBackend } = await import('../trainer/backend/backend.js')
const core = require('jasmine-core') as { boot: () => unknown }
core.boot()
const { jasmine, describe } = globalThis as typeof globalThis & Jasmine

let file = ''
const fileOf = new Map<string, string>()
const recording: Describe = (name, body) => {
  fileOf.set(name, file)
  return describe(name, body)
}
Object.assign(globalThis, { describe: recording })

registerOnnxRuntimeBackend()
const dist = join(dirname(require.resolve('@tensorflow/tfjs-core/package.json')), 'dist')
const load = (path: string): Promise<unknown> => import(pathToFileURL(join(dist, path)).href)
const harness = await load('jasmine_util.js') as { setTestEnvs: (envs: unknown[]) => void }
harness.setTestEnvs([{ name: backendName, backendName, isDataSync: false, flags: {} }])
await load('public/chained_ops/register_all_chained_ops.js')

const only = process.argv[2]?.split(',') ?? []
const files = (await readdir(join(dist, 'ops')))
  .filter(name => name.endsWith('_test.js') && (only.length === 0 || only.some(start => name.startsWith(start)))).sort()
for (file of files) await load(join('ops', file))

interface Row { passed: number; failures: string[]; notApplicable: Map<string, number> }
const rows = new Map(files.map((name): [string, Row] => [name, { passed: 0, failures: [], notApplicable: new Map() }]))
const environment = jasmine.getEnv()
environment.configure({ random: false })
environment.addReporter({
  specDone: ({ fullName, status, failedExpectations }) => {
    const suite = [...fileOf.keys()].filter(name => fullName.startsWith(`${name} `)).sort((a, b) => b.length - a.length)[0]
    const row = rows.get(fileOf.get(suite ?? '') ?? '')
    if (!row) return
    if (status === 'passed') {
      row.passed++
      return
    }
    const message = failedExpectations.map(expectation => expectation.message).join('; ').replaceAll(/\s+/g, ' ')
    const reason = notApplicable.find(([pattern]) => pattern.test(`${fullName}: ${message}`))
    if (reason) row.notApplicable.set(reason[1], (row.notApplicable.get(reason[1]) ?? 0) + 1)
    else row.failures.push(`${fullName.slice(suite?.length)}: ${message.slice(0, 200)}`)
  },
})
await environment.execute()

const count = (of: (row: Row) => number) => [...rows.values()].reduce((sum, row) => sum + of(row), 0)
const skipped = (row: Row) => [...row.notApplicable.values()].reduce((sum, number) => sum + number, 0)
for (const [name, row] of rows) {
  const reasons = [...row.notApplicable].map(([reason, number]) => `${String(number)} not applicable: ${reason}`).join(', ')
  const line = `${name.replace(/_test\.js$/, '').padEnd(36)} ${String(row.passed)} passed, ${String(row.failures.length)} failed`
  process.stdout.write(`${line}${reasons && `, ${reasons}`}\n`)
  for (const failure of row.failures) process.stdout.write(`    ${failure}\n`)
}
const total = { passed: count(row => row.passed), failed: count(row => row.failures.length), notApplicable: count(skipped) }
process.stdout.write(`${JSON.stringify(total)}\n`)
process.exit(total.failed ? 1 : 0)
