/** What a soak measures, how much each may grow, and whether it did. */
import { grouped } from '../learning/script.js'
import { median, theilSen, type Slope } from './slope.js'

export interface Reading {
  /** Since the start, seconds. */
  seconds: number
  values: Readonly<Record<Quantity, number>>
}

interface Bound {
  unit: string
  /** Growth that nobody minds, in an hour. */
  perHour: number
  /** Whether it means anything where the classifier lives for minutes only. */
  long?: true
}

export const quantities = {
  agentMb: { unit: 'MB resident, the agent', perHour: 20 },
  classifierMb: { unit: 'MB resident, the classifier', perHour: 20, long: true },
  descriptors: { unit: 'file descriptors of the agent', perHour: 6 },
  children: { unit: 'child processes', perHour: 1 },
  threads: { unit: 'threads of the agent', perHour: 2 },
  files: { unit: 'files and folders of the data folder', perHour: 30 },
  dataMb: { unit: 'MB of the data folder', perHour: 10 },
} as const satisfies Record<string, Bound>

export type Quantity = keyof typeof quantities

export interface Finding extends Slope {
  quantity: Quantity
  bound: number
  first: number
  last: number
  /** The fit is beyond the bound, and not by chance. */
  grows: boolean
  /** There are too few points to tell. */
  unknown: boolean
}

/** Readings of so long are one point: the median of what jumps about within. */
const pointSeconds = 60

/** `warmUpSeconds` at the start do not count: caches fill, code is compiled, folders reach their bounds. */
export function judge(readings: readonly Reading[], { warmUpSeconds, long }: { warmUpSeconds: number; long: boolean }): Finding[] {
  const warm = readings.filter(({ seconds }) => seconds >= warmUpSeconds)
  const minutes = [...grouped(warm, ({ seconds }) => Math.floor(seconds / pointSeconds))]
  const measured = (Object.keys(quantities) as Quantity[]).filter(quantity => long || !('long' in quantities[quantity]))
  return measured.map(quantity => {
    const points = minutes.map(([minute, own]) =>
      [(minute + 0.5) * pointSeconds / 3600, median(own.map(({ values }) => values[quantity]))] as const)
    const { slope, interval } = theilSen(points)
    const { perHour: bound } = quantities[quantity]
    const [first, last] = [points[0]?.[1] ?? NaN, points.at(-1)?.[1] ?? NaN]
    const unknown = !interval.every(Number.isFinite)
    return { quantity, slope, interval, bound, first, last, grows: slope > bound && interval[0] > 0, unknown }
  })
}

export function table(findings: readonly Finding[]): string[] {
  const shown = (value: number) => (Number.isFinite(value) ? value.toFixed(1) : '–')
  return [
    '| what | first minute | last minute | per hour | 95 % interval | may grow by | verdict |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...findings.map(({ quantity, first, last, slope, interval: [low, high], bound, grows, unknown }) => {
      const cells = [
        quantities[quantity].unit, shown(first), shown(last), shown(slope), `${shown(low)} to ${shown(high)}`, String(bound), unknown ? 'TOO SHORT' : grows ? 'GROWS' : 'flat',
      ]
      return `| ${cells.join(' | ')} |`
    }),
  ]
}
