/** Reads the images of a round; what cannot be read is set aside by name and the round goes on. */
import { availableParallelism } from 'node:os'
import { readFile } from 'node:fs/promises'
import { decodeImage } from './image.js'
import type { Turns } from '../turns.js'

export interface Unreadable {
  path: string
  reason: string
}

export interface LoadedImages<T> {
  items: T[]
  /** One uint8 [size, size, 3] for each item. */
  pixels: Uint8Array[]
  unreadable: Unreadable[]
}

export async function loadImages<T>(
  items: readonly T[], pathOf: (item: T) => string, size: number, turns: Turns,
): Promise<LoadedImages<T>> {
  const decoded = new Array<Uint8Array | null>(items.length).fill(null)
  const unreadable: Unreadable[] = []
  let next = 0
  const reader = async () => {
    for (let index = next++; index < items.length; index = next++) {
      await turns.next()
      const path = pathOf(items[index] as T)
      try {
        decoded[index] = await decodeImage(await readFile(path), size)
      } catch (cause) {
        // Gone meanwhile: a frame that was evicted, a label that a person moved.
        if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') continue
        unreadable.push({ path, reason: cause instanceof Error ? cause.message.split('\n')[0] ?? '' : String(cause) })
      }
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() * 2 }, reader))
  const loaded: LoadedImages<T> = { items: [], pixels: [], unreadable }
  items.forEach((item, index) => {
    const pixels = decoded[index]
    if (!pixels) return
    loaded.items.push(item)
    loaded.pixels.push(pixels)
  })
  return loaded
}
