/** What the dictionary says of whole images, in chunks through the engine: what is fitted and compared before the transformer learns. */
import { availableParallelism } from 'node:os'
import * as tf from './backend/tf.js'
import { embedded, useEngine } from './backend/choose.js'
import { jit, type Jitted } from './backend/jit.js'
import { plainView, writeView } from './data/augment.js'
import { Random } from './data/random.js'
import { described, featureCountOf, wordCount, wordSide } from './model/dictionary.js'
import { patchPixelsOf, tokensOf, type Preset } from './model/presets.js'
import type { Turns } from './turns.js'

/** Images whose features are computed at once: their patches are large. */
const chunk = 64

export interface FeatureOptions {
  preset: Preset
  /** `dictionary.weight` and `dictionary.bias`, flat. */
  dictionary: Float32Array
  /** What the features are multiplied with [F, D], flat; absent: nothing. */
  columns?: Float32Array | undefined
  turns: Turns
}

/**
 * Features [n, F], flat, or their products with the columns [n, D], of the images, uint8 [S, S, 3] each. Errors: what its turns raise.
 */
export async function featuresOf(images: readonly Uint8Array[], options: FeatureOptions): Promise<Float32Array> {
  const { preset, dictionary, columns: given, turns } = options
  await useEngine(embedded)
  const split = wordSide ** 2 * wordCount
  const weights = {
    'dictionary.weight': tf.tensor4d(dictionary.subarray(0, split), [wordSide, wordSide, 1, wordCount]),
    'dictionary.bias': tf.tensor1d(dictionary.subarray(split)),
  }
  const count = featureCountOf(preset)
  const length = given ? given.length / count : count
  const columns = given && tf.tensor2d(given, [count, length])
  await using extract = jit<[tf.Tensor3D], tf.Tensor2D>(patches => {
    const features: tf.Tensor2D = tf.reshape(described(weights, patches, preset), [patches.shape[0], count])
    return columns ? tf.matMul(features, columns) : features
  }, { name: 'features', threads: availableParallelism() })
  const features = await inChunks(images, { preset, length, turns }, extract)
  tf.dispose([weights, columns ?? []] as tf.TensorContainer)
  return features
}

/** What `compute` gives of all images, chunk by chunk: `length` numbers of each, flat. */
export async function inChunks(
  images: readonly Uint8Array[], { preset, length, turns }: { preset: Preset; length: number; turns: Turns },
  compute: (patches: tf.Tensor3D) => ReturnType<Jitted<[tf.Tensor3D], tf.Tensor>>,
): Promise<Float32Array> {
  const image = tokensOf(preset) * patchPixelsOf(preset)
  const all = new Float32Array(images.length * length)
  const patches = new Float32Array(chunk * image)
  for (let begin = 0; begin < images.length; begin += chunk) {
    await turns.next()
    const part = images.slice(begin, begin + chunk)
    part.forEach((pixels, index) => {
      writeView(pixels, preset, plainView, Random.of(0), patches.subarray(index * image, (index + 1) * image))
    })
    // The last chunk is filled up with what lies there, so that one graph serves all.
    const input = tf.tensor3d(patches, [chunk, tokensOf(preset), patchPixelsOf(preset)])
    const found = await compute(input)
    all.set((await found.data<'float32'>()).subarray(0, part.length * length), begin * length)
    tf.dispose([input, found])
  }
  return all
}
