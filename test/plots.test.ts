/** What a reader gets from the plots of the benchmarks, read off the SVG. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { describe, expect, it, onTestFinished } from 'vitest'
import { chart, colours } from './bench/chart.js'
import { linearSpec } from './bench/linear-plot.js'
import { accuracySpec } from './learning/accuracy-plot.js'
import { continualSpec } from './learning/continual-plot.js'
import type { ContinualResult, ContinualRound } from './learning/continual.js'
import { pseudoLabelSpec } from './learning/pseudo-label-plot.js'
import type { RunResult } from './learning/run.js'

function run(more: Partial<RunResult>): RunResult {
  return {
    method: 'pawl', perClass: 10, seed: 1, minutes: 15, steps: null, validation: 600, frames: null, choose: false, switches: {}, recipe: null, accuracy: 0.8, framesAccuracy: 0.8,
    validationAccuracy: 0.8, seconds: 900, stepsTaken: 400, ece: 0.02, looks: [], pseudoLabels: [], ...more,
  }
}

/** Looks a hundred steps apart, and the labels that counted after each of them: all of `used` but every tenth are right. */
function gate(states: readonly boolean[], accuracy = 0.8): Pick<RunResult, 'looks' | 'pseudoLabels'> {
  return {
    looks: states.map((open, index) => ({
      step: 100 * (index + 1), open, threshold: open ? 0.9 : null, accepted: 100, correct: 90, precisionLowerBound: 0.85, vetoed: [], accuracy,
    })),
    pseudoLabels: states.map((open, index) => ({ step: 100 * (index + 1), used: open ? 1000 : 0, right: open ? 900 : 0 })),
  }
}

function round(number: number, domain: string, more: Partial<ContinualRound> = {}): ContinualRound {
  return {
    round: number, domain, labels: 90, accuracy: 0.8, first: 0.8, before: null, trained: true, promoted: true, reason: 'always', worseP: 1, pseudoLabels: [], ...more,
  }
}

function continual(more: Partial<ContinualResult>): ContinualResult {
  return { upkeep: 'pawl', seed: 1, steps: 100, frames: 1500, maxFrames: 3000, tests: 600, choose: false, rounds: [], ...more }
}

interface Mark {
  /** What is said of it, such as `labels: 100; accuracy, %: 80; curve: pawl`. */
  label: string
  text: string
  x: number
  y: number
}

/** The marks of a layer, in all panels. */
function marksOf(svg: string, layer: string): Mark[] {
  return svg.split('<g class="mark-').filter(part => part.includes(` ${layer}_marks`)).flatMap(part =>
    [...part.matchAll(/<(?:path|text) aria-label="([^"]*)"[^>]* transform="translate\(([\d.-]+),([\d.-]+)\)"[^>]*>([^<]*)/g)]
      .map(([, label = '', x, y, text = '']) => ({ label, text, x: Number(x), y: Number(y) })))
}

/** The vertices of each curve, with what is said of its first one. */
function curvesOf(svg: string): { label: string; vertices: (readonly number[])[] }[] {
  return [...svg.matchAll(/<path aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="line mark" d="([^"]*)"/g)]
    .map(([, label = '', path = '']) => ({ label, vertices: [...path.matchAll(/[ML]([\d.-]+),([\d.-]+)/g)].map(([, x, y]) => [Number(x), Number(y)]) }))
}

/** All that is written in it. */
function textsOf(svg: string): string[] {
  return [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>|<tspan[^>]*>([^<]*)<\/tspan>/g)].map(([, text, line]) => text ?? line ?? '')
}

describe('accuracy by the number of labels', () => {
  const runs = [
    ...[0.7, 0.8].map((accuracy, index) => run({ accuracy, seed: index + 1 })),
    ...[0.82, 0.88].map((accuracy, index) => run({ accuracy, seed: index + 1, perClass: 100 })),
    ...[0.65, 0.65].map((accuracy, index) => run({ method: 'logistic', minutes: null, framesAccuracy: null, accuracy, seed: index + 1 })),
    ...[0.8, 0.8].map((accuracy, index) => run({ method: 'logistic', minutes: null, framesAccuracy: null, accuracy, seed: index + 1, perClass: 100 })),
  ]

  it('has a curve a method, which goes through the means of the seeds', async () => {
    const svg = await chart(accuracySpec(runs))
    const means = marksOf(svg, 'means')
    expect(means.map(({ label }) => label.replace(', % of the test images', ''))).toEqual([
      'labels: 100; accuracy: 75; curve: pawl', 'labels: 1,000; accuracy: 85; curve: pawl',
      'labels: 100; accuracy: 65; curve: logistic', 'labels: 1,000; accuracy: 80; curve: logistic',
    ])
    const near = ({ x, y }: Mark): unknown[] => [expect.closeTo(x, 2), expect.closeTo(y, 2)]
    expect(curvesOf(svg).map(({ vertices }) => vertices)).toEqual([means.slice(0, 2).map(near), means.slice(2).map(near)])
    const [atMiddle, atTop, atFoot, above] = means.map(({ y }) => y) as [number, number, number, number]
    expect(atFoot - atMiddle).toBeCloseTo(atMiddle - atTop, 6)
    expect(above - atTop).toBeCloseTo((atMiddle - atTop) / 2, 6)
  })

  it('tells lengths of rounds and kinds of images apart where the results differ in them', async () => {
    const names = async (results: readonly RunResult[]) => textsOf(await chart(accuracySpec(results))).filter(text => /^(pawl|cnn)/.test(text))
    expect(await names([run({}), run({ method: 'cnn', minutes: null })])).toEqual(['pawl', 'cnn'])
    expect(await names([run({}), run({ minutes: 30, accuracy: 0.9 })])).toEqual(['pawl, 30 min', 'pawl, 15 min'])
    const chosen = { accuracy: null, choose: true }
    expect(await names([run(chosen), run({ ...chosen, method: 'cnn', minutes: null, framesAccuracy: null, validationAccuracy: 0.7 })]))
      .toEqual(['pawl, frames', 'cnn, validation images'])
  })

  it('stands on a white ground', async () => {
    const { data } = await sharp(Buffer.from(await chart(accuracySpec(runs)))).raw().toBuffer({ resolveWithObject: true })
    expect([...data.subarray(0, 4)]).toEqual([255, 255, 255, 255])
  })
})

describe('pseudo-labels over the steps', () => {
  const draw = async (results: readonly RunResult[]) => chart(pseudoLabelSpec(results) ?? expect.fail('nothing to draw'))

  it('mark each opening of the gate', async () => {
    const svg = await draw([run(gate([false, true, true, false, true])), run({ method: 'paper', ...gate([true, true]) }), run({ method: 'ungated', ...gate([false, false]) })])
    expect(marksOf(svg, 'openings').map(({ label }) => /step: (\d+)/.exec(label)?.[1])).toEqual(['200', '500', '100'])
  })

  it('have no precision while no label counts', async () => {
    const svg = await draw([run(gate([true, true, false, true]))])
    const precision = curvesOf(svg).find(({ label }) => label.includes('precision of the pseudo-labels'))
    expect(precision?.vertices).toHaveLength(3)
    expect(precision?.label).toContain('step: 150; accuracy and precision, %: 90')
  })

  it('show what is promised where a gate promises something', async () => {
    const promise = 'precision promised where the gate opens'
    expect(textsOf(await draw([run(gate([true]))]))).toContain(promise)
    expect(textsOf(await draw([run({ method: 'paper', ...gate([true]) })]))).not.toContain(promise)
  })

  it('are those of the fewest labels, a panel a method', async () => {
    const texts = textsOf(await draw([run(gate([true])), run({ perClass: 60, ...gate([true]) }), run({ method: 'ungated', ...gate([true]) }), run({ method: 'supervised', ...gate([false]) })]))
    expect(texts).toContain('What pseudo-labels are worth, with 100 labels')
    expect(texts.filter(text => ['pawl', 'ungated', 'paper', 'supervised'].includes(text)).sort()).toEqual(['pawl', 'ungated'])
  })

  it('are not drawn where no gate was looked at', () => {
    expect(pseudoLabelSpec([run({}), run({ method: 'logistic' })])).toBeNull()
  })
})

describe('a site that changes', () => {
  it('shows accuracy by round under the names of the times', async () => {
    const rounds = (...accuracies: number[]) => accuracies.map((accuracy, index) => round(index + 1, index < 2 ? 'day' : 'turned, noise', { accuracy }))
    const svg = await chart(continualSpec([
      continual({ rounds: rounds(0.8, 0.7, 0.6) }), continual({ seed: 2, rounds: rounds(0.8, 0.9, 0.7) }), continual({ upkeep: 'none', rounds: rounds(0.8, 0.6, 0.2) }),
    ]))
    expect(marksOf(svg, 'means').map(({ label }) => /: (\d+);.*: (\d+); curve: (\w+)/.exec(label)?.slice(1).join(' '))).toEqual([
      '1 80 pawl', '2 80 pawl', '3 65 pawl', '1 80 none', '2 60 none', '3 20 none',
    ])
    expect(textsOf(svg).filter(text => ['day', 'turned', 'noise', 'turned, noise'].includes(text))).toEqual(['day', 'turned', 'noise'])
    expect(marksOf(svg, 'refusals')).toEqual([])
  })

  it('tells at which rounds challengers were refused, and how many', async () => {
    const refused = { promoted: false, reason: 'inconclusive' }
    const svg = await chart(continualSpec([
      continual({ rounds: [round(1, 'day'), round(2, 'day', refused), round(3, 'day', refused)] }),
      continual({ seed: 2, rounds: [round(1, 'day'), round(2, 'day', refused), round(3, 'day')] }),
      continual({ upkeep: 'none', rounds: [1, 2, 3].map(number => round(number, 'day', { trained: false, promoted: false })) }),
    ]))
    expect(marksOf(svg, 'refusals').map(({ label, text }) => [label.slice(0, 8), text])).toEqual([['round: 2', '×2'], ['round: 3', '×1']])
  })
})

describe('measured points and their line', () => {
  it('stand with the equation of the line', async () => {
    const panel = { x: 'images', digits: 1, colour: colours.blue }
    const svg = await chart(linearSpec([
      { ...panel, title: 'Time', y: 'ms', points: [[1, 5], [2, 7], [4, 11]] },
      { ...panel, title: 'Rest', y: 'MB', points: [[1, 1], [2, 0], [3, 2]] },
    ], 'at nano'))
    expect(textsOf(svg)).toEqual(expect.arrayContaining(['Time', '3.0 + 2.00 x, R² 1.0000', 'Rest', '0.0 + 0.500 x, R² 0.2500', 'images', 'MB', 'at nano']))
    expect([0, 1].map(index => marksOf(svg, `measured_${String(index)}`).map(({ label }) => label))).toEqual([
      ['images: 1; ms: 5', 'images: 2; ms: 7', 'images: 4; ms: 11'], ['images: 1; MB: 1', 'images: 2; MB: 0', 'images: 3; MB: 2'],
    ])
  })
})

describe('bench:learning --plot', () => {
  it('says which file has no results and what to do', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pawl-plots-'))
    const file = join(folder, 'empty.jsonl')
    await writeFile(file, '')
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    const child = spawn(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'bench-learning.ts'), '--render', '--plot', folder, '--results', file])
    let told = ''
    child.stderr.on('data', (chunk: Buffer) => { told += chunk.toString() })
    expect(await once(child, 'close')).toEqual([2, null])
    expect(told).toBe(`--plot: no results in ${file}; name a file that has some with --results, or leave out --render to make them\n`)
  })
})
