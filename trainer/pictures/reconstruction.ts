/** What the decoder makes of images that it never learned from, for people to look at. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { embedded, useEngine } from '../backend/choose.js'
import type { LabeledImage } from '../contract.js'
import { Random } from '../data/random.js'
import type { ParameterTable } from '../model/parameters.js'
import type { Preset } from '../model/presets.js'
import type { Recipe } from '../recipe.js'
import { drawMask, patchesOf } from './masking.js'
import { Reconstructor, type Example } from './reconstructor.js'
import { picture, rowsOf } from './rows.js'

export interface PictureOptions {
  folder: string
  preset: Preset
  recipe: Recipe
  table: ParameterTable
  /** All weights, flat. */
  weights: Float32Array
  /** Images that were kept back, with what they show: one of each class comes first. */
  items: readonly LabeledImage[]
  /** The same decoded, uint8 [S, S, 3] each. */
  pixels: readonly Uint8Array[]
  seed: number
}

const shownImages = 10

/** Writes `reconstruction.png`: a column an image, with rows of the original, what the mask leaves of it, and what the decoder makes of the rest. */
export async function pictureReconstruction({ folder, preset, recipe, table, weights, items, pixels, seed }: PictureOptions): Promise<void> {
  const examples = firstOfEach(items).slice(0, shownImages).map((index): Example => ({
    patches: patchesOf(pixels[index] ?? new Uint8Array(), preset), mask: drawMask(preset, recipe.maskRatio, Random.of(seed, 8, index)),
  }))
  await useEngine(embedded)
  const reconstructor = new Reconstructor({ preset, recipe, table })
  try {
    const guesses = await reconstructor.guesses(weights, examples)
    const shown = examples.map((example, index) => ({ ...example, guess: guesses[index] ?? new Float32Array() }))
    await writeFile(join(folder, 'reconstruction.png'), await picture(rowsOf(shown, preset), preset.size))
  } finally {
    await reconstructor.release()
  }
}

/** Places of the first image of each class, then of the others. */
export function firstOfEach(items: readonly LabeledImage[]): number[] {
  const first = new Map(items.map(({ label }, index): [string, number] => [label, index]).reverse())
  const chosen = [...first.values()].sort((a, b) => a - b)
  const taken = new Set(chosen)
  return [...chosen, ...items.flatMap((_, index) => (taken.has(index) ? [] : [index]))]
}
