/**
 * The layers of the vision transformer, on tfjs operations. Tokens of a batch lie in one matrix [N·B, D]: the first of every
 * image, then the second of every image. So a head finds its rows evenly spaced, and no product needs them moved.
 */
import * as tf from '../backend/tf.js'

/** Weights by the names of the parameter table. */
export type Weights = Readonly<Record<string, tf.Tensor>>

const normEpsilon = 1e-6

export function weight(weights: Weights, name: string): tf.Tensor {
  const tensor = weights[name]
  if (!tensor) throw new Error(`the weight "${name}" is missing`)
  return tensor
}

/** x [M, D] → [M, E]. */
export function linear(weights: Weights, name: string, x: tf.Tensor2D): tf.Tensor2D {
  return tf.add(tf.matMul(x, weight(weights, `${name}.weight`) as tf.Tensor2D), weight(weights, `${name}.bias`))
}

/** An operation with its own gradient: `backward` gets what `forward` saved beside the value. */
function composite(
  inputs: readonly tf.Tensor[],
  forward: (...inputs: tf.Tensor[]) => { value: tf.Tensor; saved: tf.Tensor[] },
  backward: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.Tensor | tf.Tensor[],
): tf.Tensor {
  return tf.customGrad((...given: (tf.Tensor | tf.GradSaveFunc)[]) => {
    const save = given.pop() as tf.GradSaveFunc
    const { value, saved } = forward(...given as tf.Tensor[])
    save(saved)
    return { value, gradFunc: backward }
  })(...inputs)
}

/**
 * Each row of x [M, D] to zero mean and unit variance. Scale and shift are left to the linear layer that follows,
 * which can express both. One node forward where the backend has it; the gradient is written out:
 * dx = (dy − mean(dy) − y · mean(dy · y)) / σ.
 */
export function layerNorm(x: tf.Tensor2D): tf.Tensor2D {
  return composite([x], input => {
    const [value, inverseDeviation] = normalise(input as tf.Tensor2D)
    return { value, saved: [value, inverseDeviation] }
  }, (dy, saved) => {
    const [y, inverse] = saved as [tf.Tensor, tf.Tensor]
    const along = tf.sub(dy, tf.mul(y, tf.mean(tf.mul(dy, y), -1, true)))
    return tf.mul(tf.sub(along, tf.mean(along, -1, true)), inverse)
  }) as tf.Tensor2D
}

function normalise(x: tf.Tensor2D): [tf.Tensor2D, tf.Tensor2D] {
  if (tf.getKernel('LayerNorm', tf.getBackend())) {
    return tf.engine().runKernel<[tf.Tensor2D, tf.Tensor2D]>('LayerNorm', { x }, { epsilon: normEpsilon })
  }
  const centred = tf.sub(x, tf.mean(x, -1, true))
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), normEpsilon)) as tf.Tensor2D
  return [tf.mul(centred, inverse), inverse]
}

/**
 * Squared ReLU, max(x, 0)² (Primer, section 3): as good as GELU in a small ViT, and three passes instead of ten. The factor 2 of
 * the gradient stands first, where the product that made `dy` can take it over.
 */
export function squaredRelu(x: tf.Tensor2D): tf.Tensor2D {
  return composite([x], input => {
    const positive = tf.relu(input)
    return { value: tf.square(positive), saved: [positive] }
  }, (dy, [positive]) => tf.mul(tf.mul(dy, 2), positive as tf.Tensor)) as tf.Tensor2D
}

/**
 * GELU, x · Φ(x) with Φ = (1 + erf(x / √2)) / 2 (Hendrycks & Gimpel, 2016). Its slope is Φ(x) + x · φ(x), with φ the density of the
 * normal distribution; Φ is kept from the forward pass.
 */
export function gelu(x: tf.Tensor2D): tf.Tensor2D {
  return composite([x], input => {
    const below = tf.mul(tf.add(tf.erf(tf.mul(input as tf.Tensor, Math.SQRT1_2)), 1), 0.5)
    return { value: tf.mul(input as tf.Tensor, below), saved: [input as tf.Tensor, below] }
  }, (dy, saved) => {
    const [input, below] = saved as [tf.Tensor, tf.Tensor]
    const density = tf.mul(tf.exp(tf.mul(tf.square(input), -0.5)), 1 / Math.sqrt(2 * Math.PI))
    return tf.mul(dy, tf.add(below, tf.mul(input, density)))
  }) as tf.Tensor2D
}

/** What stands between the two products of a block. */
export const activations = { 'squared-relu': squaredRelu, gelu } as const
export type Activation = keyof typeof activations

/** Cross-entropy [B] of logits [B, C] with targets [B, C] whose rows sum to 1; its gradient is softmax(logits) − targets, the targets get none. */
export function crossEntropy(logits: tf.Tensor2D, targets: tf.Tensor2D): tf.Tensor1D {
  return composite([logits], given => {
    const logProbabilities: tf.Tensor2D = tf.logSoftmax(given as tf.Tensor2D)
    return { value: tf.neg(tf.sum(tf.mul(logProbabilities, targets), 1)), saved: [logProbabilities, targets] }
  }, (dy, saved) => {
    const [logProbabilities, wanted] = saved as [tf.Tensor, tf.Tensor]
    return tf.mul(tf.expandDims(dy, 1), tf.sub(tf.exp(logProbabilities), wanted))
  }) as tf.Tensor1D
}

/**
 * softmax(q kᵀ / √E) v for each image and head; all [N, B, H, E]. The gradient keeps the probabilities p and the result o:
 * dv = pᵀ do; ds = p · (do vᵀ − Σ do · o); dq = ds k / √E; dk = dsᵀ q / √E. The sum over E stands for the one over N that
 * softmax asks for (FlashAttention, section 3.1), and is shorter.
 */
export function scaledAttention(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D): tf.Tensor4D {
  const scale = 1 / Math.sqrt(q.shape[3])
  const byHead = (x: tf.Tensor) => tf.transpose(x, [1, 2, 0, 3]) // [B, H, N, E]
  const byToken = (x: tf.Tensor) => tf.transpose(x, [2, 0, 1, 3])
  return composite([q, k, v], (...inputs) => {
    const [query, key, value] = inputs.map(byHead) as [tf.Tensor, tf.Tensor, tf.Tensor]
    const probabilities = tf.softmax(tf.mul(tf.matMul(query, key, false, true), scale)) // [B, H, N, N]
    const looked = byToken(tf.matMul(probabilities, value))
    return { value: looked, saved: [...inputs, probabilities, looked] }
  }, (dy, saved) => {
    const [query, key, value] = saved.map(byHead) as [tf.Tensor, tf.Tensor, tf.Tensor]
    const [probabilities, looked] = saved.slice(3) as [tf.Tensor, tf.Tensor]
    const down = byHead(dy)
    const drift = tf.expandDims(tf.transpose(tf.sum(tf.mul(dy, looked), -1), [1, 2, 0]), -1) // [B, H, N, 1]
    const scores = tf.mul(probabilities, tf.sub(tf.matMul(down, value, false, true), drift))
    return [
      byToken(tf.mul(tf.matMul(scores, key), scale)),
      byToken(tf.mul(tf.matMul(scores, query, true), scale)),
      byToken(tf.matMul(probabilities, down, true)),
    ]
  }) as tf.Tensor4D
}

/** x [N·B, D] → [N·B, D], each token looking at the N of its own image through `heads` heads. */
export function attention(weights: Weights, name: string, x: tf.Tensor2D, tokens: number, heads: number): tf.Tensor2D {
  const [rows, width] = x.shape
  const project = (part: string, from: tf.Tensor2D): tf.Tensor2D => tf.matMul(from, weight(weights, `${name}.${part}.weight`) as tf.Tensor2D)
  const split = (part: string): tf.Tensor4D => tf.reshape(project(part, x), [tokens, rows / tokens, heads, width / heads])
  const looked: tf.Tensor2D = tf.reshape(scaledAttention(split('query'), split('key'), split('value')), [rows, width])
  return project('projection', looked)
}

export interface BlockShape {
  /** Tokens of an image, N. */
  tokens: number
  heads: number
  activation: Activation
}

/** A pre-norm transformer block on x [N·B, D]; its products have no bias (PaLM, section 2). */
export function block(weights: Weights, name: string, x: tf.Tensor2D, { tokens, heads, activation }: BlockShape): tf.Tensor2D {
  const attended = tf.add<tf.Tensor2D>(x, attention(weights, `${name}.attention`, layerNorm(x), tokens, heads))
  const [expand, contract] = ['expand', 'contract'].map(part => weight(weights, `${name}.mlp.${part}.weight`)) as [tf.Tensor2D, tf.Tensor2D]
  const expanded: tf.Tensor2D = tf.matMul(layerNorm(attended), expand)
  return tf.add<tf.Tensor2D>(attended, tf.matMul(activations[activation](expanded), contract))
}
