/** What a lane feeds its session: views, masks and mixed labels of its share of the step, drawn from seeds. */
import { keptOf, patchPixelsOf, tokensOf, type Preset } from '../model/presets.js'
import type { Recipe } from '../recipe.js'
import type { Branches } from '../step.js'
import { labeledView, strongView, weakView, writeView, type ViewRange } from './augment.js'
import { Random } from './random.js'

/** Decoded images side by side in shared memory, uint8 [count, S, S, 3]. */
export class ImagePool {
  readonly pixels: Uint8Array
  private readonly bytesEach: number

  constructor(pixels: Uint8Array, bytesEach: number) {
    this.pixels = pixels
    this.bytesEach = bytesEach
  }

  get count(): number {
    return this.pixels.length / this.bytesEach
  }

  at(index: number): Uint8Array {
    return this.pixels.subarray(index * this.bytesEach, (index + 1) * this.bytesEach)
  }
}

/** A lane's share of one step: indices into the pool. */
export interface Share {
  step: number
  /** Place of the share's first image in the whole step, so that the draws do not depend on the number of lanes. */
  firstLabeled: number
  firstUnlabeled: number
  labeled: readonly number[]
  classes: readonly number[]
  unlabeled: readonly number[]
}

export interface BatchArrays {
  labeled: Float32Array
  targets: Float32Array
  weak: Float32Array
  strong: Float32Array
  beliefs: Float32Array
  visible: Float32Array
  keepIds: Int32Array
  hidden: Float32Array
  dropIds: Int32Array
}

/** Draws of one image are keyed by what they are for, so that switching one off leaves the others as they were. */
const draws = { labeled: 1, weak: 2, strong: 3, mask: 4, reconstructed: 5, mix: 6 } as const

export interface BatchMaker {
  preset: Preset
  recipe: Recipe
  seed: number
  classCount: number
  pool: ImagePool
  /** What was known of each image of the pool before: log-probabilities [count, C], flat; empty where nothing was. */
  beliefs: Float32Array
}

/** Arrays of a branch that is off are empty. `into`: arrays of a share of the same size and branches, to be written over. */
export function makeBatch(maker: BatchMaker, share: Share, branches: Branches, into?: BatchArrays): BatchArrays {
  const { preset, recipe, seed, classCount, pool, beliefs } = maker
  const [tokens, pixels] = [tokensOf(preset), patchPixelsOf(preset)]
  const image = tokens * pixels
  const kept = keptOf(preset, recipe.maskRatio)
  const labeledCount = share.labeled.length
  const arrays = into ?? arraysFor(maker, share, branches)
  const random = (purpose: keyof typeof draws, slot: number) => Random.of(seed, share.step, draws[purpose], slot)
  const slice = (array: Float32Array, index: number) => array.subarray(index * image, (index + 1) * image)

  const sizes = { tokens, pixels, kept }
  const ranged = (range: ViewRange): ViewRange => ({ ...range, flip: recipe.mirror })
  const [labeledRange, weakRange, strongRange] = [ranged(labeledView), ranged(weakView), ranged(strongView)]
  const passing = new Float32Array(image)
  share.labeled.forEach((id, index) => {
    const slot = share.firstLabeled + index
    if (branches.labeled) {
      writeView(pool.at(id), preset, labeledRange, random('labeled', slot), slice(arrays.labeled, index))
      writeTarget(arrays.targets.subarray(index * classCount, (index + 1) * classCount), share.classes[index] ?? 0, recipe.labelSmoothing)
    }
    if (branches.reconstruct) {
      writeView(pool.at(id), preset, weakRange, random('reconstructed', slot), passing)
      hide(arrays, index, passing, random('mask', slot), sizes)
    }
  })
  if (branches.labeled && recipe.mixup > 0) {
    mix(arrays, labeledCount, image, classCount, random('mix', share.firstLabeled), recipe.mixup)
  }
  share.unlabeled.forEach((id, index) => {
    const slot = share.firstUnlabeled + index
    const weak = branches.unlabeled ? slice(arrays.weak, index) : passing
    writeView(pool.at(id), preset, weakRange, random('weak', slot), weak)
    if (branches.unlabeled) writeView(pool.at(id), preset, strongRange, random('strong', slot), slice(arrays.strong, index))
    if (branches.unlabeled && beliefs.length > 0) {
      arrays.beliefs.set(beliefs.subarray(id * classCount, (id + 1) * classCount), index * classCount)
    }
    // Masks of unlabeled images draw from their own numbers, beyond those of the labeled ones.
    if (branches.reconstruct) hide(arrays, labeledCount + index, weak, random('mask', preset.labeled + slot), sizes)
  })
  return arrays
}

function arraysFor({ preset, recipe, classCount, beliefs }: BatchMaker, { labeled, unlabeled }: Share, branches: Branches): BatchArrays {
  const [tokens, pixels] = [tokensOf(preset), patchPixelsOf(preset)]
  const kept = keptOf(preset, recipe.maskRatio)
  const masked = branches.reconstruct ? labeled.length + unlabeled.length : 0
  const [classified, paired] = [branches.labeled ? labeled.length : 0, branches.unlabeled ? unlabeled.length : 0]
  return {
    labeled: new Float32Array(classified * tokens * pixels),
    targets: new Float32Array(classified * classCount),
    weak: new Float32Array(paired * tokens * pixels),
    strong: new Float32Array(paired * tokens * pixels),
    beliefs: new Float32Array(beliefs.length > 0 ? paired * classCount : 0),
    visible: new Float32Array(masked * kept * pixels),
    keepIds: new Int32Array(masked * kept),
    hidden: new Float32Array(masked * (tokens - kept) * pixels),
    dropIds: new Int32Array(masked * (tokens - kept)),
  }
}

function writeTarget(target: Float32Array, label: number, smoothing: number): void {
  target.fill(smoothing / target.length)
  target[label] = (target[label] ?? 0) + 1 - smoothing
}

/** Sends the patches of a view to the visible and the hidden side. */
function hide(
  arrays: BatchArrays, index: number, view: Float32Array, random: Random, sizes: { tokens: number; pixels: number; kept: number },
): void {
  const { tokens, pixels, kept } = sizes
  const dropped = tokens - kept
  random.permutation(tokens).forEach((token, place) => {
    const patch = view.subarray(token * pixels, (token + 1) * pixels)
    if (place < kept) {
      arrays.visible.set(patch, (index * kept + place) * pixels)
      arrays.keepIds[index * kept + place] = token
    } else {
      arrays.hidden.set(patch, (index * dropped + place - kept) * pixels)
      arrays.dropIds[index * dropped + place - kept] = token
    }
  })
}

/** Mixup (Zhang et al., 2018): each labeled view and its target with those of a partner. */
function mix(arrays: BatchArrays, count: number, image: number, classCount: number, random: Random, alpha: number): void {
  const [views, targets] = [arrays.labeled.slice(), arrays.targets.slice()]
  const partners = random.permutation(count)
  for (let index = 0; index < count; index++) {
    const share = beta(random, alpha)
    const partner = partners[index] ?? index
    blend(arrays.labeled, views, index * image, partner * image, image, share)
    blend(arrays.targets, targets, index * classCount, partner * classCount, classCount, share)
  }
}

function blend(to: Float32Array, from: Float32Array, own: number, other: number, length: number, share: number): void {
  for (let index = 0; index < length; index++) {
    to[own + index] = share * (from[own + index] ?? 0) + (1 - share) * (from[other + index] ?? 0)
  }
}

/** Beta(alpha, alpha) by Jöhnk's method, the larger side first: the image itself always weighs most. */
function beta(random: Random, alpha: number): number {
  for (;;) {
    const [a, b] = [random.float() ** (1 / alpha), random.float() ** (1 / alpha)]
    if (a + b > 0 && a + b <= 1) return Math.max(a, b) / (a + b)
  }
}
