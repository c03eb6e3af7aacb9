/** A finished model exported once more, from the files that its round left. */
import * as tf from '../backend/tf.js'
import { embedded, useEngine } from '../backend/choose.js'
import type { ModelCard } from '../contract.js'
import { modelTable } from '../model/parameters.js'
import { presets } from '../model/presets.js'
import { Ssmae } from '../model/ssmae.js'
import { activationOf } from '../recipe.js'
import { exportClassifier } from './onnx.js'
import { readSafetensors } from './safetensors.js'

/** The parts that a model has, by the names of its weights: cards of before do not tell of all. */
function partsOf(weights: { has: (name: string) => boolean }): Parameters<typeof modelTable>[2] {
  return {
    shortcut: weights.has('shortcut.weight'),
    stem: weights.has('embedding.words.weight'),
    readout: weights.has('readout.weight') ? 'places' : 'mean',
  }
}

export interface RebuildOptions {
  card: Pick<ModelCard, 'preset' | 'classes' | 'temperature' | 'recipe'>
  /** weights.safetensors, its bytes. */
  weights: Uint8Array
  /** Quantises the products with weights. */
  int8: boolean
}

/** ONNX bytes of the classifier. Errors: weights that are cut off, or are not those of the card's preset and classes. */
export async function rebuiltModel({ card: { preset, classes, temperature, recipe }, weights, int8 }: RebuildOptions): Promise<Uint8Array> {
  const given = readSafetensors(weights)
  const { specs } = modelTable(presets[preset], classes.length, partsOf(given))
  const strange = [...given.keys()].find(name => specs.every(spec => spec.name !== name))
  if (strange !== undefined) throw new Error(`the weight "${strange}" is of another version of the model; train it anew to quantise it`)
  await useEngine(embedded)
  const tensors = Object.fromEntries(specs.map(({ name, shape }) => {
    const found = given.get(name)
    if (found?.shape.join() !== shape.join()) {
      throw new Error(`the weight "${name}" is ${found ? `[${found.shape.join(', ')}]` : 'missing'}; ${preset} with ${String(classes.length)} classes has [${shape.join(', ')}]`)
    }
    return [name, tf.tensor(found.data, shape)]
  }))
  try {
    return exportClassifier(new Ssmae(presets[preset], { activation: activationOf(recipe) }), tensors, classes, temperature, { int8 })
  } finally {
    tf.dispose(tensors)
  }
}
