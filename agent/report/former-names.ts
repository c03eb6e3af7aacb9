/**
 * Names that this box had: what is left there goes, unless another box lives under it by now. A name counts as vacant when `availability` has said
 * `offline` there for a minute: boxes whose names were swapped start together, and neither is to clear what the other has just said.
 */
import type { Subscription } from './link.js'
import type { RetainedMemory } from './retained.js'
import { topics } from './topics.js'

const suffix = `/${topics.availability.topic}`

export interface FormerNamesOptions {
  memory: RetainedMemory
  vacantMs: number
  clear: (topic: string) => void
}

export class FormerNames {
  private readonly options: FormerNamesOptions
  private readonly vacant = new Map<string, NodeJS.Timeout>()

  constructor(options: FormerNamesOptions) {
    this.options = options
  }

  get subscriptions(): Subscription[] {
    return this.options.memory.formerPrefixes.map(prefix => ({ filter: `${prefix}${suffix}`, essential: false }))
  }

  heard(topic: string, availability: string): void {
    const { memory, vacantMs, clear } = this.options
    const prefix = topic.slice(0, -suffix.length)
    clearTimeout(this.vacant.get(prefix))
    if (availability === 'online') memory.leave(prefix)
    if (availability !== 'offline') return
    const timer = setTimeout(() => { for (const stale of memory.staleOf(prefix)) clear(stale) }, vacantMs)
    timer.unref()
    this.vacant.set(prefix, timer)
  }

  /** The connection is gone: with the next one all is heard anew. */
  stop(): void {
    for (const timer of this.vacant.values()) clearTimeout(timer)
    this.vacant.clear()
  }
}
