/** The gradient histograms of whole images, in chunks through the engine: what is fitted and compared before the transformer learns. */
import { availableParallelism } from 'node:os'
import * as tf from './backend/tf.js'
import { embedded, useEngine } from './backend/choose.js'
import { jit } from './backend/jit.js'
import { plainView, writeView } from './data/augment.js'
import { Random } from './data/random.js'
import { histogramFeatures, histograms } from './model/histograms.js'
import { patchPixelsOf, tokensOf, type Preset } from './model/presets.js'

/** Images whose features are computed at once: their patches are large. */
const chunk = 64

/** Features [n, F], flat, of the images, uint8 [S, S, 3] each. */
export async function featuresOf(images: readonly Uint8Array[], preset: Preset): Promise<Float32Array> {
  await useEngine(embedded)
  const image = tokensOf(preset) * patchPixelsOf(preset)
  const extract = jit<[tf.Tensor3D], tf.Tensor2D>(patches => histograms(patches, preset), { name: 'histograms', threads: availableParallelism() })
  const features = new Float32Array(images.length * histogramFeatures)
  const patches = new Float32Array(chunk * image)
  for (let begin = 0; begin < images.length; begin += chunk) {
    const part = images.slice(begin, begin + chunk)
    part.forEach((pixels, index) => {
      writeView(pixels, preset, plainView, Random.of(0), patches.subarray(index * image, (index + 1) * image))
    })
    // The last chunk is filled up with what lies there, so that one graph serves all.
    const input = tf.tensor3d(patches, [chunk, tokensOf(preset), patchPixelsOf(preset)])
    const found = await extract(input)
    features.set((await found.data<'float32'>()).subarray(0, part.length * histogramFeatures), begin * histogramFeatures)
    tf.dispose([input, found])
  }
  await extract.release()
  return features
}
