/** The decoder's word on the hidden patches of many images, and how far off it is. */
import * as tf from '../backend/tf.js'
import { jit, type Jitted } from '../backend/jit.js'
import type { ParameterTable } from '../model/parameters.js'
import { patchPixelsOf, type Preset } from '../model/presets.js'
import { Ssmae } from '../model/ssmae.js'
import type { Recipe } from '../recipe.js'
import { unpacked } from '../step.js'
import { errorOn, patchesAt, type Mask } from './masking.js'

/** An image [N, P] and the one mask that it has at every look. */
export interface Example {
  patches: Float32Array
  mask: Mask
}

/** Images in one forward. */
const chunk = 100

type Run = (weights: tf.Tensor1D, visible: tf.Tensor3D, keepIds: tf.Tensor2D, dropIds: tf.Tensor2D) => tf.Tensor3D

export class Reconstructor {
  private readonly preset: Preset
  private readonly run: Jitted<Parameters<Run>, tf.Tensor3D>

  constructor({ preset, recipe, table }: { preset: Preset; recipe: Recipe; table: ParameterTable }) {
    this.preset = preset
    const model = new Ssmae(preset, recipe)
    this.run = jit<Parameters<Run>, tf.Tensor3D>(
      (weights, visible, keepIds, dropIds) => model.reconstruct(unpacked(table, weights), { visible, keepIds, dropIds }), { name: 'reconstruct', threads: 1 })
  }

  /** Of weights [n] on each example: [N − K, P], in the order of its mask. */
  async guesses(flat: Float32Array, examples: readonly Example[]): Promise<Float32Array[]> {
    const weights = tf.tensor1d(flat)
    const all: Float32Array[] = []
    for (let start = 0; start < examples.length; start += chunk) {
      const part = examples.slice(start, start + chunk)
      const inputs = this.inputsOf(part)
      const hidden = await this.run(weights, ...inputs)
      const values = await hidden.data<'float32'>()
      const each = values.length / part.length
      part.forEach((_, row) => all.push(values.slice(row * each, (row + 1) * each)))
      tf.dispose([...inputs, hidden])
    }
    tf.dispose(weights)
    return all
  }

  async release(): Promise<void> {
    await this.run.release()
  }

  private inputsOf(examples: readonly Example[]): [visible: tf.Tensor3D, keepIds: tf.Tensor2D, dropIds: tf.Tensor2D] {
    const pixels = patchPixelsOf(this.preset)
    const ids = (of: (mask: Mask) => Int32Array) => tf.tensor2d(examples.map(({ mask }) => [...of(mask)]), undefined, 'int32')
    const kept = examples[0]?.mask.keepIds.length ?? 0
    const visible = new Float32Array(examples.length * kept * pixels)
    examples.forEach(({ patches, mask }, row) => { visible.set(patchesAt(patches, mask.keepIds, this.preset), row * kept * pixels) })
    return [tf.tensor3d(visible, [examples.length, kept, pixels]), ids(mask => mask.keepIds), ids(mask => mask.dropIds)]
  }
}

/** Mean of the examples' errors, each by its guess. */
export function meanError(examples: readonly Example[], guessOf: (example: Example, index: number) => Float32Array, preset: Preset): number {
  return examples.reduce((sum, example, index) => sum + errorOn(example.patches, example.mask, guessOf(example, index), preset), 0) / examples.length
}
