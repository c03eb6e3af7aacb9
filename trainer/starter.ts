/**
 * The starter: a linear classifier on gradient histograms and coarse pixels. With ten labels a class it beats a network that
 * has only begun to learn, and it is trained in seconds; so its labels, as far as the pseudo-label gate trusts them, are the
 * first that the network learns from.
 */
import * as tf from './backend/tf.js'
import { backendName, registerOnnxRuntimeBackend } from './backend/backend.js'
import { jit } from './backend/jit.js'
import { softmax } from './evidence.js'
import { channels } from './model/presets.js'

/** Side of the grid that features are pooled to, whatever the size of the image, and orientations in a histogram. */
const grid = 7
const bins = 9

/**
 * Histograms of oriented gradients (Dalal & Triggs, 2005; cells of grid × grid, soft in place and angle, each cell normalised)
 * and the brightness of a grid twice as fine. `image` is uint8 [size, size, 3].
 */
export function features(image: Uint8Array, size: number): Float32Array {
  const light = new Float32Array(size * size)
  for (let at = 0; at < light.length; at++) {
    light[at] = ((image[at * channels] ?? 0) + (image[at * channels + 1] ?? 0) + (image[at * channels + 2] ?? 0)) / (channels * 255)
  }
  const fine = grid * 2
  const out = new Float32Array(grid * grid * bins + fine * fine)
  const cell = size / grid
  const pixel = (row: number, column: number) =>
    light[Math.min(size - 1, Math.max(0, row)) * size + Math.min(size - 1, Math.max(0, column))] ?? 0
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const dx = pixel(row, column + 1) - pixel(row, column - 1)
      const dy = pixel(row + 1, column) - pixel(row - 1, column)
      const magnitude = Math.hypot(dx, dy)
      const angle = ((((Math.atan2(dy, dx) % Math.PI) + Math.PI) % Math.PI) / Math.PI) * bins
      const [low, share] = [Math.floor(angle), angle % 1]
      // A pixel counts in the (up to four) cells whose middle is less than a cell away.
      const [y, x] = [(row + 0.5) / cell - 0.5, (column + 0.5) / cell - 0.5]
      for (const cellRow of [Math.floor(y), Math.floor(y) + 1]) {
        for (const cellColumn of [Math.floor(x), Math.floor(x) + 1]) {
          if (cellRow < 0 || cellRow >= grid || cellColumn < 0 || cellColumn >= grid) continue
          const weight = magnitude * (1 - Math.abs(y - cellRow)) * (1 - Math.abs(x - cellColumn))
          const start = (cellRow * grid + cellColumn) * bins
          add(out, start + (low % bins), weight * (1 - share))
          add(out, start + ((low + 1) % bins), weight * share)
        }
      }
      const place = grid * grid * bins + Math.floor((row * fine) / size) * fine + Math.floor((column * fine) / size)
      add(out, place, (light[row * size + column] ?? 0) / (size / fine) ** 2)
    }
  }
  // Strength below which a cell counts as flat, relative to its pixels.
  const floor = 0.05 * cell ** 2
  for (let start = 0; start < grid * grid * bins; start += bins) {
    const histogram = out.subarray(start, start + bins)
    const length = Math.sqrt(histogram.reduce((sum, value) => sum + value * value, 0)) + floor
    histogram.forEach((value, bin) => { histogram[bin] = value / length })
  }
  return out
}

function add(to: Float32Array, at: number, value: number): void {
  to[at] = (to[at] ?? 0) + value
}

/** The image mirrored left to right. */
function mirrored(image: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(image.length)
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const from = (row * size + column) * channels
      out.set(image.subarray(from, from + channels), (row * size + size - 1 - column) * channels)
    }
  }
  return out
}

const training = { steps: 300, learningRate: 0.05, decay: 1e-3 }

/** Multinomial logistic regression on the labeled images and their mirror images; gives a function from images to probabilities. */
export async function trainStarter(
  images: readonly Uint8Array[], labels: readonly number[], classCount: number, size: number,
): Promise<(images: readonly Uint8Array[]) => number[][]> {
  const rows = [...images, ...images.map(image => mirrored(image, size))].map(image => features(image, size))
  const width = rows[0]?.length ?? 0
  const targets = new Float32Array(rows.length * classCount)
  rows.forEach((_, row) => { targets[row * classCount + (labels[row % labels.length] ?? 0)] = 1 })
  const weights = await descend(concatenated(rows, width), targets, [rows.length, width, classCount])
  return others => others.map(image => {
    const own = features(image, size)
    return softmax(Array.from({ length: classCount }, (_, label) => {
      let sum = weights[width * classCount + label] ?? 0
      for (let index = 0; index < width; index++) sum += (own[index] ?? 0) * (weights[index * classCount + label] ?? 0)
      return sum
    }))
  })
}

function concatenated(rows: readonly Float32Array[], width: number): Float32Array {
  const all = new Float32Array(rows.length * width)
  rows.forEach((row, index) => { all.set(row, index * width) })
  return all
}

/** Full-batch Adam on cross-entropy with L2; the last row of the result [width + 1, classes] is the bias. */
async function descend(x: Float32Array, targets: Float32Array, [count, width, classes]: [number, number, number]): Promise<Float32Array> {
  registerOnnxRuntimeBackend()
  await tf.setBackend(backendName)
  const gradient = jit<[tf.Tensor2D, tf.Tensor2D, tf.Tensor2D], tf.Tensor2D>((weights, inputs, wanted) => {
    const logits = (given: tf.Tensor2D) =>
      tf.add(tf.matMul(inputs, tf.slice(given, [0, 0], [width, classes])), tf.slice(given, [width, 0], [1, classes])) as tf.Tensor2D
    return tf.grad(given => tf.add(
      tf.mul(tf.mean(tf.sum(tf.mul(wanted, tf.logSoftmax(logits(given as tf.Tensor2D))), 1)), -1),
      tf.mul(tf.sum(tf.square(given)), training.decay),
    ))(weights) as tf.Tensor2D
  }, { threads: 1 })
  const [inputs, wanted] = [tf.tensor2d(x, [count, width]), tf.tensor2d(targets, [count, classes])]
  const size = (width + 1) * classes
  const [weights, momentum, variance] = [new Float32Array(size), new Float32Array(size), new Float32Array(size)]
  for (let step = 1; step <= training.steps; step++) {
    const given = tf.tensor2d(weights, [width + 1, classes])
    const slope = await gradient(given, inputs, wanted)
    const values = await slope.data<'float32'>()
    for (let index = 0; index < size; index++) {
      const value = values[index] ?? 0
      const mean = 0.9 * (momentum[index] ?? 0) + 0.1 * value
      const square = 0.999 * (variance[index] ?? 0) + 0.001 * value * value
      momentum[index] = mean
      variance[index] = square
      const direction = mean / (1 - 0.9 ** step) / (Math.sqrt(square / (1 - 0.999 ** step)) + 1e-8)
      weights[index] = (weights[index] ?? 0) - training.learningRate * (1 - step / training.steps) * direction
    }
    tf.dispose([given, slope])
  }
  tf.dispose([inputs, wanted])
  await gradient.release()
  return weights
}
