/** Numbers, times and cards as people read them. */
import type { ModelCard } from '../../trainer/contract.js'

export const percent = (share: number, digits = 1) => `${(100 * share).toFixed(digits)} %`

export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let [value, unit] = [count, 0]
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1]
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[unit] ?? ''}`
}

export function duration(seconds: number): string {
  if (seconds < 90) return `${seconds.toFixed(0)} s`
  if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min`
  if (seconds < 48 * 3600) return `${(seconds / 3600).toFixed(1)} h`
  return `${(seconds / 86_400).toFixed(0)} days`
}

export const time = (atMs: number) => new Date(atMs).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })
export const clock = (atMs: number) => new Date(atMs).toLocaleTimeString()
export const ago = (atMs: number) => `${duration(Math.max(0, (Date.now() - atMs) / 1000))} ago`
/** `1 frame`, `3 frames`. */
export const counted = (count: number, one: string, many = `${one}s`) => `${count.toLocaleString()} ${count === 1 ? one : many}`

/** What a round began with: what of the model in service, if there was one. Of a model from elsewhere the parent is not known here. */
export function startOf({ parent, start }: Pick<ModelCard, 'parent' | 'start'>): string {
  const model = parent ? `model ${String(parent.version)}` : 'a model of the box that made it'
  const scratch = parent ? `from scratch, after ${model}` : 'from scratch'
  // A card of before does not tell.
  if (start === undefined) return parent ? `after ${model}` : scratch
  return { scratch, words: `from the words of ${model}`, champion: `from ${model}` }[start]
}
