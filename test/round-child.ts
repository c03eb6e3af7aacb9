/** A trainer in name only, for tests of what the agent makes of a trainer. The name of the folder `spec.out` says what it does. */
import { readFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { basename } from 'node:path'
import type { RoundResult, RoundSpec, TrainerReply, TrainerRequest } from '../trainer/contract.js'

function reply(message: TrainerReply): Promise<void> {
  return new Promise(resolve => { process.send?.(message, () => { resolve() }) })
}

function resultOf(spec: RoundSpec, images: number): RoundResult {
  return {
    card: {
      format: 'pawl-model-card/1', createdAt: '2026-01-01T00:00:00Z', method: spec.method, preset: spec.preset, recipe: {}, seed: spec.seed,
      classes: ['a', 'b'], parameters: 1, steps: 1, seconds: 1, imagesPerSecond: 1, backend: 'onnxruntime', device: 'cpu',
      data: { labeled: 1, unlabeled: 1, gate: 1, promotion: images, quarantined: 0, sha256: '' },
      validation: { images: 1, correct: 1, accuracy: 1, interval: [0, 1], nll: 0, ece: 0 }, temperature: 1,
      pseudoLabels: { used: 0, gateOpenings: 0, lastThreshold: null, precisionLowerBound: 0 }, gate: [], parent: null,
      files: { 'model.onnx': '', 'weights.safetensors': '' },
    },
    evidence: {
      classes: ['a', 'b'], labels: Array.from({ length: images }, () => 0), scenes: Array.from({ length: images }, (_, index) => String(index)), champion: null,
      challenger: {
        predicted: new Array<number>(images).fill(0), nll: new Array<number>(images).fill(0.1), confidence: new Array<number>(images).fill(0.9),
      },
    },
    paths: Array.from({ length: images }, (_, index) => `/${String(index)}.png`),
    losses: [],
    quarantined: [],
  }
}

/** Says by an event that it has got so far. */
const here = () => reply({ type: 'event', event: { type: 'phase', phase: 'load' } })
const stayAlive = () => { setInterval(() => undefined, 1000) }
let onStop: () => void = () => undefined
let onPause: (reason: string | null) => void = () => undefined

const behaviours: Record<string, (spec: RoundSpec, cpuShare: number) => Promise<void>> = {
  answers: async spec => {
    await here()
    await reply({ type: 'event', event: { type: 'quarantine', path: '/x.png', reason: `nice ${String(getPriority())}, oom ${readFileSync('/proc/self/oom_score_adj', 'utf8').trim()}` } })
    await reply({ type: 'result', result: resultOf(spec, 2) })
    process.exit(0)
  },
  'answers-at-length': async spec => {
    await reply({ type: 'result', result: resultOf(spec, 200_000) })
    process.exit(0)
  },
  'answers-and-lingers': async spec => {
    stayAlive()
    await reply({ type: 'result', result: resultOf(spec, 2) })
    await here()
  },
  fails: async () => {
    await reply({ type: 'failed', reason: 'diverged', message: 'the loss is not a number' })
    process.exit(0)
  },
  exits: () => process.exit(3),
  'is-killed': async () => {
    process.kill(process.pid, 'SIGKILL')
    await here()
  },
  hangs: async () => {
    await here()
    for (;;) Math.random()
  },
  hoards: () => {
    const hoard = Array.from({ length: 10 }, () => Buffer.alloc(50e6, 1))
    setInterval(() => hoard.length, 1000)
    return Promise.resolve()
  },
  'stops-when-asked': async () => {
    stayAlive()
    onStop = () => { void reply({ type: 'failed', reason: 'stopped', message: 'the round was stopped' }).then(() => process.exit(0)) }
    await here()
  },
  /** Stands still when asked, and says so; done once it may go on. */
  'stands-when-asked': async spec => {
    stayAlive()
    onPause = reason => {
      void reply({ type: 'event', event: { type: 'pause', reason } }).then(async () => {
        if (reason !== null) return
        await reply({ type: 'result', result: resultOf(spec, 2) })
        process.exit(0)
      })
    }
    await here()
  },
  'tells-its-share': async (spec, cpuShare) => {
    await reply({ type: 'event', event: { type: 'quarantine', path: '/x.png', reason: String(cpuShare) } })
    await reply({ type: 'result', result: resultOf(spec, 2) })
    process.exit(0)
  },
  'trains-on-a-gpu': async () => {
    stayAlive()
    await reply({ type: 'event', event: { type: 'engine', backend: 'onnxruntime', device: 'cuda', reason: 'asked for' } })
  },
  'dies-when-asked': async () => {
    stayAlive()
    onStop = () => { process.kill(process.pid, 'SIGTERM') }
    await here()
  },
}

process.on('message', (request: TrainerRequest) => {
  if (request.type === 'stop') onStop()
  else if (request.type === 'pause') onPause(request.reason)
  else void behaviours[basename(request.spec.out)]?.(request.spec, request.cpuShare)
})
