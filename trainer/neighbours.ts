/**
 * What the images say of each other: the labels spread over the graph of nearest neighbours by the dictionary (Zhou et al., *Learning
 * with Local and Global Consistency*, 2003). It sees how the site's frames lie together, which ten labels a class do not tell, and errs
 * elsewhere than the classifier does: both together are better judges than either.
 */
import { availableParallelism } from 'node:os'
import * as tf from './backend/tf.js'
import { embedded, useEngine } from './backend/choose.js'
import { jit } from './backend/jit.js'
import { meansOf } from './columns.js'
import { softmax } from './evidence.js'
import type { Turns } from './turns.js'

const options = {
  /** Neighbours of an image. */
  count: 10,
  /** Exponent of the cosine: a near neighbour weighs more than all far ones. */
  sharpness: 16,
  /** Share of what an image holds likely that it takes from its neighbours, and how often it asks. */
  spread: 0.98,
  rounds: 80,
  /** Of the say on an image; the classifier has the rest. */
  say: 0.75,
} as const

/** Images whose neighbours are looked for at once. */
const chunk = 256
/** The least probability: nobody is told that a class is impossible. */
const leastProbability = 1e-6

interface Graph {
  /** Nearest neighbours [n, count] of each image, and how strong each tie is once both ends have shared theirs out. */
  neighbours: Int32Array
  ties: Float32Array
}

/**
 * Probabilities [n, C], flat, of the classes of all images from their features [n, D], flat; all 0 for an image that no label reaches. `labels` [n]:
 * an index of a class, or −1 for an image that nobody labeled; `prior` [C]: the share that each class has. Errors: what its turns raise.
 */
export async function spreadLabels(
  { features, labels, prior, turns }: { features: Float32Array; labels: readonly number[]; prior: readonly number[]; turns: Turns },
): Promise<Float32Array> {
  const [count, classes] = [labels.length, prior.length]
  const { neighbours, ties } = await graphOf(features, count, turns)
  const own = new Float32Array(count * classes)
  labels.forEach((label, image) => { if (label >= 0) own[image * classes + label] = 1 })
  let mass = own.slice()
  for (let round = 0; round < options.rounds; round++) {
    await turns.next()
    const next = own.map(value => value * (1 - options.spread))
    for (let tie = 0; tie < ties.length; tie++) {
      const [from, to] = [Math.floor(tie / options.count) * classes, (neighbours[tie] ?? 0) * classes]
      const strength = options.spread * (ties[tie] ?? 0)
      for (let label = 0; label < classes; label++) {
        next[from + label] = (next[from + label] ?? 0) + strength * (mass[to + label] ?? 0)
        next[to + label] = (next[to + label] ?? 0) + strength * (mass[from + label] ?? 0)
      }
    }
    mass = next
  }
  return normalised(mass, prior)
}

/**
 * What the classifier's logits [n, C] and the neighbours' probabilities [n, C] say together, flat: logarithms of their weighted geometric mean.
 * Where the neighbours know nothing the classifier is alone.
 */
export function together(logits: Float32Array, neighbours: Float32Array, classes: number): Float32Array {
  const both = logProbabilities(logits, classes)
  for (let begin = 0; begin < both.length; begin += classes) {
    const row = neighbours.subarray(begin, begin + classes)
    if (row.every(value => value === 0)) continue
    row.forEach((value, label) => {
      const [classifier, neighbour] = [both[begin + label] ?? 0, Math.log(Math.max(value, leastProbability))]
      both[begin + label] = (1 - options.say) * classifier + options.say * neighbour
    })
  }
  return logProbabilities(both, classes)
}

/** Of logits [n, C], flat. */
export function logProbabilities(logits: Float32Array, classes: number): Float32Array {
  const result = new Float32Array(logits.length)
  for (let begin = 0; begin < logits.length; begin += classes) {
    result.set(softmax([...logits.subarray(begin, begin + classes)]).map(value => Math.log(Math.max(value, leastProbability))), begin)
  }
  return result
}

/** Each class brought to its prior share of all mass, then each image's to 1, where it has any. */
function normalised(mass: Float32Array, prior: readonly number[]): Float32Array {
  const classes = prior.length
  const means = meansOf(mass, classes)
  const result = new Float32Array(mass.length)
  for (let begin = 0; begin < mass.length; begin += classes) {
    const row = prior.map((share, label) => ((mass[begin + label] ?? 0) * share) / Math.max(means[label] ?? 0, 1e-30))
    const sum = row.reduce((total, value) => total + value, 0)
    if (sum > 0) row.forEach((value, label) => { result[begin + label] = value / sum })
  }
  return result
}

async function graphOf(features: Float32Array, count: number, turns: Turns): Promise<Graph> {
  await useEngine(embedded)
  const length = features.length / count
  const rays = directions(features, length)
  const all = tf.tensor2d(rays, [count, length])
  // An image is its own nearest neighbour: one more is asked for, and it is passed over.
  const asked = Math.min(options.count + 1, count)
  await using nearest = jit<[tf.Tensor2D, tf.Tensor2D], tf.Tensor[]>((some, others) => {
    const { values, indices } = tf.topk(tf.matMul(some, others, false, true), asked)
    return [values, indices]
  }, { name: 'neighbours', threads: availableParallelism() })
  const neighbours = new Int32Array(count * options.count)
  const ties = new Float32Array(count * options.count)
  const block = new Float32Array(chunk * length)
  for (let begin = 0; begin < count; begin += chunk) {
    await turns.next()
    const rows = Math.min(chunk, count - begin)
    block.fill(0).set(rays.subarray(begin * length, (begin + rows) * length))
    const some = tf.tensor2d(block, [chunk, length])
    const found = await nearest(some, all)
    const [cosines, places] = [await found[0]?.data() ?? [], await found[1]?.data() ?? []]
    for (let row = 0; row < rows; row++) {
      let kept = 0
      for (let rank = 0; rank < asked && kept < options.count; rank++) {
        const place = places[row * asked + rank] ?? 0
        if (place === begin + row) continue
        neighbours[(begin + row) * options.count + kept] = place
        ties[(begin + row) * options.count + kept++] = Math.max(cosines[row * asked + rank] ?? 0, 0) ** options.sharpness
      }
    }
    tf.dispose([some, ...found])
  }
  tf.dispose(all)
  return { neighbours, ties: shared(neighbours, ties, count) }
}

/** Features [n, D] less their mean, each row at length 1: the cosine of two is their product. */
function directions(features: Float32Array, length: number): Float32Array {
  const mean = meansOf(features, length)
  const result = features.map((value, index) => value - (mean[index % length] ?? 0))
  for (let begin = 0; begin < result.length; begin += length) {
    const row = result.subarray(begin, begin + length)
    const scale = 1 / Math.sqrt(row.reduce((sum, value) => sum + value * value, 1e-12))
    row.forEach((value, at) => { row[at] = value * scale })
  }
  return result
}

/** D^(−1/2) (W + Wᵀ) D^(−1/2), tie by tie; D sums over both directions. */
function shared(neighbours: Int32Array, ties: Float32Array, count: number): Float32Array {
  const degree = new Float64Array(count)
  ties.forEach((weight, tie) => {
    for (const image of [Math.floor(tie / options.count), neighbours[tie] ?? 0]) degree[image] = (degree[image] ?? 0) + weight
  })
  return ties.map((weight, tie) => {
    const [from, to] = [degree[Math.floor(tie / options.count)] ?? 0, degree[neighbours[tie] ?? 0] ?? 0]
    return weight / Math.sqrt(Math.max(from * to, 1e-30))
  })
}
