/** Who judges the frames before the transformer learns: a linear classifier on the dictionary, fitted to the labels, and the neighbours. */
import { basisOf } from './basis.js'
import { beside, columnsOf } from './columns.js'
import { fitLinear } from './linear.js'
import { logProbabilities, spreadLabels, together } from './neighbours.js'
import type { Turns } from './turns.js'

/** Strength of the penalty on the weights of the linear classifier. */
const penalty = 1e-5
/** Numbers by which neighbours are told, and images that tell which numbers those are. */
const basis = { length: 128, images: 1500 }

export interface JudgeOptions {
  /** Features [n, F] of the labeled images, flat, and their classes. */
  known: Float32Array
  labels: readonly number[]
  /** The share that each class has [C]. */
  prior: readonly number[]
  /** Asks the neighbours as well. */
  neighbours: boolean
  /** Images that are judged, the labeled ones first; their labels alone are told. */
  images: readonly Uint8Array[]
  /** Features of images, flat; given columns [F, D], their products with these. */
  describe: (images: readonly Uint8Array[], columns?: Float32Array) => Promise<Float32Array>
  seed: number
  turns: Turns
}

/** Log-probabilities of the classes of all images [n, C], flat. Errors: what its turns raise. */
export async function judge({ known, labels, prior, neighbours, images, describe, seed, turns }: JudgeOptions): Promise<Float32Array> {
  const classCount = prior.length
  const targets = new Float32Array(labels.length * classCount)
  labels.forEach((label, row) => { targets[row * classCount + label] = 1 })
  const width = known.length / labels.length
  const linear = await fitLinear({ features: known, targets, classCount, penalty, turns })
  const [weight, bias] = [linear.subarray(0, width * classCount), linear.subarray(width * classCount)]
  const directions = neighbours ? await directionsOf() : new Float32Array()

  // One pass over all images for both: their features would fill the memory.
  const said = await describe(images, beside([directions, weight], width))
  const length = directions.length / width
  const logits = columnsOf(said, images.length, length).map((value, index) => value + (bias[index % classCount] ?? 0))
  if (!neighbours) return logProbabilities(logits, classCount)
  const told = [...labels, ...new Array<number>(images.length - labels.length).fill(-1)]
  const features = columnsOf(said, images.length, 0, length)
  return together(logits, await spreadLabels({ features, labels: told, prior, turns }), classCount)

  async function directionsOf(): Promise<Float32Array> {
    const sample = evenlySpaced(images.length, basis.images).map(place => images[place] as Uint8Array)
    const length = Math.min(basis.length, Math.ceil(sample.length / 4))
    return basisOf(await describe(sample), { count: sample.length, length, seed, turns })
  }
}

/** At most `most` places among `count`. */
export function evenlySpaced(count: number, most: number): number[] {
  const stride = Math.max(1, count / most)
  return Array.from({ length: Math.min(count, most) }, (_, index) => Math.floor(index * stride))
}
