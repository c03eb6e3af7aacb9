/**
 * One round with a checkpoint after every step, for tests that kill it: the spec as JSON in the first argument. Prints a step, then keeps it; of the
 * step after the one in the second argument it only waits for its end.
 */
import { train, type RoundSpec } from '../trainer/index.js'

const [spec = '', last] = process.argv.slice(2)
await train(JSON.parse(spec) as RoundSpec, {
  signal: new AbortController().signal,
  checkpointMs: 0,
  onEvent: event => {
    if (event.type !== 'progress') return
    if (event.step > Number(last)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    process.stdout.write(`${String(event.step)}\n`)
  },
})
