/** Verifies one engine in a process of its own, which a bad driver may take down: `verify-process.js <engine> <preset>`, both JSON. */
import type { Engine } from './backend/choose.js'
import type { PresetName } from './contract.js'
import { verify } from './verify.js'

const [engine, preset] = process.argv.slice(2).map(argument => JSON.parse(argument) as unknown) as [Engine, PresetName]
// Ctrl-C reaches the whole group: who started it says whether to stop.
process.on('SIGINT', () => undefined)
// What started it holds the other end of stdin: nobody waits for the answer of an orphan.
process.stdin.on('end', () => process.exit(1)).resume()
try {
  process.stdout.write(`${JSON.stringify(await verify(engine, preset))}\n`)
} catch (cause) {
  process.stdout.write(`${JSON.stringify({ failed: cause instanceof Error ? cause.message : String(cause) })}\n`)
}
process.exit(0)
