/** How often the detectors alarm where nothing changes, and how soon where something does: simulations that tests and the bench share. */
import { Adwin } from '../../agent/drift/adwin.js'
import { compare, makeReference, type Dimension } from '../../agent/drift/reference.js'
import { Random } from '../../trainer/index.js'
import { predictions, watching } from './streams.js'

const dayMs = 86_400_000
const columnsOf = (rows: readonly Float32Array[]) => Array.from(rows[0] ?? [], (_, at) => {
  const column = new Float32Array(rows.length)
  for (let row = 0; row < rows.length; row++) column[row] = rows[row]?.[at] ?? 0
  return column
})

/** Independent windows, each beside a reference of its own or one of ten: the chance that the test with Bonferroni rejects at `alpha`. */
export function falseRejections({ windows, alpha, seed }: { windows: number; alpha: number; seed: number }): { windows: number; rejected: number } {
  const [reference, window, embedding, classes] = [100, 40, 12, 4]
  const next = predictions({ seed, embedding, classes })
  const rows = (count: number) => Array.from({ length: count }, () => {
    const { embedding: numbers, probabilities, confidence } = next()
    return new Float32Array([...numbers, ...Object.values(probabilities), confidence])
  })
  let [rejected, own] = [0, makeReference({ model: 1, dimensions: [], columns: [], timesMs: [] })]
  for (let count = 0; count < windows; count++) {
    if (count % 10 === 0) {
      const columns = columnsOf(rows(reference))
      const dimensions = columns.map((_, at): Dimension => ({ kind: 'embedding', name: String(at) }))
      // Independence is known here: what the estimate of inertia adds would only be noise on the safe side.
      own = makeReference({ model: 1, dimensions, columns, timesMs: [] }).map(dimension => ({ ...dimension, inertia: 1 }))
    }
    if (compare(own, columnsOf(rows(window))).p <= alpha) rejected++
  }
  return { windows, rejected }
}

/**
 * The whole monitor on streams that do not change, `tests` of overlapping windows for each seed, 0.02 false alarms promised for each test.
 * `inertia`: correlation from picture to picture.
 */
export function falseAlarms({ seeds, tests, inertia }: { seeds: number; tests: number; inertia: number }) {
  const [reference, window, everyMs, promisedPerTest] = [200, 60, 5000, 0.02]
  const perTest = window / 4
  let [alarms, done] = [0, 0]
  for (let seed = 1; seed <= seeds; seed++) {
    const watch = watching({ reference, window, everyMs, falseAlarmsPerMonth: (promisedPerTest * 30 * dayMs) / (perTest * everyMs) })
    const next = predictions({ seed, embedding: 16, classes: 4, inertia })
    for (let count = 0; count < reference + window - perTest + tests * perTest; count++) watch.see(next())
    alarms += watch.events.filter(({ state }) => state === 'alarm').length
    done += tests
  }
  return { tests: done, alarms, promised: done * promisedPerTest }
}

/** Numbers until ADWIN notices that the mean fell from 0.9 by `step` after 2,000 of them, looking at every tenth: one figure for each seed. */
export function stepDelays({ step, seeds, delta }: { step: number; seeds: number; delta: number }): number[] {
  return Array.from({ length: seeds }, (_, seed) => {
    const random = Random.of(seed, 9)
    const adwin = new Adwin({ inertia: 1 })
    const draw = (mean: number) => Math.min(1, Math.max(0, mean + 0.15 * random.normal()))
    for (let count = 0; count < 2000; count++) adwin.add(draw(0.9), count)
    for (let count = 1; count < 20_000; count++) {
      adwin.add(draw(0.9 - step), 2000 + count)
      if (count % 10 === 0 && adwin.check(delta)) return count
    }
    return Infinity
  })
}
