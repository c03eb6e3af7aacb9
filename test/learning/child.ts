/** One round in a process of its own: a `RoundSpec` as JSON on its input; every line of its output is a `LearningEvent`. */
import { text } from 'node:stream/consumers'
import { train, type RoundSpec } from '../../trainer/index.js'
import type { LearningEvent } from './run.js'

const tell = (event: LearningEvent) => { process.stdout.write(`${JSON.stringify(event)}\n`) }
const controller = new AbortController()
process.once('SIGTERM', () => { controller.abort() })
const result = await train(JSON.parse(await text(process.stdin)) as RoundSpec, {
  signal: controller.signal,
  onEvent: event => { if (event.type === 'gate' || event.type === 'resumed' || event.type === 'progress') tell(event) },
  onPseudoLabels: (step, labels) => { tell({ type: 'pseudo-labels', step, labels }) },
})
tell({ type: 'result', result })
