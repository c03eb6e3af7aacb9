import type { RoundSpec } from '../trainer/contract.js'

/** What rounds of tests and benchmarks have in common: nano on the processor's engine, from scratch, on all cores. */
export const ordinary = {
  preset: 'nano', method: 'pawl', steps: null, minutes: null, backend: 'onnxruntime', device: 'cpu', engines: null, champion: null, lanes: null, switches: {},
} as const satisfies Partial<RoundSpec>
