/** Random bytes, text and damage, all from one seed. */
import type { Random } from '../../trainer/index.js'

export function pick<T>(random: Random, items: readonly T[]): T {
  return items[random.below(items.length)] as T
}

export function bytesOf(random: Random, count: number): Buffer {
  return Buffer.from(Array.from({ length: count }, () => random.below(256)))
}

/** Bits flipped, a stretch removed, zeroed or said twice, or the end cut off. */
export function damaged(random: Random, bytes: Uint8Array): Buffer {
  const from = random.below(bytes.length)
  const to = Math.min(bytes.length, from + 1 + random.below(64))
  const [before, part, after] = [bytes.subarray(0, from), bytes.subarray(from, to), bytes.subarray(to)]
  switch (random.below(5)) {
    case 0: return Buffer.from(before)
    case 1: return Buffer.concat([before, after])
    case 2: return Buffer.concat([before, Buffer.alloc(part.length), after])
    case 3: return Buffer.concat([before, part, part, after])
    default: {
      const flipped = Buffer.from(bytes)
      for (let count = 1 + random.below(20); count > 0; count--) {
        const at = random.below(flipped.length)
        flipped[at] = (flipped[at] ?? 0) ^ (1 << random.below(8))
      }
      return flipped
    }
  }
}

/** What has been believed to be a name, a key or a path, and was none. */
export const words = [
  '', '.', '..', '../../../../outside/canary', '/outside/canary', '..\\..\\x', '__proto__', 'constructor', 'toString', 'a\0b', 'a\nmodel 77 is in service', '\u001b[2J',
  '💥', '\u202egnp.x', '%2e%2e%2f', '${jndi:ldap://127.0.0.1/x}', '<script>alert(1)</script>', '\'; DROP TABLE models; --', '-rf', 'x'.repeat(300), 'é'.repeat(200), '\ud800',
] as const

/** JSON of any shape. */
export function someJson(random: Random, depth = 3): unknown {
  switch (random.below(depth > 0 ? 9 : 6)) {
    case 0: return null
    case 1: return random.float() < 0.5
    case 2: return pick(random, [0, -1, 1e308, -1e-308, 2 ** 53, 0.1, 2 ** 31])
    case 3: case 4: case 5: return pick(random, words)
    case 6: return Array.from({ length: random.below(5) }, () => someJson(random, depth - 1))
    default: return Object.fromEntries(Array.from({ length: random.below(5) }, () =>
      [pick(random, [...words, 'transaction', 'version', 'reason']), someJson(random, depth - 1)]))
  }
}
