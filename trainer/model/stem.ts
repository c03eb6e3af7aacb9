/**
 * A convolutional stem beside the linear embedding (Xiao et al., *Early convolutions help transformers see better*, 2021): what edges and
 * corners are, a transformer would have to learn from many more images. A picture's patches that the mask hides are blank to it, so that
 * nothing of them leaks into those that are visible.
 */
import * as tf from '../backend/tf.js'
import { weight, type Weights } from './layers.js'
import { channels, convolutionsOf, type Preset } from './presets.js'

/** Patches [B, N, P] of whole images → what the stem says of each place [B, N, D / 2]. */
export function stem(weights: Weights, patches: tf.Tensor3D, preset: Preset): tf.Tensor3D {
  const { size, patch } = preset
  const [batch, tokens] = patches.shape
  const row = size / patch
  const rows = tf.transpose(tf.reshape(patches, [batch * row, row, patch, patch * channels]), [0, 2, 1, 3])
  let x: tf.Tensor4D = tf.reshape(rows, [batch, size, size, channels])
  for (const { name, stride } of convolutionsOf(preset)) {
    const convolved: tf.Tensor4D = tf.conv2d(x, weight(weights, `${name}.weight`) as tf.Tensor4D, stride, 'same')
    x = tf.relu(tf.add<tf.Tensor4D>(convolved, weight(weights, `${name}.bias`)))
  }
  return tf.reshape(x, [batch, tokens, x.shape[3]])
}
