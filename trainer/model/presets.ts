/** The shapes that the model comes in. */
import type { PresetName } from '../contract.js'

export interface Preset {
  /** Pixels a side of the square input. */
  size: number
  /** Pixels a side of a patch: a multiple of 4 that divides `size`. */
  patch: number
  width: number
  depth: number
  heads: number
  decoderWidth: number
  decoderDepth: number
  decoderHeads: number
  /** Images of each kind in a training step. */
  labeled: number
  unlabeled: number
}

export const presets: Readonly<Record<PresetName, Preset>> = {
  nano: { size: 28, patch: 4, width: 128, depth: 6, heads: 4, decoderWidth: 64, decoderDepth: 2, decoderHeads: 4, labeled: 32, unlabeled: 64 },
  micro: { size: 96, patch: 8, width: 192, depth: 6, heads: 3, decoderWidth: 96, decoderDepth: 2, decoderHeads: 4, labeled: 16, unlabeled: 32 },
  tiny: { size: 224, patch: 16, width: 192, depth: 12, heads: 3, decoderWidth: 96, decoderDepth: 2, decoderHeads: 4, labeled: 8, unlabeled: 16 },
}

/** Colour channels of every input. */
export const channels = 3

/** Patches in an image. */
export function tokensOf(preset: Preset): number {
  return (preset.size / preset.patch) ** 2
}

/** Numbers in a patch, in the order row, column, channel. */
export function patchPixelsOf(preset: Preset): number {
  return preset.patch ** 2 * channels
}

/** Patches that stay visible under the mask. */
export function keptOf(preset: Preset, maskRatio: number): number {
  return Math.max(1, Math.floor(tokensOf(preset) * (1 - maskRatio)))
}

/**
 * Floating-point operations of the matrix products of one full training step (a multiply-add is 2): for n tokens of
 * width d, a block is 24 n d² + 4 n² d; a training pass is three forwards, less the input gradient of the embedding. The readout
 * by places, below one per cent, is left out.
 */
export function flopsOfStep(preset: Preset, classes: number, { maskRatio, stem }: { maskRatio: number; stem: boolean }): number {
  const [n, pixels, kept] = [tokensOf(preset), patchPixelsOf(preset), keptOf(preset, maskRatio)]
  const { width, depth, decoderWidth, decoderDepth, labeled, unlabeled } = preset
  const block = (tokens: number, size: number) => 24 * tokens * size ** 2 + 4 * tokens ** 2 * size
  // The words of a patch: 16 windows of 25 pixels, 64 words.
  const words = stem ? n * 2 * 16 * 25 * 64 : 0
  const embed = 2 * n * (pixels + (stem ? 64 : 0)) * width
  const classify = embed + depth * block(n, width) + 2 * width * classes
  const reconstruct = 2 * kept * pixels * width + depth * block(kept, width) + 2 * kept * width * decoderWidth
    + decoderDepth * block(n, decoderWidth) + 2 * (n - kept) * decoderWidth * pixels
  const trained = 3 * classify - embed + 3 * reconstruct - 2 * kept * pixels * width
  return (labeled + unlabeled) * (trained + words) + unlabeled * (classify + words)
}

/**
 * Lanes that a step can be divided among evenly, at most `wanted`: losses are means over lanes, so each must have the same share. A
 * step has twice as many unlabeled images as labeled ones.
 */
export function evenLanes({ labeled }: Preset, wanted: number): number {
  let lanes = Math.max(1, Math.min(wanted, labeled))
  while (labeled % lanes !== 0) lanes--
  return lanes
}
