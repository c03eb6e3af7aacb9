/** Seeded randomness: the only source of chance in a round. */
export class Random {
  private state: number
  private spare: number | null = null

  constructor(seed: number) {
    this.state = seed >>> 0
  }

  /** An independent generator for each place that draws: the same keys give the same draws, in whatever order. */
  static of(...keys: readonly number[]): Random {
    let hash = 0x9e3779b9
    for (const key of keys) hash = scramble((hash ^ scramble(key >>> 0)) + 0x9e3779b9)
    return new Random(hash)
  }

  /** Uniform in [0, 1), 32 bits (Mulberry32). */
  float(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let mixed = this.state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** Uniform in [-reach, reach). */
  around(reach: number): number {
    return (this.float() * 2 - 1) * reach
  }

  /** Uniform among 0 … count − 1. */
  below(count: number): number {
    return Math.floor(this.float() * count)
  }

  /** Standard normal (Box-Muller). */
  normal(): number {
    if (this.spare !== null) {
      const value = this.spare
      this.spare = null
      return value
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.float()))
    const angle = 2 * Math.PI * this.float()
    this.spare = radius * Math.sin(angle)
    return radius * Math.cos(angle)
  }

  /** 0 … count − 1 in a uniformly random order (Fisher-Yates). */
  permutation(count: number): Int32Array {
    const order = Int32Array.from({ length: count }, (_, index) => index)
    for (let last = count - 1; last > 0; last--) {
      const other = this.below(last + 1)
      const moved = order[last] ?? 0
      order[last] = order[other] ?? 0
      order[other] = moved
    }
    return order
  }
}

/** The finaliser of MurmurHash3. */
function scramble(value: number): number {
  let mixed = value >>> 0
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
