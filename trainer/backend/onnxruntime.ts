/** ONNX Runtime, which keeps to itself what it runs: the only place that imports it. */
import './no-telemetry.js'

export { InferenceSession, Tensor, type TensorConstructor } from 'onnxruntime-node'

/**
 * Threads of a session that have nothing to do wait for the system to wake them. As a session comes they look for work without a pause instead, for
 * some 50 ms after each run, and take from others what they do not use.
 */
export const waitsQuietly = { session: { intra_op: { allow_spinning: '0' } } } as const
