/** A lane in a worker thread: takes one task at a time, answers with its result. */
import { parentPort, workerData } from 'node:worker_threads'
import { Lane, type GradientTask, type LaneSetup, type PredictTask } from './lane.js'
import type { LaneUpdate } from './state.js'

export type LaneTask =
  | { kind: 'gradients'; task: GradientTask }
  | { kind: 'update'; task: LaneUpdate }
  | { kind: 'predict'; task: PredictTask }
  | { kind: 'publish' | 'load' | 'release' }

export type LaneAnswer = { ok: true; result: unknown } | { ok: false; message: string; diverged: boolean }

const port = parentPort
if (!port) throw new Error('this file runs as a worker thread of a round')

const lane = new Lane(workerData as LaneSetup)
await lane.start()

port.on('message', (message: LaneTask) => {
  void answer(message).then(reply => { port.postMessage(reply) })
})
port.postMessage({ ok: true, result: null } satisfies LaneAnswer)

async function answer(message: LaneTask): Promise<LaneAnswer> {
  try {
    switch (message.kind) {
      case 'gradients': return { ok: true, result: await lane.gradients(message.task) }
      case 'update': return { ok: true, result: await lane.update(message.task) }
      case 'predict': return { ok: true, result: await lane.predict(message.task) }
      case 'publish':
      case 'load':
      case 'release':
        await lane[message.kind]()
        return { ok: true, result: null }
    }
  } catch (cause) {
    return { ok: false, message: cause instanceof Error ? cause.message : String(cause), diverged: cause instanceof RangeError }
  }
}
