/** ONNX Runtime, which keeps to itself what it runs: the only place that imports it. */
import './no-telemetry.js'

export { InferenceSession, Tensor, type TensorConstructor } from 'onnxruntime-node'
