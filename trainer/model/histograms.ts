/**
 * Histograms of oriented gradients (Dalal & Triggs, 2005) and coarse brightness, as tensor operations without weights: what a
 * linear classifier needs to be good with ten labels a class. In the model it is a shortcut past the transformer, which then
 * has to learn only what the shortcut misses.
 */
import * as tf from '../backend/tf.js'
import { channels, type Preset } from './presets.js'

/** Pixels a side that every image is brought to first, cells a side of the histograms and of the brightness, orientations. */
const side = 28
const cells = 7
const fine = 14
const orientations = 8

/** Length of the features of one image. */
export const histogramFeatures = cells * cells * orientations + fine * fine

/** Gradient length below which a cell counts as flat, relative to a brightness range of 4. */
const flat = 0.2

/** Patches [B, N, P] of whole images → features [B, F]. */
export function histograms(patches: tf.Tensor3D, preset: Preset): tf.Tensor2D {
  const image = smallGrey(patches, preset) // [B, 28, 28]
  const [batch] = image.shape
  const across = tf.sub(shifted(image, 2, 1), shifted(image, 2, -1))
  const down = tf.sub(shifted(image, 1, 1), shifted(image, 1, -1))
  const squares = tf.add(tf.add(tf.mul(across, across), tf.mul(down, down)), 1e-6)
  const length = tf.sqrt(squares)
  // cos 2φ and sin 2φ of the gradient's direction φ, times its squared length; a sharp vote for each orientation.
  const cosine = tf.sub(tf.mul(across, across), tf.mul(down, down))
  const sine = tf.mul(tf.mul(across, down), 2)
  const votes = Array.from({ length: orientations }, (_, index) => {
    const angle = (2 * Math.PI * index) / orientations
    const agreement = tf.relu(tf.add(tf.mul(cosine, Math.cos(angle)), tf.mul(sine, Math.sin(angle))))
    const sharpened = tf.square(tf.div(agreement, squares))
    return pooled(tf.mul(tf.square(sharpened), length), cells)
  })
  const cellVotes = tf.stack(votes, 2) as tf.Tensor3D // [B, cells², orientations]
  const strength = tf.sqrt(tf.add(tf.sum(tf.square(cellVotes), 2, true), 1e-6))
  const normalised = tf.div(cellVotes, tf.add(strength, flat))
  return tf.concat([
    tf.reshape(normalised, [batch, cells * cells * orientations]),
    tf.mul(tf.reshape(pooled(image, fine), [batch, fine * fine]), 0.25),
  ], 1) as tf.Tensor2D
}

/** The image as its neighbour `by` pixels along `axis` sees it; the edge repeats. */
function shifted(image: tf.Tensor3D, axis: 1 | 2, by: 1 | -1): tf.Tensor3D {
  const [batch] = image.shape
  const part = (from: number, count: number) => axis === 1
    ? tf.slice(image, [0, from, 0], [batch, count, side])
    : tf.slice(image, [0, 0, from], [batch, side, count])
  return by === 1 ? tf.concat([part(1, side - 1), part(side - 1, 1)], axis) : tf.concat([part(0, 1), part(0, side - 1)], axis)
}

/** Sums [B, 28, 28] into a grid, each pixel shared between the cells whose middles are nearest: [B, grid²]. */
function pooled(image: tf.Tensor3D, grid: number): tf.Tensor2D {
  const [batch] = image.shape
  const shares = tf.tensor2d(cellShares(grid), [side, grid])
  const columns = tf.matMul(tf.reshape(image, [batch * side, side]) as tf.Tensor2D, shares) // [B·28, grid]
  const turned = tf.transpose(tf.reshape(columns, [batch, side, grid]), [0, 2, 1])
  const both = tf.matMul(tf.reshape(turned, [batch * grid, side]) as tf.Tensor2D, shares) // [B·grid, grid]
  return tf.reshape(both, [batch, grid * grid])
}

/** Share [28, grid] of each pixel in each cell, falling linearly with the distance; the shares of a cell sum to 1. */
function cellShares(grid: number): Float32Array {
  const shares = new Float32Array(side * grid)
  for (let cell = 0; cell < grid; cell++) {
    const raw = Array.from({ length: side }, (_, pixel) => Math.max(0, 1 - Math.abs(((pixel + 0.5) * grid) / side - 0.5 - cell)))
    const sum = raw.reduce((total, value) => total + value, 0)
    raw.forEach((value, pixel) => { shares[pixel * grid + cell] = value / sum })
  }
  return shares
}

/** Patches back to one grey picture of 28 pixels a side: [B, N, P] → [B, 28, 28]. */
function smallGrey(patches: tf.Tensor3D, { size, patch }: Preset): tf.Tensor3D {
  const [batch] = patches.shape
  const row = size / patch
  const grey = tf.mean(tf.reshape(patches, [batch * row * row * patch * patch, channels]), 1)
  const ordered = tf.transpose(tf.reshape(grey, [batch, row, row, patch, patch]), [0, 1, 3, 2, 4])
  const picture: tf.Tensor3D = tf.reshape(ordered, [batch, size, size])
  return size === side ? picture : tf.reshape(resized(picture, size), [batch, side, side])
}

/** Mean over the pixels that fall into each small one. */
function resized(picture: tf.Tensor3D, size: number): tf.Tensor {
  const [batch] = picture.shape
  const shares = tf.tensor2d(areaShares(size), [size, side])
  const columns = tf.matMul(tf.reshape(picture, [batch * size, size]) as tf.Tensor2D, shares)
  const turned = tf.transpose(tf.reshape(columns, [batch, size, side]), [0, 2, 1])
  const both = tf.matMul(tf.reshape(turned, [batch * side, size]) as tf.Tensor2D, shares)
  return tf.transpose(tf.reshape(both, [batch, side, side]), [0, 2, 1])
}

function areaShares(size: number): Float32Array {
  const shares = new Float32Array(size * side)
  const ratio = size / side
  for (let pixel = 0; pixel < size; pixel++) {
    for (let small = Math.floor(pixel / ratio); small <= Math.min(side - 1, Math.floor((pixel + 1) / ratio)); small++) {
      const overlap = Math.min(pixel + 1, (small + 1) * ratio) - Math.max(pixel, small * ratio)
      if (overlap > 0) shares[pixel * side + small] = overlap / ratio
    }
  }
  return shares
}
