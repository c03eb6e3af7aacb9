/**
 * `npm run fleet:simulate -- --boxes 10000 --broker mqtt://127.0.0.1:1883`: boxes that are none, with all that boxes retain, until Ctrl-C; then they are
 * offline, or, with `--clear`, gone. Rates are options: `--help`.
 */
import { parseArgs } from 'node:util'
import { withoutPasswords } from '../../agent/lib/logger.js'
import { quiet, Simulation, untilAborted } from './simulate.js'

const { values } = parseArgs({
  options: {
    broker: { type: 'string', default: 'mqtt://127.0.0.1:1883' },
    base: { type: 'string', default: quiet.base },
    boxes: { type: 'string', default: '100' },
    cameras: { type: 'string', default: '2' },
    connections: { type: 'string', default: '20' },
    'health-seconds': { type: 'string', default: '60' },
    'camera-seconds': { type: 'string', default: '60' },
    'prediction-seconds': { type: 'string', default: '0' },
    'changes-per-second': { type: 'string', default: '5' },
    'silent-share': { type: 'string', default: '0.01' },
    seed: { type: 'string', default: '1' },
    clear: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})
const say = (line: string) => { process.stdout.write(`${line}\n`) }
if (values.help) {
  say('--broker URL --base TOPIC --boxes N --cameras N (of a box) --connections N --seed N --clear (take all away at the end)')
  say('--health-seconds S --camera-seconds S --prediction-seconds S: between two messages of a box, 0: none; --changes-per-second N: of all boxes together')
  say('--silent-share X: boxes that answer no command, 0 to 1')
  process.exit(0)
}
const ending = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (ending.signal.aborted) process.exit(130)
    ending.abort()
    // A broker that is gone takes no farewell.
    setTimeout(() => process.exit(130), 5000).unref()
  })
}
const simulation = new Simulation({
  url: values.broker, base: values.base, boxes: Number(values.boxes), cameras: Number(values.cameras), connections: Number(values.connections),
  healthSeconds: Number(values['health-seconds']), cameraSeconds: Number(values['camera-seconds']), predictionSeconds: Number(values['prediction-seconds']),
  changesPerSecond: Number(values['changes-per-second']), silentShare: Number(values['silent-share']), seed: Number(values.seed),
})
const beganMs = performance.now()
await simulation.start()
say(`${values.boxes} boxes at ${withoutPasswords(values.broker)}: ${String(simulation.published)} messages in ${((performance.now() - beganMs) / 1000).toFixed(1)} s`)
await untilAborted(simulation, ending.signal, say)
await simulation.stop({ clear: values.clear })
