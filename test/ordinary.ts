import type { RoundSpec } from '../trainer/contract.js'
import { Turns } from '../trainer/turns.js'

/** What rounds of tests and benchmarks have in common: nano on the processor's engine, from scratch, on all cores. */
export const ordinary = {
  preset: 'nano', method: 'pawl', steps: null, minutes: null, backend: 'onnxruntime', device: 'cpu', engines: null, champion: null, lanes: null, switches: {},
} as const satisfies Partial<RoundSpec>

/** Nothing lets the work stand still, or ends it. */
export const undisturbed = new Turns({ signal: new AbortController().signal })
