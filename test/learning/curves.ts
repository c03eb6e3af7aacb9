/** Results as the curves of a plot: what tells them apart, and what each looks like. */
import { ink } from '../bench/chart.js'
import { grouped } from './script.js'

/** Shapes are those of vega. */
export type Look = readonly [colour: string, shape: string]

export interface Curve<Result> {
  /** Its kind, and what tells it from the others. */
  name: string
  colour: string
  shape: string
  /** Of its points: the colour, or the ground's where it is not the first of its kind. */
  fill: string
  /** Lengths of strokes and gaps, in pixels. */
  dash: number[]
  results: Result[]
}

interface Telling<Result> {
  looks: Readonly<Record<string, Look>>
  kindOf: (result: Result) => string
  parts: readonly ((result: Result) => string)[]
}

/** Of the first curve of a kind, the second, and so on. */
const dashes = [[1, 0], [6, 4], [2, 3], [8, 3, 2, 3]] as const

/** A curve for each of the kinds, in their order, and for each of the parts in which results differ; an empty part tells nothing. */
export function curvesOf<Result>(results: readonly Result[], { looks, kindOf, parts }: Telling<Result>): Curve<Result>[] {
  const differing = parts.filter(part => valuesOf(results, part).length > 1)
  return Object.entries(looks).flatMap(([kind, [colour, shape]]) => {
    const nameOf = (result: Result) => [kind, ...differing.map(part => part(result))].filter(part => part !== '').join(', ')
    const groups = grouped(results.filter(result => kindOf(result) === kind), nameOf)
    return [...groups].map(([name, own], index) => ({
      name, colour, shape, fill: index ? ink.ground : colour, dash: [...dashes[index % dashes.length] ?? []], results: own,
    }))
  })
}

/** A scale from the names of the curves to one of their properties. */
export function scaleOf<Key extends 'colour' | 'shape' | 'fill'>(curves: readonly Curve<unknown>[], key: Key) {
  return { domain: curves.map(({ name }) => name), range: curves.map(curve => curve[key]) }
}

/** The values that are not empty, in the order of the results. */
export function valuesOf<Result>(results: readonly Result[], of: (result: Result) => string): string[] {
  return [...new Set(results.map(of))].filter(value => value !== '')
}
