/** The classifier as one ONNX file: raw pixels of any number of images in, calibrated probabilities out. */
import * as tf from '../backend/tf.js'
import { backend } from '../backend/backend.js'
import { emitOne, float32, input, reshaped } from '../backend/graph.js'
import { trace } from '../backend/jit.js'
import { cast } from '../backend/kernels/elementwise.js'
import { lower } from '../backend/lower.js'
import { rewritten } from '../backend/rewrite.js'
import { pixelDeviation, pixelMean } from '../data/augment.js'
import type { Weights } from '../model/layers.js'
import { channels } from '../model/presets.js'
import type { Ssmae } from '../model/ssmae.js'
import { withInt8Products } from './int8.js'
import { writeMetadata } from './metadata.js'

/** A prime that divides no other dimension of the model: it marks where the batch goes. */
const batch = 7919

/**
 * Input `image` uint8 [batch, S, S, 3]; outputs `logits` and `probabilities` float32 [batch, C] (softmax of logits / temperature)
 * and `embedding` float32 [batch, D]. Standard ONNX operations only. `int8`: the products with weights are quantised (int8.ts).
 * The current tfjs backend must be `onnxruntime`.
 */
export function exportClassifier(
  ssmae: Ssmae, weights: Weights, classes: readonly string[], temperature: number, { int8 = false } = {},
): Uint8Array {
  const { size, patch } = ssmae.preset
  const side = size / patch
  const image = input('image', 'uint8', [batch, size, size, channels])
  const pixels = emitOne({ op: 'Sub', inputs: [cast(image, 'float32'), float32(pixelMean)] }, image.shape)
  const scaled = emitOne({ op: 'Div', inputs: [pixels, float32(pixelDeviation)] }, image.shape)
  const grid = reshaped(scaled, [batch, side, patch, side, patch, channels])
  const ordered = emitOne(
    { op: 'Transpose', inputs: [grid], attributes: { perm: [0, 1, 3, 2, 4, 5] } }, [batch, side, side, patch, patch, channels])
  const patches = reshaped(ordered, [batch, side * side, patch * patch * channels])

  const { outputs } = trace('classifier', () => {
    const tensor = tf.engine().makeTensorFromTensorInfo(backend.adopt(patches)) as tf.Tensor3D
    const { logits, embedding } = ssmae.classify(weights, tensor)
    return [logits, tf.softmax(tf.div(logits, temperature)), embedding]
  })
  const recorded = int8 ? withInt8Products(outputs, Object.values(weights).map(tensor => backend.graphValue(tensor))) : outputs
  const names = ['logits', 'probabilities', 'embedding']
  const { model } = lower({
    inputs: [{ name: 'image', value: image }],
    outputs: rewritten(recorded, { contrib: false }).map((value, index) => ({ name: names[index] ?? '', value })),
    metadata: writeMetadata({ classes: [...classes], size, preprocessing: 'contain-rgb-1' }),
    free: { size: batch, name: 'batch' },
  })
  return model
}
