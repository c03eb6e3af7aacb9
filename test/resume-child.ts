/** One round with a checkpoint after every step, for tests that kill it: the spec as JSON in the first argument. Prints a step, then keeps it. */
import { train, type RoundSpec } from '../trainer/index.js'

await train(JSON.parse(process.argv[2] ?? '') as RoundSpec, {
  signal: new AbortController().signal,
  checkpointMs: 0,
  onEvent: event => { if (event.type === 'progress') process.stdout.write(`${String(event.step)}\n`) },
})
