import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/**
 * What takes long, first: begun last, it would leave one worker without work at the end. What computes and what waits for cameras and brokers take
 * turns, so that mostly one of each runs.
 */
const longest = [
  'resume', 'sources', 'exchange/two-boxes', 'rounds', 'real-input', 'crash', 'chaos/broker', 'round', 'camera', 'chaos/classifier', 'classifier', 'devices', 'cli', 'drift',
  'hostile', 'page', 'asyncapi',
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

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Two heavy files side by side are as many as the smallest box has cores.
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
})
