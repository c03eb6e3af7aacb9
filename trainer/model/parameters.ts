/** Every weight by name, and where it lies in the one flat array that the optimiser, the lanes and the files share. */
import type { Random } from '../data/random.js'
import { featureCountOf, wordCount, wordSide } from './dictionary.js'
import { patchPixelsOf, tokensOf, type Preset } from './presets.js'

export interface ParameterSpec {
  name: string
  shape: number[]
  /** First element in the flat array. */
  offset: number
  size: number
  /** Matrices decay; biases, tokens and the dictionary, which no step moves, do not. */
  decays: boolean
  /** 0 for the embedding, depth + 1 for the heads: what layer-wise learning rates count from. */
  layer: number
  initial: 'glorot' | 'he' | 'zeros' | 'small'
}

export interface ParameterTable {
  specs: ParameterSpec[]
  /** Elements in the flat array. */
  size: number
}

export type Readout = 'mean' | 'places'

/** Numbers that each token is narrowed to before it is read at its place. */
export const readoutWidth = 16

/** Numbers between the dictionary and the classes. */
export const hiddenWidth = 128

/** The parts that a transformer may have or not. */
export interface Parts {
  stem: boolean
  readout: Readout
}

/** The weights of SSMAE: a shared encoder with the dictionary that it is told of, a classification head, a light decoder. */
export function parameterTable(preset: Preset, classes: number, { stem, readout }: Parts): ParameterTable {
  const { specs, add, linear } = tableOf()
  const block = (layer: number, name: string, width: number) => {
    for (const part of ['query', 'key', 'value', 'projection']) add(layer, `${name}.attention.${part}.weight`, [width, width], 'glorot')
    add(layer, `${name}.mlp.expand.weight`, [width, 4 * width], 'glorot')
    add(layer, `${name}.mlp.contract.weight`, [4 * width, width], 'glorot')
  }
  const { width, depth, decoderWidth, decoderDepth } = preset
  const pixels = patchPixelsOf(preset)
  linear(0, 'embedding', pixels, width)
  if (stem) {
    addDictionary(add)
    add(0, 'embedding.words.weight', [wordCount, width], 'glorot')
  }
  for (let index = 0; index < depth; index++) block(index + 1, `encoder.${String(index)}`, width)
  if (readout === 'places') add(depth + 1, 'readout.weight', [width, readoutWidth], 'glorot')
  // Zeros: from scratch it says nothing at first, and what was known before decides.
  add(depth + 1, 'head.weight', [...(readout === 'places' ? [tokensOf(preset), readoutWidth] : [width]), classes], 'zeros')
  add(depth + 1, 'head.bias', [classes], 'zeros')
  linear(depth + 1, 'decoder.embedding', width, decoderWidth)
  add(depth + 1, 'decoder.mask', [decoderWidth], 'small')
  for (let index = 0; index < decoderDepth; index++) block(depth + 1, `decoder.${String(index)}`, decoderWidth)
  linear(depth + 1, 'decoder.pixels', decoderWidth, pixels)
  return joined({ specs })
}

/** The classifier on the features of the dictionary, with one hidden layer. */
export function shortcutTable(features: number, classes: number): ParameterTable {
  const { specs, linear } = tableOf()
  linear(0, 'shortcut.hidden', features, hiddenWidth, 'he')
  linear(0, 'shortcut', hiddenWidth, classes, 'he')
  return joined({ specs })
}

/** A whole model as its files have it: the transformer, and behind it the shortcut where it has one, with the dictionary that this needs. */
export function modelTable(preset: Preset, classes: number, { shortcut, ...parts }: Parts & { shortcut: boolean }): ParameterTable {
  const transformer = parameterTable(preset, classes, parts)
  if (!shortcut) return transformer
  const { specs, add } = tableOf()
  if (!parts.stem) addDictionary(add)
  return joined(transformer, { specs }, shortcutTable(featureCountOf(preset), classes))
}

function addDictionary(add: ReturnType<typeof tableOf>['add']): void {
  add(0, 'dictionary.weight', [wordSide, wordSide, 1, wordCount], 'glorot', false)
  add(0, 'dictionary.bias', [wordCount], 'zeros')
}

/** What a table is filled with: weights of one kind after the other. */
function tableOf() {
  const specs: Omit<ParameterSpec, 'offset'>[] = []
  const add = (layer: number, name: string, shape: number[], initial: ParameterSpec['initial'], decays = shape.length > 1) => {
    specs.push({ name, shape, size: shape.reduce((product, length) => product * length, 1), decays, layer, initial })
  }
  const linear = (layer: number, name: string, from: number, to: number, initial: ParameterSpec['initial'] = 'glorot') => {
    add(layer, `${name}.weight`, [from, to], initial)
    add(layer, `${name}.bias`, [to], 'zeros')
  }
  return { specs, add, linear }
}

/** The weights of all, in this order. */
function joined(...tables: readonly { specs: readonly Omit<ParameterSpec, 'offset'>[] }[]): ParameterTable {
  let size = 0
  const specs = tables.flatMap(table => table.specs).map(spec => ({ ...spec, offset: (size += spec.size) - spec.size }))
  return { specs, size }
}

/** The weights of `flat` [n] whose names begin with `prefix`, in the order of the table: a view. */
export function partOf({ specs }: ParameterTable, flat: Float32Array, prefix: string): Float32Array {
  const part = specs.filter(({ name }) => name.startsWith(prefix))
  const begin = part[0]?.offset ?? 0
  return flat.subarray(begin, begin + part.reduce((sum, { size }) => sum + size, 0))
}

/** Writes the initial weights of every parameter into `flat`. */
export function initialise(table: ParameterTable, flat: Float32Array, random: Random): void {
  for (const spec of table.specs) {
    const [to = 1, from = 1, ...window] = spec.shape.toReversed()
    // A convolution's output sums over its window.
    const fan = window.reduce((product, length) => product * length, 1)
    const deviation = { glorot: Math.sqrt(2 / (fan * (from + to))), he: Math.sqrt(2 / (fan * from)), small: 0.02, zeros: 0 }[spec.initial]
    for (let index = 0; index < spec.size; index++) flat[spec.offset + index] = deviation === 0 ? 0 : deviation * random.normal()
  }
}

/** Fixed two-dimensional sine-cosine positions [tokens, width] (MAE, appendix A.1); `width` is a multiple of 4. */
export function positions(preset: Preset, width: number): Float32Array {
  const side = preset.size / preset.patch
  const quarter = width / 4
  const table = new Float32Array(tokensOf(preset) * width)
  for (let token = 0; token < side * side; token++) {
    const place = [token % side, Math.floor(token / side)]
    place.forEach((coordinate, half) => {
      for (let index = 0; index < quarter; index++) {
        const angle = coordinate / 10_000 ** (index / quarter)
        const start = token * width + half * 2 * quarter + index
        table[start] = Math.sin(angle)
        table[start + quarter] = Math.cos(angle)
      }
    })
  }
  return table
}
