/** What a user would try first: logistic regression on pixels, and a small convolutional network with augmentation. Labels alone. */
import * as tf from '../../trainer/backend/tf.js'
import { embedded, useEngine } from '../../trainer/backend/choose.js'
import { jit, type Jitted } from '../../trainer/backend/jit.js'
import { labeledView, plainView, writeView, type ViewRange } from '../../trainer/data/augment.js'
import { Random } from '../../trainer/data/random.js'
import { channels, presets } from '../../trainer/model/presets.js'
import { updateInPlace, zeroState } from '../../trainer/optim/adamw.js'
import { rateAt } from '../../trainer/pace.js'

export interface Images {
  /** uint8 [S, S, 3] each. */
  pixels: readonly Uint8Array[]
  /** Indices of classes. */
  labels: readonly number[]
}

const classCount = 10
const { size } = presets.nano
/** A second one makes it a sixth faster: two runs side by side get further. */
const threads = 1
/** One patch that is the whole picture: a view then lies row by row. */
const whole = { ...presets.nano, patch: size }
const imageLength = size ** 2 * channels

type Named = Record<string, tf.Tensor>

interface Network {
  shapes: Record<string, number[]>
  /** x [B, S, S, 1] → logits [B, C]; `kept` [B, D]: 0 or the factor of what drop-out leaves. */
  logits: (weights: Named, x: tf.Tensor4D, kept: tf.Tensor2D) => tf.Tensor2D
  dropped: number
}

const [first, second, hidden] = [32, 64, 128]

const networks = {
  logistic: {
    shapes: { 'head.weight': [size ** 2, classCount], 'head.bias': [classCount] },
    logits: (weights, x, kept) => {
      const flat: tf.Tensor2D = tf.reshape(x, [x.shape[0], size ** 2])
      return tf.add(dense(weights, 'head', flat), tf.mul(tf.sum(kept), 0))
    },
    dropped: 0,
  },
  cnn: {
    shapes: {
      'a.weight': [3, 3, 1, first], 'a.bias': [first], 'b.weight': [3, 3, first, first], 'b.bias': [first],
      'c.weight': [3, 3, first, second], 'c.bias': [second], 'd.weight': [3, 3, second, second], 'd.bias': [second],
      'hidden.weight': [(size / 4) ** 2 * second, hidden], 'hidden.bias': [hidden], 'head.weight': [hidden, classCount], 'head.bias': [classCount],
    },
    logits: (weights, x, kept) => {
      const convolved = (name: string, input: tf.Tensor4D) => tf.relu<tf.Tensor4D>(tf.add<tf.Tensor4D>(tf.conv2d(input, weights[`${name}.weight`] as tf.Tensor4D, 1, 'same'), weights[`${name}.bias`] as tf.Tensor))
      const half = (input: tf.Tensor4D) => tf.maxPool<tf.Tensor4D>(input, 2, 2, 'valid')
      const pooled = half(convolved('d', convolved('c', half(convolved('b', convolved('a', x))))))
      const features = tf.relu(dense(weights, 'hidden', tf.reshape(pooled, [x.shape[0], (size / 4) ** 2 * second])))
      return dense(weights, 'head', tf.mul(features, kept))
    },
    dropped: 0.5,
  },
} satisfies Record<string, Network>

export type Baseline = keyof typeof networks
export const baselines = Object.keys(networks) as Baseline[]

export function isBaseline(method: string): method is Baseline {
  return Object.hasOwn(networks, method)
}

function dense(weights: Named, name: string, x: tf.Tensor2D): tf.Tensor2D {
  return tf.add(tf.matMul(x, weights[`${name}.weight`] as tf.Tensor2D), weights[`${name}.bias`] as tf.Tensor)
}

export interface Fit {
  steps: number
  batch: number
  learningRate: number
  weightDecay: number
  view: ViewRange
}

/** What was tried of each; the validation images choose. */
const fits: Record<Baseline, Fit[]> = {
  logistic: [0.01, 0.1, 1, 10].map(weightDecay => ({ steps: 500, batch: 100, learningRate: 0.01, weightDecay, view: plainView })),
  cnn: [plainView, labeledView].map(view => ({ steps: 2000, batch: 50, learningRate: 1e-3, weightDecay: 0.05, view })),
}

/** Fits a baseline in each way, takes the one that is best on `validation`, and gives its accuracy on `test`, looked at once. */
export async function runBaseline(
  name: Baseline, { labeled, validation, test, seed }: { labeled: Images; validation: Images; test: Images; seed: number },
): Promise<{ accuracy: number; validationAccuracy: number }> {
  await useEngine(embedded)
  let best: { accuracy: number; weights: Float32Array } | null = null
  for (const fit of fits[name]) {
    const weights = await fitted(networks[name], labeled, fit, seed)
    const accuracy = await accuracyOf(networks[name], weights, validation)
    if (accuracy > (best?.accuracy ?? -1)) best = { accuracy, weights }
  }
  if (!best) throw new Error(`${name} has nothing to try`)
  return { accuracy: await accuracyOf(networks[name], best.weights, test), validationAccuracy: best.accuracy }
}

/** Flat weights [n] after AdamW with warm-up and cosine. */
async function fitted(network: Network, { pixels, labels }: Images, fit: Fit, seed: number): Promise<Float32Array> {
  const { steps, batch, learningRate, weightDecay, view } = fit
  const names = Object.keys(network.shapes)
  const sizes = names.map(name => sizeOf(network.shapes[name] ?? []))
  const flat = initial(network, seed)
  const gradient = jit<[tf.Tensor1D, tf.Tensor4D, tf.Tensor2D, tf.Tensor2D], tf.Tensor1D>((weights, x, targets, kept) => {
    const parts = unpacked(network, weights)
    const loss = (...tensors: tf.Tensor[]): tf.Scalar => {
      const named = Object.fromEntries(names.map((name, index) => [name, tensors[index] as tf.Tensor]))
      return tf.neg<tf.Scalar>(tf.mean<tf.Scalar>(tf.sum(tf.mul(tf.logSoftmax(network.logits(named, x, kept)), targets), 1)))
    }
    const slopes = tf.grads(loss)(names.map(name => parts[name] as tf.Tensor))
    return tf.concat1d(slopes.map((slope, index) => tf.reshape(slope, [sizes[index] ?? 0])))
  }, { name: 'baseline', threads })
  const state = { ...zeroState(flat.length), student: flat }
  const order = Random.of(seed, 1)
  for (let step = 1; step <= steps; step++) {
    const ids = Array.from({ length: batch }, () => order.below(pixels.length))
    const targets = new Float32Array(batch * classCount)
    ids.forEach((id, row) => { targets[row * classCount + (labels[id] ?? 0)] = 1 })
    const inputs = [
      tf.tensor1d(flat), inputOf(ids.map(id => pixels[id] as Uint8Array), view, Random.of(seed, 2, step)),
      tf.tensor2d(targets, [batch, classCount]), keptOf(network, batch, Random.of(seed, 3, step)),
    ] as const
    const slope = await gradient(...inputs)
    updateInPlace(state, [await slope.data<'float32'>()], { start: 0, end: flat.length, rate: 1, decays: true, share: 1 },
      { count: step, learningRate: learningRate * rateAt(step / steps), weightDecay })
    tf.dispose([...inputs, slope])
  }
  await gradient.release()
  return flat
}

async function accuracyOf(network: Network, flat: Float32Array, { pixels, labels }: Images): Promise<number> {
  const chunk = 100
  const predict: Jitted<[tf.Tensor1D, tf.Tensor4D], tf.Tensor2D> = jit<[tf.Tensor1D, tf.Tensor4D], tf.Tensor2D>(
    (weights, x) => network.logits(unpacked(network, weights), x, tf.ones([x.shape[0], hidden])), { name: 'baseline', threads })
  const weights = tf.tensor1d(flat)
  let correct = 0
  for (let start = 0; start < pixels.length; start += chunk) {
    const part = pixels.slice(start, start + chunk)
    const x = inputOf(part, plainView, Random.of(0))
    const logits = await predict(weights, x)
    const values = await logits.data()
    part.forEach((_, row) => {
      const own = [...values.slice(row * classCount, (row + 1) * classCount)]
      if (own.indexOf(Math.max(...own)) === labels[start + row]) correct++
    })
    tf.dispose([x, logits])
  }
  tf.dispose(weights)
  await predict.release()
  return correct / pixels.length
}

/** He's initialisation; biases are 0. */
function initial({ shapes }: Network, seed: number): Float32Array {
  const random = Random.of(seed, 4)
  return Float32Array.from(Object.values(shapes).flatMap(shape => {
    const spread = shape.length > 1 ? Math.sqrt(2 / sizeOf(shape.slice(0, -1))) : 0
    return Array.from({ length: sizeOf(shape) }, () => spread * random.normal())
  }))
}

function unpacked({ shapes }: Network, flat: tf.Tensor1D): Named {
  let offset = 0
  return Object.fromEntries(Object.entries(shapes).map(([name, shape]) => {
    const begin = offset
    offset += sizeOf(shape)
    return [name, tf.reshape(tf.slice1d(flat, begin, sizeOf(shape)), shape)]
  }))
}

/** Grey views [B, S, S, 1]. */
function inputOf(pixels: readonly Uint8Array[], view: ViewRange, random: Random): tf.Tensor4D {
  const [all, one] = [new Float32Array(pixels.length * size ** 2), new Float32Array(imageLength)]
  pixels.forEach((image, row) => {
    writeView(image, whole, view, random, one)
    for (let pixel = 0; pixel < size ** 2; pixel++) all[row * size ** 2 + pixel] = one[pixel * channels] ?? 0
  })
  return tf.tensor4d(all, [pixels.length, size, size, 1])
}

function keptOf({ dropped }: Network, batch: number, random: Random): tf.Tensor2D {
  return tf.tensor2d(Float32Array.from({ length: batch * hidden }, () => (random.float() < dropped ? 0 : 1 / (1 - dropped))), [batch, hidden])
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1)
}
