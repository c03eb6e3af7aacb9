/** The layers of the vision transformer, on tfjs operations. Tokens of a batch lie in one matrix [B·N, D]. */
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

/**
 * Each row of x [M, D] to zero mean and unit variance. Scale and shift are left to the linear layer that follows,
 * which can express both. One node forward where the backend has it; the gradient is written out:
 * dx = (dy − mean(dy) − y · mean(dy · y)) / σ.
 */
export function layerNorm(x: tf.Tensor2D): tf.Tensor2D {
  const op = tf.customGrad((input: tf.Tensor | tf.GradSaveFunc, save: tf.Tensor | tf.GradSaveFunc) => {
    const [value, inverseDeviation] = normalise(input as tf.Tensor2D)
    ;(save as tf.GradSaveFunc)([value, inverseDeviation])
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const [y, inverse] = saved as [tf.Tensor, tf.Tensor]
      const along = tf.sub(dy, tf.mul(y, tf.mean(tf.mul(dy, y), -1, true)))
      return tf.mul(tf.sub(along, tf.mean(along, -1, true)), inverse)
    }
    return { value, gradFunc }
  })
  return op(x) as tf.Tensor2D
}

function normalise(x: tf.Tensor2D): [tf.Tensor2D, tf.Tensor2D] {
  if (tf.getKernel('LayerNorm', tf.getBackend())) {
    return tf.engine().runKernel<[tf.Tensor2D, tf.Tensor2D]>('LayerNorm', { x }, { epsilon: normEpsilon })
  }
  const centred = tf.sub(x, tf.mean(x, -1, true))
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), normEpsilon)) as tf.Tensor2D
  return [tf.mul(centred, inverse), inverse]
}

/** Squared ReLU, max(x, 0)² (Primer, section 3): as good as GELU in a small ViT, and three passes instead of ten. */
export function squaredRelu(x: tf.Tensor2D): tf.Tensor2D {
  const op = tf.customGrad((input: tf.Tensor | tf.GradSaveFunc, save: tf.Tensor | tf.GradSaveFunc) => {
    const positive = tf.relu(input as tf.Tensor)
    ;(save as tf.GradSaveFunc)([positive])
    return {
      value: tf.square(positive),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.mul(dy, tf.mul(saved[0] as tf.Tensor, 2)),
    }
  })
  return op(x) as tf.Tensor2D
}

/** x [B·N, D] → [B·N, D], each token looking at the N of its own image through `heads` heads. */
export function attention(weights: Weights, name: string, x: tf.Tensor2D, tokens: number, heads: number): tf.Tensor2D {
  const [rows, width] = x.shape
  const [batch, each] = [rows / tokens, width / heads]
  const split = (part: string, order: number[]) => {
    const projected = linear(weights, `${name}.${part}`, x)
    return tf.transpose(tf.reshape(projected, [batch, tokens, heads, each]), order)
  }
  const query = tf.mul(split('query', [0, 2, 1, 3]), 1 / Math.sqrt(each)) // [B, H, N, D/H]
  const key = split('key', [0, 2, 3, 1]) // [B, H, D/H, N]
  const value = split('value', [0, 2, 1, 3]) // [B, H, N, D/H]
  const looked = tf.matMul(tf.softmax(tf.matMul(query, key)), value) // [B, H, N, D/H]
  return linear(weights, `${name}.projection`, tf.reshape(tf.transpose(looked, [0, 2, 1, 3]), [rows, width]))
}

/** A pre-norm transformer block on x [B·N, D]. */
export function block(weights: Weights, name: string, x: tf.Tensor2D, tokens: number, heads: number): tf.Tensor2D {
  const attended: tf.Tensor2D = tf.add(x, attention(weights, `${name}.attention`, layerNorm(x), tokens, heads))
  const expanded = squaredRelu(linear(weights, `${name}.mlp.expand`, layerNorm(attended)))
  return tf.add(attended, linear(weights, `${name}.mlp.contract`, expanded))
}
