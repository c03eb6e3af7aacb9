/** Writes to a registry without end, for tests that kill it: node registry-child.ts DATA. Prints each round number once it is on disk. */
import { systemClock } from '../agent/lib/clock.js'
import { Registry } from '../agent/registry/registry.js'

const [, , data = ''] = process.argv
const registry = new Registry({
  data, clock: systemClock, onProblem: error => { process.stdout.write(`problem ${error.message}\n`) },
})
await registry.start()
for (;;) process.stdout.write(`${String(await registry.beginRound())}\n`)
