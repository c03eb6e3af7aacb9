/** SSMAE: one encoder, read by a classifier and by a reconstruction decoder (arXiv 2601.20072, section 3). */
import * as tf from '../backend/tf.js'
import { described, featureCountOf, wordCount } from './dictionary.js'
import { block, layerNorm, linear, weight, type Activation, type Weights } from './layers.js'
import { positions, readoutWidth } from './parameters.js'
import { patchPixelsOf, tokensOf, type Preset } from './presets.js'

/** What the mask leaves and what it takes, chosen before the embedding: no gradient flows through the choice. */
export interface MaskedPatches {
  /** Pixels of the patches that stay [B, K, P]. */
  visible: tf.Tensor3D
  /** Their places [B, K], int32. */
  keepIds: tf.Tensor2D
  /** Pixels of the patches to predict [B, N − K, P]. */
  hidden: tf.Tensor3D
  /** Their places [B, N − K], int32. */
  dropIds: tf.Tensor2D
}

export class Ssmae {
  readonly preset: Preset
  private readonly activation: Activation

  constructor(preset: Preset, { activation }: { activation: Activation }) {
    this.preset = preset
    this.activation = activation
  }

  /** Patches [B, N, P] → class logits [B, C] of the transformer and, where there is one, the shortcut beside it; and the mean token [B, D]. */
  classify(weights: Weights, patches: tf.Tensor3D): { logits: tf.Tensor2D; embedding: tf.Tensor2D } {
    const { logits, embedding } = this.transform(weights, patches)
    if (!('shortcut.weight' in weights)) return { logits, embedding }
    const features: tf.Tensor2D = tf.reshape(described(weights, patches, this.preset), [patches.shape[0], featureCountOf(this.preset)])
    return { logits: tf.add(logits, readShortcut(weights, features)), embedding }
  }

  /** Patches [B, N, P] → the transformer's own class logits [B, C], and its mean token [B, D], which says what kind of picture it is. */
  transform(weights: Weights, patches: tf.Tensor3D): { logits: tf.Tensor2D; embedding: tf.Tensor2D } {
    const { width } = this.preset
    const [batch, tokens] = patches.shape
    const places = tf.tensor3d(positions(this.preset, width), [1, tokens, width])
    const encoded = this.encode(weights, patches, tf.add(places, this.words(weights, patches)))
    const embedding: tf.Tensor2D = tf.mean(tf.reshape(encoded, [tokens, batch, width]), 0)
    return { logits: 'readout.weight' in weights ? readByPlace(weights, encoded, tokens) : linear(weights, 'head', embedding), embedding }
  }

  /** Predicted pixels of the hidden patches [B, N − K, P]: from pixels alone, as words are of windows that the mask would cut. */
  reconstruct(weights: Weights, { visible, keepIds, dropIds }: Omit<MaskedPatches, 'hidden'>): tf.Tensor3D {
    const { width, decoderWidth, decoderDepth, decoderHeads } = this.preset
    const [tokens, activation] = [tokensOf(this.preset), this.activation]
    const [batch, kept] = visible.shape
    const placesFor = (size: number, ids: tf.Tensor2D) =>
      tf.gather(tf.tensor2d(positions(this.preset, size), [tokens, size]), ids) as tf.Tensor
    const encoded = this.encode(weights, visible, placesFor(width, keepIds))
    const seen: tf.Tensor3D = tf.reshape(linear(weights, 'decoder.embedding', encoded), [kept, batch, decoderWidth])
    const known = tf.add(seen, byToken(placesFor(decoderWidth, keepIds)))
    const asked = tf.add(weight(weights, 'decoder.mask'), byToken(placesFor(decoderWidth, dropIds)))
    // Attention does not care about order, so nothing is put back to its place: visible first, hidden after.
    let x: tf.Tensor2D = tf.reshape(tf.concat([known, asked], 0), [tokens * batch, decoderWidth])
    for (let index = 0; index < decoderDepth; index++) x = block(weights, `decoder.${String(index)}`, x, { tokens, heads: decoderHeads, activation })
    const hidden: tf.Tensor2D = tf.slice(layerNorm(x), [kept * batch, 0], [(tokens - kept) * batch, decoderWidth])
    return byToken(tf.reshape(linear(weights, 'decoder.pixels', hidden), [tokens - kept, batch, patchPixelsOf(this.preset)]))
  }

  /** What the words that lie in each patch of whole images [B, N, P] say of it [B, N, D]; 0 where there is no stem. */
  private words(weights: Weights, patches: tf.Tensor3D): tf.Tensor {
    if (!('embedding.words.weight' in weights)) return tf.scalar(0)
    const [batch, tokens] = patches.shape
    // The features of a whole image are about of length 1: here each number is brought near 1.
    const features = tf.mul(described(weights, patches, this.preset), Math.sqrt(featureCountOf(this.preset)))
    const product = tf.matMul(tf.reshape(features, [batch * tokens, wordCount]) as tf.Tensor2D, weight(weights, 'embedding.words.weight') as tf.Tensor2D)
    return tf.reshape(product, [batch, tokens, this.preset.width])
  }

  /** Patches [B, K, P] at places that broadcast to [B, K, D] → normalised tokens [K·B, D]. */
  private encode(weights: Weights, patches: tf.Tensor3D, places: tf.Tensor): tf.Tensor2D {
    const [{ width, depth, heads }, activation] = [this.preset, this.activation]
    const [batch, tokens, pixels] = patches.shape
    const flat: tf.Tensor2D = tf.reshape(patches, [batch * tokens, pixels])
    const embedded: tf.Tensor3D = tf.reshape(linear(weights, 'embedding', flat), [batch, tokens, width])
    let x: tf.Tensor2D = tf.reshape(byToken(tf.add(embedded, places)), [tokens * batch, width])
    for (let index = 0; index < depth; index++) x = block(weights, `encoder.${String(index)}`, x, { tokens, heads, activation })
    return layerNorm(x)
  }
}

/** Features of the dictionary [B, F] → logits [B, C], through one hidden layer, of which `kept` [B, H] takes a part while it is learned. */
export function readShortcut(weights: Weights, features: tf.Tensor2D, kept?: tf.Tensor2D): tf.Tensor2D {
  const hidden = tf.relu(linear(weights, 'shortcut.hidden', features))
  return linear(weights, 'shortcut', kept ? tf.mul(hidden, kept) : hidden)
}

/** Tokens [N·B, D] → logits [B, C], each place by weights of its own: cameras stand still, so where something is seen tells what it is. */
function readByPlace(weights: Weights, encoded: tf.Tensor2D, tokens: number): tf.Tensor2D {
  const narrowed: tf.Tensor2D = tf.matMul(encoded, weight(weights, 'readout.weight') as tf.Tensor2D)
  const places: tf.Tensor3D = tf.reshape(narrowed, [tokens, narrowed.shape[0] / tokens, readoutWidth])
  const said = tf.matMul(places, weight(weights, 'head.weight') as tf.Tensor3D) // [N, B, C]
  return tf.add(tf.sum(said, 0), weight(weights, 'head.bias'))
}

/** Images first to tokens first, and back. */
function byToken(x: tf.Tensor): tf.Tensor3D {
  return tf.transpose(x, [1, 0, 2]) as tf.Tensor3D
}
