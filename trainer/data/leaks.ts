/**
 * Keeps what judges apart from what teaches, by decoded pixels: a copy under another name, or in another format without loss, is a copy all the same.
 * A second photograph of the same thing is none: scenes are for that.
 */
import type { LabeledImage } from '../contract.js'
import { fingerprintOf } from './learned.js'
import type { LoadedImages } from './load.js'

/** Paths of the images that judge, by their fingerprints. */
export type Judges = ReadonlyMap<string, string>

export function judgesOf(...splits: readonly LoadedImages<LabeledImage>[]): Judges {
  return new Map(splits.flatMap(({ items, pixels }) => pixels.map((image, index) => [fingerprintOf(image), items[index]?.path ?? ''] as const)))
}

/**
 * The images that are none of those that judge, and the others, each with the one that it is: people label frames of the store, which keeps its copy;
 * and of two pictures that are the same, as of a camera that sees nothing, one may have been kept back by chance.
 */
export function withoutJudges<Item>(
  { items, pixels, unreadable }: LoadedImages<Item>, judges: Judges,
): { apart: LoadedImages<Item>; copies: { item: Item; judge: string }[] } {
  const judgeOf = pixels.map(image => judges.get(fingerprintOf(image)))
  const isApart = (_: unknown, index: number) => judgeOf[index] === undefined
  return {
    apart: { items: items.filter(isApart), pixels: pixels.filter(isApart), unreadable },
    copies: items.flatMap((item, index) => (judgeOf[index] === undefined ? [] : [{ item, judge: judgeOf[index] }])),
  }
}
