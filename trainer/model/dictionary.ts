/**
 * A dictionary of small patterns that the site's own pictures are made of (Coates, Lee & Ng, *An analysis of single-layer networks in
 * unsupervised feature learning*, 2011): how much of each word a picture shows, and where. The words are learned without labels
 * (trainer/dictionary.ts) and stay as they are: the transformer's patches are told how much of each lies in them, and a classifier on them alone
 * stands beside it, a shortcut. Colours are not told.
 */
import * as tf from '../backend/tf.js'
import { weight, type Weights } from './layers.js'
import { channels, tokensOf, type Preset } from './presets.js'

/** Pixels a side of a word, and how many words there are. */
export const wordSide = 5
export const wordCount = 64
/** Pixels a side of the cell in which the words are counted: every patch is brought to that first. */
const cell = 4
/** Variance of a window that counts as none, where the brightness ranges over 4. */
export const flatVariance = 0.003

/** Pixels a side of the picture that the dictionary sees. */
export function pictureSideOf({ size, patch }: Preset): number {
  return (cell * size) / patch
}

/** Length of the features of one image. */
export function featureCountOf(preset: Preset): number {
  return tokensOf(preset) * wordCount
}

/**
 * Patches [B, N, P] of whole images → how much of each word lies in each patch [B, N, W]. A window at zero mean and unit variance agrees with a
 * word as much as it is nearer to it than to the mean word; `dictionary.weight` and `dictionary.bias` say so in one product.
 */
export function described(weights: Weights, patches: tf.Tensor3D, preset: Preset): tf.Tensor3D {
  const picture = bordered(pictures(patches, preset))
  const mean = windowMean(picture)
  const variance = tf.relu(tf.sub(windowMean(tf.square(picture)), tf.square(mean)))
  const seen = tf.conv2d(picture, weight(weights, 'dictionary.weight') as tf.Tensor4D, 1, 'valid')
  const agreement = tf.relu(tf.add(tf.mul(seen, tf.rsqrt(tf.add(variance, flatVariance))), weight(weights, 'dictionary.bias')))
  return tf.reshape(tf.avgPool<tf.Tensor4D>(agreement as tf.Tensor4D, cell, cell, 'valid'), [patches.shape[0], tokensOf(preset), wordCount])
}

function windowMean(picture: tf.Tensor4D): tf.Tensor4D {
  return tf.avgPool(picture, wordSide, 1, 'valid')
}

/** Pictures [B, S, S, 1] with their edges repeated, so that every pixel has a window about it [B, S + 4, S + 4, 1]. */
function bordered(picture: tf.Tensor4D): tf.Tensor4D {
  const border = (wordSide - 1) / 2
  return ([1, 2] as const).reduce<tf.Tensor4D>((image, axis) => {
    const [batch, rows, columns] = image.shape
    const line = (at: number) => (axis === 1
      ? tf.slice(image, [0, at, 0, 0], [batch, 1, columns, 1])
      : tf.slice(image, [0, 0, at, 0], [batch, rows, 1, 1]))
    const repeated = (at: number) => Array.from({ length: border }, () => line(at))
    return tf.concat([...repeated(0), image, ...repeated(picture.shape[1] - 1)], axis)
  }, picture)
}

/** Patches back to one grey picture, shrunk to a cell a patch: [B, N, P] → [B, S, S, 1]. */
export function pictures(patches: tf.Tensor3D, { size, patch }: Preset): tf.Tensor4D {
  const [batch] = patches.shape
  const row = size / patch
  const grey = tf.mean(tf.reshape(patches, [batch * row * row * patch * patch, channels]), 1)
  const ordered = tf.transpose(tf.reshape(grey, [batch, row, row, patch, patch]), [0, 1, 3, 2, 4])
  const picture: tf.Tensor4D = tf.reshape(ordered, [batch, size, size, 1])
  return patch === cell ? picture : tf.avgPool(picture, patch / cell, patch / cell, 'valid')
}
