/**
 * Which images a model owes itself to, those that taught it and those that it was chosen by: another box must not judge it by them. A model carries
 * their fingerprints in the metadata of its weights.
 */
import type { LoadedImages } from './load.js'
import { sha256Of } from './sha256.js'

/** Fingerprints that a model carries at most, 2 MiB; of its ancestors' those of the oldest are forgotten first. */
export const mostLearned = 262_144
/** Of a fingerprint. */
const digits = 16

/** First 8 bytes, in hexadecimal, of the SHA-256 of decoded pixels: a copy in another format without loss has the same, at one size. */
export function fingerprintOf(pixels: Uint8Array): string {
  return sha256Of([pixels]).slice(0, digits)
}

/** As a model carries them, base64: its own, in order of their value, then those of its parent that are not among them. Null: too many of its own. */
export function writeLearned(own: readonly string[], parent: readonly string[]): string | null {
  const first = [...new Set(own)].sort()
  if (first.length > mostLearned) return null
  const all = [...new Set([...first, ...parent])].slice(0, mostLearned)
  return Buffer.from(all.join(''), 'hex').toString('base64')
}

/** Those images that are not among `known`, and those that are. */
export function split<Item>(
  { items, pixels }: LoadedImages<Item>, known: ReadonlySet<string>,
): { unknown: Omit<LoadedImages<Item>, 'unreadable'>; known: Item[] } {
  const isKnown = pixels.map(image => known.size > 0 && known.has(fingerprintOf(image)))
  return {
    unknown: { items: items.filter((_, index) => !isKnown[index]), pixels: pixels.filter((_, index) => !isKnown[index]) },
    known: items.filter((_, index) => isKnown[index]),
  }
}

/** Null: the model does not tell, or tells nonsense. */
export function readLearned(text: string | undefined): string[] | null {
  const bytes = Buffer.from(text ?? '', 'base64')
  const width = digits / 2
  if (bytes.length === 0 || bytes.length % width !== 0 || bytes.length > mostLearned * width) return null
  return Array.from({ length: bytes.length / width }, (_, at) => bytes.toString('hex', at * width, (at + 1) * width))
}
