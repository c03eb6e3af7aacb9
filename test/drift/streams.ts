/** Predictions of a made-up model, for what needs thousands of windows of which nothing or one thing is known to change. */
import type { DriftEvent } from '../../agent/drift/alarm.js'
import { DriftMonitor, type Sample } from '../../agent/drift/monitor.js'
import { Random } from '../../trainer/index.js'

export interface StreamOptions {
  seed: number
  /** Numbers in an embedding, of which many say much the same: each mixes a third as many hidden ones. */
  embedding: number
  classes: number
  /** Share of the hidden state that stays from picture to picture; 0: independent pictures. */
  inertia?: number
}

/** Gives the next prediction; `shift` moves the hidden state by so many standard deviations. */
export function predictions({ seed, embedding, classes, inertia = 0 }: StreamOptions): (shift?: number) => Omit<Sample, 'camera' | 'capturedAtMs' | 'model'> {
  const random = Random.of(seed, 77)
  const size = Math.max(2, Math.ceil(embedding / 3))
  const matrix = (rows: number) => Array.from({ length: rows }, () => Float64Array.from({ length: size }, () => random.normal() / Math.sqrt(size)))
  const [mix, head] = [matrix(embedding), matrix(classes)]
  const hidden = Float64Array.from({ length: size }, () => random.normal())
  const names = Array.from({ length: classes }, (_, label) => `class-${String(label)}`)
  const times = (rows: Float64Array[], vector: Float64Array) => rows.map(row => {
    let sum = 0
    for (let at = 0; at < size; at++) sum += (row[at] ?? 0) * (vector[at] ?? 0)
    return sum
  })
  return (shift = 0) => {
    for (let at = 0; at < size; at++) hidden[at] = inertia * (hidden[at] ?? 0) + Math.sqrt(1 - inertia ** 2) * random.normal()
    const state = hidden.map(value => value + shift)
    const exponents = times(head, state).map(logit => Math.exp(4 * logit))
    const sum = exponents.reduce((total, value) => total + value, 0)
    const shares = exponents.map(value => value / sum)
    return {
      embedding: new Float32Array(times(mix, state)).map(value => Math.max(-1, value)),
      probabilities: Object.fromEntries(shares.map((share, label) => [names[label] ?? '', share])),
      confidence: Math.max(...shares),
    }
  }
}

export interface WatchOptions {
  reference: number
  window: number
  falseAlarmsPerMonth: number
  /** From picture to picture; one test's share of the promise follows from it. */
  everyMs: number
}

/** A monitor with its own time: one camera, one picture every `everyMs`. */
export function watching({ reference, window, falseAlarmsPerMonth, everyMs }: WatchOptions) {
  const events: DriftEvent[] = []
  let atMs = 0
  const monitor = new DriftMonitor({
    config: { enabled: true, everySeconds: 0, reference, window, falseAlarmsPerMonth },
    clock: { nowMs: () => atMs, monotonicMs: () => atMs },
    onEvent: event => { events.push(event) },
    onGathered: () => undefined,
  })
  monitor.begin(1)
  const see = (prediction: Omit<Sample, 'camera' | 'capturedAtMs' | 'model'>, model = 1) => {
    atMs += everyMs
    monitor.observe({ camera: 'door', capturedAtMs: atMs, model, ...prediction })
  }
  return { monitor, events, see, nowMs: () => atMs }
}
