/** Fits the linear shortcut to the labels before anything else learns: convex, and done in a second. */
import * as tf from './backend/tf.js'
import { embedded, useEngine } from './backend/choose.js'
import { jit } from './backend/jit.js'
import { plainView, writeView } from './data/augment.js'
import { Random } from './data/random.js'
import { histogramFeatures, histograms } from './model/histograms.js'
import { patchPixelsOf, tokensOf, type Preset } from './model/presets.js'

const training = { steps: 300, learningRate: 0.05, decay: 1e-3, betas: [0.9, 0.999] } as const

/**
 * Multinomial logistic regression with L2 on the images and their mirror images, by full-batch Adam. Gives weight [F, C] and
 * bias [C], flat. `images` are uint8 [S, S, 3].
 */
export async function fitShortcut(
  images: readonly Uint8Array[], labels: readonly number[], classCount: number, preset: Preset,
): Promise<Float32Array> {
  await useEngine(embedded)
  const features = await featuresOf(images, preset)
  const count = images.length * 2
  const targets = new Float32Array(count * classCount)
  for (let row = 0; row < count; row++) targets[row * classCount + (labels[row % images.length] ?? 0)] = 1

  const gradient = jit<[tf.Tensor2D, tf.Tensor1D, tf.Tensor2D, tf.Tensor2D], tf.Tensor[]>((weight, bias, inputs, wanted) => {
    const loss = (w: tf.Tensor, b: tf.Tensor) => tf.add(
      tf.neg(tf.mean(tf.sum(tf.mul(wanted, tf.logSoftmax(tf.add(tf.matMul(inputs, w as tf.Tensor2D), b))), 1))),
      tf.mul(tf.sum(tf.square(w)), training.decay),
    )
    return tf.grads(loss)([weight, bias])
  }, { name: 'shortcut', threads: 1 })
  const wanted = tf.tensor2d(targets, [count, classCount])
  const flat = new Float32Array((histogramFeatures + 1) * classCount)
  const [momentum, variance] = [new Float32Array(flat.length), new Float32Array(flat.length)]
  const [decayMean, decaySquare] = training.betas
  const split = histogramFeatures * classCount
  for (let step = 1; step <= training.steps; step++) {
    const [weight, bias] = [tf.tensor2d(flat.slice(0, split), [histogramFeatures, classCount]), tf.tensor1d(flat.slice(split))]
    const slopes = await gradient(weight, bias, features, wanted)
    const values = new Float32Array(flat.length)
    values.set(await slopes[0]?.data<'float32'>() ?? [])
    values.set(await slopes[1]?.data<'float32'>() ?? [], split)
    const rate = training.learningRate * (1 - step / training.steps)
    values.forEach((value, index) => {
      const mean = decayMean * (momentum[index] ?? 0) + (1 - decayMean) * value
      const square = decaySquare * (variance[index] ?? 0) + (1 - decaySquare) * value * value
      momentum[index] = mean
      variance[index] = square
      const direction = mean / (1 - decayMean ** step) / (Math.sqrt(square / (1 - decaySquare ** step)) + 1e-8)
      flat[index] = (flat[index] ?? 0) - rate * direction
    })
    tf.dispose([weight, bias, ...slopes])
  }
  tf.dispose([features, wanted])
  await gradient.release()
  return flat
}

/** Images whose features are computed at once: their patches are large. */
const chunk = 64

/** Features [2 n, F] of the images, then of their mirror images. */
async function featuresOf(images: readonly Uint8Array[], preset: Preset): Promise<tf.Tensor2D> {
  const [tokens, pixels] = [tokensOf(preset), patchPixelsOf(preset)]
  const views = [false, true].flatMap(mirrored => images.map(image => ({ image, mirrored })))
  const extract = jit<[tf.Tensor3D], tf.Tensor2D>(patches => histograms(patches, preset), { name: 'histograms', threads: 1 })
  const features = new Float32Array(views.length * histogramFeatures)
  for (let begin = 0; begin < views.length; begin += chunk) {
    const part = views.slice(begin, begin + chunk)
    const patches = new Float32Array(part.length * tokens * pixels)
    part.forEach(({ image, mirrored }, index) => {
      const place = index * tokens * pixels
      writeView(image, preset, { ...plainView, mirrored }, Random.of(0), patches.subarray(place, place + tokens * pixels))
    })
    const input = tf.tensor3d(patches, [part.length, tokens, pixels])
    const found = await extract(input)
    features.set(await found.data<'float32'>(), begin * histogramFeatures)
    tf.dispose([input, found])
  }
  await extract.release()
  return tf.tensor2d(features, [views.length, histogramFeatures])
}
