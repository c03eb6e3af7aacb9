/** The benchmark of learning divides its data honestly, and its table tells what the runs gave. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { classes } from '../fixtures/dataset.js'
import { recipeOf } from '../trainer/recipe.js'
import type { ContinualResult } from './learning/continual.js'
import { divided } from './learning/data.js'
import { rendered } from './learning/render.js'
import type { RunResult } from './learning/run.js'
import { isOfToday } from './learning/runs.js'
import { grouped, linesOf, mean, spread } from './learning/script.js'
import { beginnings, type WarmResult } from './learning/warm.js'

const images = Array.from({ length: 400 }, (_, index) => ({ path: `${String(index)}.png`, label: classes[index % classes.length] ?? '' }))

describe('a division of the data', () => {
  it('has so many labels of each class, a validation set in two halves, and no photograph twice', () => {
    fc.assert(fc.property(fc.nat(50), fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 40 }), (seed, perClass, half) => {
      const { labeled, gate, promotion, unlabeled } = divided(images, { seed, perClass, validation: 2 * half })
      for (const name of classes) expect(labeled.filter(({ label }) => label === name)).toHaveLength(perClass)
      expect([gate.length, promotion.length]).toEqual([half, half])
      const all = [...labeled, ...gate, ...promotion, ...unlabeled].map(({ path }) => path)
      expect([all.length, new Set(all).size]).toEqual([images.length, images.length])
    }), { numRuns: 50 })
  })

  it('is the same for a seed, and another for another', () => {
    const paths = (seed: number) => divided(images, { seed, perClass: 3, validation: 20 }).labeled.map(({ path }) => path)
    expect(paths(1)).toEqual(paths(1))
    expect(paths(1)).not.toEqual(paths(2))
  })
})

it('the table gives mean, spread and least of the seeds', () => {
  const run = (seed: number, accuracy: number): RunResult => ({
    method: 'pawl', perClass: 10, seed, minutes: 5, steps: null, validation: 600, frames: null, choose: false, switches: {}, recipe: recipeOf('pawl', {}), accuracy, framesAccuracy: 0.5, validationAccuracy: 0.7,
    seconds: 1, stepsTaken: 1, ece: 0, looks: [], pseudoLabels: [],
  })
  const [, row = ''] = rendered([run(1, 0.7), run(2, 0.72), run(3, 0.74)])
  expect(row.split(/\s+/)).toEqual(['pawl', '100', '-', '5', '-', 'test', '3', '72.00', '2.00', '70.00', '70.0'])
})

describe('the published lines', () => {
  it.each(['results', 'ablation'])('of %s.jsonl are each of the recipe that its method has today, and none is there twice', async name => {
    const lines = await linesOf<RunResult>(join(import.meta.dirname, 'learning', `${name}.jsonl`))
    expect(lines.length).toBeGreaterThan(0)
    expect(lines.filter(line => !isOfToday(line)).map(({ method, perClass, seed, switches }) => ({ method, perClass, seed, switches }))).toEqual([])
    const keys = lines.map(({ method, perClass, seed, steps, switches }) => JSON.stringify([method, perClass, seed, steps, switches]))
    expect(new Set(keys).size).toBe(keys.length)
  })

  it('are what the README tells, mean, spread and least', async () => {
    const page = await readFile(join(import.meta.dirname, '..', 'trainer', 'README.md'), 'utf8')
    const told = page.split('\n').filter(line => line.startsWith('| '))
    for (const name of ['results', 'ablation']) {
      const lines = await linesOf<RunResult>(join(import.meta.dirname, 'learning', `${name}.jsonl`))
      for (const runs of grouped(lines, ({ method, switches, perClass, steps }) => JSON.stringify([method, switches, perClass, steps])).values()) {
        const accuracies = runs.map(({ accuracy, framesAccuracy }) => 100 * (accuracy ?? framesAccuracy ?? NaN))
        const [middle, least] = [mean(accuracies), Math.min(...accuracies)].map(value => value.toFixed(1))
        const wanted = runs.length > 1 ? `| ${String(middle)} ± ${spread(accuracies).toFixed(1)} | ${String(least)} |` : `| ${String(middle)} |`
        expect(told.filter(line => line.includes(wanted)), `${name}: ${wanted}`).not.toEqual([])
      }
    }
  })

  it('of the changing site are the rows of the README', async () => {
    const page = await readFile(join(import.meta.dirname, '..', 'trainer', 'README.md'), 'utf8')
    const lines = await linesOf<ContinualResult>(join(import.meta.dirname, 'learning', 'continual.jsonl'))
    for (const runs of grouped(lines, ({ upkeep }) => upkeep).values()) {
      const ofRound = (round: number) => (100 * mean(runs.map(({ rounds }) => rounds[round]?.accuracy ?? NaN))).toFixed(1)
      expect(page).toContain(`| ${Array.from({ length: 12 }, (_, round) => ofRound(round)).join(' | ')} |`)
    }
  })

  it('of warm starts are the rows of the README', async () => {
    const page = await readFile(join(import.meta.dirname, '..', 'trainer', 'README.md'), 'utf8')
    const lines = await linesOf<WarmResult>(join(import.meta.dirname, 'learning', 'warm.jsonl'))
    const per = (share: number) => (100 * share).toFixed(1)
    for (const beginning of beginnings) {
      const rounds = lines.flatMap(line => line.rounds.filter(round => round.beginning === beginning))
      const gains = lines.map(line => rounds[lines.indexOf(line)]!.accuracy - line.rounds[0]!.accuracy)
      const accuracies = rounds.map(({ accuracy }) => accuracy)
      const [champion, against] = beginning === 'scratch' ? ['', ''] : [`${per(mean(rounds.map(round => round.champion ?? NaN)))} `, `${gains.map(per).join(', ')} `]
      expect(page).toContain(`| ${champion}| ${per(mean(accuracies))} ± ${per(spread(accuracies))} | ${against}|`)
    }
  })

  it('do not count once the recipe has changed', () => {
    const line = { method: 'pawl', switches: { mixup: 0 }, recipe: recipeOf('pawl', { mixup: 0 }) } as unknown as RunResult
    expect([line, { ...line, recipe: recipeOf('pawl', {}) }, { ...line, method: 'cnn', recipe: null } as const].map(isOfToday)).toEqual([true, false, true])
  })
})
