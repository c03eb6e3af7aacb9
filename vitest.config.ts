import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { defineConfig, type Plugin } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/**
 * What takes long, first: begun last, it would leave one worker without work at the end. What computes and what waits for cameras and brokers take
 * turns, so that mostly one of each runs.
 */
const longest = [
  'resume', 'sources', 'round', 'exchange/two-boxes', 'cli', 'real-input', 'devices', 'camera', 'hostile', 'chaos/broker', 'drift', 'crash', 'rounds', 'chaos/classifier',
  'classifier', 'page', 'asyncapi',
]

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const found = longest.findIndex(name => moduleId.endsWith(`/test/${name}.test.ts`))
      return found < 0 ? longest.length : found
    }
    return (await super.sort(files)).sort((a, b) => place(a) - place(b))
  }
}

/**
 * Tests run what `npm run build` has built, as it is installed: with all the processes and threads that it starts, which from the sources would each
 * have to compile them first.
 */
const built: Plugin = {
  name: 'built',
  enforce: 'pre',
  buildStart() {
    const builtAtMs = statSync(join(import.meta.dirname, 'dist', '.tsbuildinfo'), { throwIfNoEntry: false })?.mtimeMs ?? 0
    const sources = ['agent', 'trainer'].flatMap(part =>
      readdirSync(join(import.meta.dirname, part), { recursive: true, encoding: 'utf8' }).filter(path => path.endsWith('.ts')).map(path => join(part, path)))
    const newer = sources.find(path => statSync(join(import.meta.dirname, path)).mtimeMs > builtAtMs)
    if (newer !== undefined) throw new Error(`${newer} is newer than what was built: npm run build`)
  },
  resolveId(source, importer) {
    if (!importer || !/^\.{1,2}\//.test(source)) return null
    const place = relative(import.meta.dirname, join(dirname(importer), source))
    const id = join(import.meta.dirname, 'dist', place)
    return /^(agent|trainer)\//.test(place) && existsSync(id) ? { id, external: true } : null
  },
}

export default defineConfig({
  plugins: [built],
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Two heavy files side by side are as many as the smallest box has cores.
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    // A machine may be several times as slow as this takes.
    testTimeout: 240_000,
    hookTimeout: 240_000,
  },
})
