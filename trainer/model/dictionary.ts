/**
 * A dictionary of small patterns that the site's own pictures are made of (Coates, Lee & Ng, *An analysis of single-layer networks in
 * unsupervised feature learning*, 2011): how much of each word a picture shows, and where. A classifier on it is good with ten labels a class; in
 * the model it is a shortcut past the transformer. Colours are not told, and pictures larger than 28 pixels are shrunk to that. The words are
 * learned without labels (trainer/dictionary.ts).
 */
import * as tf from '../backend/tf.js'
import { weight, type Weights } from './layers.js'
import { channels, type Preset } from './presets.js'

/** Pixels a side that every image is brought to first. */
export const pictureSide = 28
/** Pixels a side of a word, and how many words there are. */
export const wordSide = 5
export const wordCount = 64
/** Cells a side in which the words are counted. */
const cells = 7
/** Variance of a window that counts as none, where the brightness ranges over 4. */
export const flatVariance = 0.003

/** Length of the features of one image. */
export const dictionaryFeatures = cells * cells * wordCount

/**
 * Patches [B, N, P] of whole images → features [B, F], cell by cell, word by word. A window at zero mean and unit variance agrees with a word as
 * much as it is nearer to it than to the mean word; `dictionary.weight` and `dictionary.bias` say so in one product.
 */
export function described(weights: Weights, patches: tf.Tensor3D, preset: Preset): tf.Tensor2D {
  const picture = bordered(pictures(patches, preset)) // [B, 32, 32, 1]
  const mean = windowMean(picture)
  const variance = tf.relu(tf.sub(windowMean(tf.square(picture)), tf.square(mean)))
  const seen = tf.conv2d(picture, weight(weights, 'dictionary.weight') as tf.Tensor4D, 1, 'valid')
  const agreement = tf.relu(tf.add(tf.mul(seen, tf.rsqrt(tf.add(variance, flatVariance))), weight(weights, 'dictionary.bias')))
  const cell = pictureSide / cells
  return tf.reshape(tf.avgPool<tf.Tensor4D>(agreement as tf.Tensor4D, cell, cell, 'valid'), [patches.shape[0], dictionaryFeatures])
}

function windowMean(picture: tf.Tensor4D): tf.Tensor4D {
  return tf.avgPool(picture, wordSide, 1, 'valid')
}

/** Pictures [B, 28, 28] with their edges repeated, so that every pixel has a window about it [B, 32, 32, 1]. */
function bordered(picture: tf.Tensor3D): tf.Tensor4D {
  const border = (wordSide - 1) / 2
  const [batch] = picture.shape
  const grown = ([1, 2] as const).reduce<tf.Tensor3D>((image, axis) => {
    const [, rows, columns] = image.shape
    const line = (at: number) => tf.slice(image, axis === 1 ? [0, at, 0] : [0, 0, at], axis === 1 ? [batch, 1, columns] : [batch, rows, 1])
    const repeated = (at: number) => Array.from({ length: border }, () => line(at))
    return tf.concat([...repeated(0), image, ...repeated(pictureSide - 1)], axis)
  }, picture)
  return tf.expandDims(grown, 3)
}

/** Patches back to one grey picture of 28 pixels a side: [B, N, P] → [B, 28, 28]. */
export function pictures(patches: tf.Tensor3D, { size, patch }: Preset): tf.Tensor3D {
  const [batch] = patches.shape
  const row = size / patch
  const grey = tf.mean(tf.reshape(patches, [batch * row * row * patch * patch, channels]), 1)
  const ordered = tf.transpose(tf.reshape(grey, [batch, row, row, patch, patch]), [0, 1, 3, 2, 4])
  const picture: tf.Tensor3D = tf.reshape(ordered, [batch, size, size])
  return size === pictureSide ? picture : tf.reshape(resized(picture, size), [batch, pictureSide, pictureSide])
}

/** Mean over the pixels that fall into each small one. */
function resized(picture: tf.Tensor3D, size: number): tf.Tensor {
  const [batch] = picture.shape
  const shares = tf.tensor2d(areaShares(size), [size, pictureSide])
  const columns = tf.matMul(tf.reshape(picture, [batch * size, size]) as tf.Tensor2D, shares)
  const turned = tf.transpose(tf.reshape(columns, [batch, size, pictureSide]), [0, 2, 1])
  const both = tf.matMul(tf.reshape(turned, [batch * pictureSide, size]) as tf.Tensor2D, shares)
  return tf.transpose(tf.reshape(both, [batch, pictureSide, pictureSide]), [0, 2, 1])
}

function areaShares(size: number): Float32Array {
  const shares = new Float32Array(size * pictureSide)
  const ratio = size / pictureSide
  for (let pixel = 0; pixel < size; pixel++) {
    for (let small = Math.floor(pixel / ratio); small <= Math.min(pictureSide - 1, Math.floor((pixel + 1) / ratio)); small++) {
      const overlap = Math.min(pixel + 1, (small + 1) * ratio) - Math.max(pixel, small * ratio)
      if (overlap > 0) shares[pixel * pictureSide + small] = overlap / ratio
    }
  }
  return shares
}
