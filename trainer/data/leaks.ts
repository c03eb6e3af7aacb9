/**
 * Keeps what judges apart from what teaches, by decoded pixels: a copy under another name, or in another format without loss, is a copy all the same.
 * A second photograph of the same thing is none: scenes are for that.
 */
import { createHash } from 'node:crypto'
import { RoundError, type LabeledImage } from '../contract.js'
import type { LoadedImages } from './load.js'

/** Paths of the images that judge, by a hash of their pixels. */
export type Judges = ReadonlyMap<string, string>

export function judgesOf(...splits: readonly LoadedImages<LabeledImage>[]): Judges {
  return new Map(splits.flatMap(({ items, pixels }) => items.map(({ path }, index) => [hashOf(pixels[index]), path] as const)))
}

/** Errors: RoundError `labels` for a labeled image that is one of those that judge, naming both. */
export function refuseLeaked({ items, pixels }: LoadedImages<LabeledImage>, judges: Judges): void {
  const leaked = items.flatMap(({ path }, index) => {
    const judge = judges.get(hashOf(pixels[index]))
    return judge === undefined ? [] : [{ path, judge }]
  })
  const [first] = leaked
  if (!first) return
  const more = leaked.length > 1 ? ` (and ${String(leaked.length - 1)} more such ${leaked.length > 2 ? 'pairs' : 'pair'})` : ''
  throw new RoundError('labels', `${first.path} is to be learned from and ${first.judge} is to judge, but they are the same picture${more}: `
    + 'what was learned from proves nothing; remove one of the two')
}

/** The frames that are none of the images that judge: people label frames of the store, which keeps its copy. */
export function withoutJudges({ items, pixels, unreadable }: LoadedImages<string>, judges: Judges): LoadedImages<string> {
  const kept = pixels.map(image => !judges.has(hashOf(image)))
  return { items: items.filter((_, index) => kept[index]), pixels: pixels.filter((_, index) => kept[index]), unreadable }
}

function hashOf(pixels: Uint8Array | undefined): string {
  return createHash('sha256').update(pixels ?? '').digest('base64')
}
