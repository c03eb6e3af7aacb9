/** The benchmark of learning divides its data honestly, and its table tells what the runs gave. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { classes } from '../fixtures/dataset.js'
import { recipeOf } from '../trainer/recipe.js'
import { leftOut } from './learning/ablations.js'
import type { ContinualResult } from './learning/continual.js'
import { counted, rightOf, storyOf, worseRounds } from './learning/continual-tables.js'
import { divided } from './learning/data.js'
import { gainsOf, rendered } from './learning/render.js'
import { checkedPseudoLabels, type LearningEvent, type RunResult } from './learning/run.js'
import { isOfToday } from './learning/runs.js'
import { grouped, linesOf, mean, spread } from './learning/script.js'
import type { WarmResult } from './learning/warm.js'

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

it('pseudo-labels are counted from look to look, and not at all in a run that is gone on with, whose first ones nobody counted', () => {
  const look = (step: number) => ({ type: 'gate', look: { step } }) as LearningEvent
  const labels: LearningEvent = { type: 'pseudo-labels', step: 1, labels: [['0.png', images[0]?.label ?? ''], ['1.png', 'none']] }
  const whole = checkedPseudoLabels(images)
  for (const event of [look(0), labels, look(20), labels, labels]) whole.take(event)
  expect(whole.pseudoLabels).toEqual([{ step: 0, used: 2, right: 1 }, { step: 20, used: 4, right: 2 }])
  const resumed = checkedPseudoLabels(images)
  for (const event of [{ type: 'resumed', step: 10 } as const, look(20), labels]) resumed.take(event)
  expect(resumed.pseudoLabels).toEqual([])
})

it('the table gives mean, spread and least of the seeds', () => {
  const run = (seed: number, accuracy: number): RunResult => ({
    method: 'pawl', perClass: 10, seed, minutes: 5, steps: null, validation: 600, frames: null, choose: false, switches: {}, recipe: recipeOf('pawl', {}), accuracy, framesAccuracy: 0.5, validationAccuracy: 0.7,
    seconds: 1, stepsTaken: 1, ece: 0, looks: [], pseudoLabels: [],
  })
  const [, row = ''] = rendered([run(1, 0.7), run(2, 0.72), run(3, 0.74)])
  expect(row.split(/\s+/)).toEqual(['pawl', '100', '-', '5', '-', 'test', '3', '72.00', '2.00', '70.00', '70.0'])
})

it('a benchmark tells its options where it is asked for them, and where it is given one that it has not', async () => {
  const bench = (option: string) => promisify(execFile)(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'bench-warm.ts'), option])
  expect((await bench('--help')).stdout).toMatch(/^What a warm start is worth[^]*npm run bench:warm -- \[--seeds 1,2,3\]/)
  await expect(bench('--sedes')).rejects.toMatchObject({ code: 2, stderr: expect.stringMatching(/^Unknown option '--sedes'[^]*npm run bench:warm/) as string })
})

describe('the published lines', () => {
  it.each(['results', 'ablation'])('of %s.jsonl are each of the recipe that its method has today, and none is there twice', async name => {
    const lines = await linesOf<RunResult>(join(import.meta.dirname, 'learning', `${name}.jsonl`))
    expect(lines.length).toBeGreaterThan(0)
    expect(lines.filter(line => !isOfToday(line)).map(({ method, perClass, seed, switches }) => ({ method, perClass, seed, switches }))).toEqual([])
    const keys = lines.map(({ method, perClass, seed, steps, switches }) => JSON.stringify([method, perClass, seed, steps, switches]))
    expect(new Set(keys).size).toBe(keys.length)
  })

  /** As the rows of the README begin, by method, or by the switch that is off where there is another name for it. */
  const rowNames: Record<string, string> = {
    pawl: '`pawl`', paper: '`paper`', supervised: '`supervised`', 'mae-finetune': '`mae-finetune`', ungated: '`ungated`', cnn: 'small CNN', logistic: 'logistic regression',
    'all but a plain ViT': 'a plain vision transformer', 'raw pixels as target': 'pixels as they are', 'the teacher': 'the averaged teacher', 'the proof of precision': 'its proof of precision',
    'the rule that both views agree': 'rule', 'shortcut + the gate': 'shortcut, neighbours and the gate', 'shortcut + the pseudo-labels': 'shortcut, neighbours and the pseudo-labels',
  }
  const points = (shares: readonly number[]) => shares.map(share => share.toFixed(1))
  const rowsOf = (page: string) => page.replaceAll('**', '').split('\n').filter(line => line.startsWith('| '))

  it('are what the README tells of that method, labels, steps and switch: mean, spread and least, and the pseudo-labels that counted', async () => {
    const told = rowsOf(await readFile(join(import.meta.dirname, '..', 'trainer', 'README.md'), 'utf8'))
    for (const name of ['results', 'ablation']) {
      const lines = await linesOf<RunResult>(join(import.meta.dirname, 'learning', `${name}.jsonl`))
      for (const runs of grouped(lines, ({ method, switches, perClass, steps }) => JSON.stringify([method, switches, perClass, steps])).values()) {
        const [{ method, switches, perClass, steps }] = runs as [RunResult]
        const missing = leftOut(switches)
        const called = [name === 'results' ? method : missing ?? 'nothing', ...(missing === null ? [] : [missing])].map(one => rowNames[one] ?? one)
        const length = name === 'results' ? `| ${(10 * perClass).toLocaleString('en')} | ${steps?.toLocaleString('en') ?? ''}${steps === null ? '' : ' '}` : ' '
        const accuracies = runs.map(({ accuracy, framesAccuracy }) => 100 * (accuracy ?? framesAccuracy ?? NaN))
        const [middle, around, least] = points([mean(accuracies), spread(accuracies), Math.min(...accuracies)])
        const wanted = `${length}| ${runs.length > 1 ? `${String(middle)} ± ${String(around)} | ${String(least)} |` : `${String(middle)} |`}`
        const found = told.filter(line => line.includes(wanted) && ((method === 'pawl' && line.startsWith('| the same')) || called.every(part => line.includes(part))))
        expect(found, `${name}, ${called.join(', ')}: ${wanted}`).not.toEqual([])
        const right = rightOf(runs.flatMap(({ pseudoLabels }) => pseudoLabels))
        if (name === 'ablation' || method === 'paper' || right === null) continue
        const used = Math.round(mean(runs.filter(({ pseudoLabels }) => pseudoLabels.length).map(({ pseudoLabels }) => counted(pseudoLabels).used)))
        const [all, worst] = points([100 * right.right, 100 * right.least]) as [string, string]
        expect(found[0], called.join(', ')).toMatch(new RegExp(`\\| ${used.toLocaleString('en')}${runs.length > 1 ? ' a run' : ''} \\| ${all}; [^|]*below ${worst} \\|$`))
      }
    }
  })

  it('give the gains that the README tells', async () => {
    const told = rowsOf(await readFile(join(import.meta.dirname, '..', 'trainer', 'README.md'), 'utf8'))
    const gains = gainsOf(await linesOf<RunResult>(join(import.meta.dirname, 'learning', 'results.jsonl'))).filter(gain => gain.points.length > 1)
    expect(gains.map(({ over }) => over.split(' ')[0])).toEqual(expect.arrayContaining(['plain', 'supervised', 'paper']))
    for (const { labels, over, points: gained } of gains) {
      const [middle, least, most] = points([mean(gained), Math.min(...gained), Math.max(...gained)]) as [string, string, string]
      const parts = over.startsWith('paper') ? [`${middle} `, `${least} `] : [`${middle}${over.includes('plain ViT') ? ' over a plain' : ''}`, `(${least} to ${most}`]
      const [subject] = over.startsWith('plain') ? [`${labels.toLocaleString('en')} labels`] : [`over \`${over.split(' ')[0] ?? ''}\``]
      expect(told.filter(line => [subject, ...parts].every(part => line.includes(part))), `${over}, ${String(labels)}: ${parts.join(' ')}`).toHaveLength(1)
    }
  })

  it('of the changing site are the rows of the README', async () => {
    const page = await readFile(join(import.meta.dirname, '..', 'trainer', 'README.md'), 'utf8')
    const lines = await linesOf<ContinualResult>(join(import.meta.dirname, 'learning', 'continual.jsonl'))
    for (const runs of grouped(lines, ({ upkeep }) => upkeep).values()) {
      const ofRound = (round: number) => (100 * mean(runs.map(({ rounds }) => rounds[round]?.accuracy ?? NaN))).toFixed(1)
      expect(page).toContain(`| ${Array.from({ length: 12 }, (_, round) => ofRound(round)).join(' | ')} | ${overAll(runs)} |`)
    }
    const pawl = lines.filter(({ upkeep }) => upkeep === 'pawl')
    expect(page).toContain(`| ${pawl[0]?.rounds.map(({ accuracy }) => (100 * accuracy).toFixed(1)).join(' | ') ?? ''} | ${overAll(pawl.slice(0, 1))} |`)
    const gained = pawl.map(run => afterFirst(run) - afterFirst(lines.find(({ upkeep, seed }) => upkeep === 'none' && seed === run.seed)!))
    const [middle, least, most] = points([mean(gained), Math.min(...gained), Math.max(...gained)])
    expect(page).toContain(`| ${String(middle)} (${String(least)} to ${String(most)}) |`)
    const { refused, changes, recovered, pseudoLabels } = storyOf(pawl)
    const [right, worst] = points([pseudoLabels!.right, pseudoLabels!.least].map(share => 100 * share)) as [string, string]
    const prose = page.replaceAll(/\s+/g, ' ')
    expect(prose).toContain(`refused ${refused.toFixed(1)} of 11 challengers`)
    expect(prose).toMatch(new RegExp(`Of ${String(changes)} changes [^.]* after ${String(recovered.length)}, in ${mean(recovered).toFixed(1)} rounds`))
    expect(prose).toContain(`${right} % were right, in no round fewer than ${worst} %`)
    expect(pawl.map(({ rounds }) => worseRounds(rounds))).toEqual(pawl.map(() => 0))
  })
  const afterFirst = ({ rounds }: ContinualResult) => 100 * mean(rounds.slice(1).map(({ accuracy }) => accuracy))
  const overAll = (runs: readonly ContinualResult[]) =>
    points([mean(runs.map(afterFirst))]).concat(runs.length > 1 ? points([spread(runs.map(afterFirst))]) : []).join(' ± ')

  it('of warm starts are the rows of the README', async () => {
    const page = await readFile(join(import.meta.dirname, '..', 'trainer', 'README.md'), 'utf8')
    const lines = await linesOf<WarmResult>(join(import.meta.dirname, 'learning', 'warm.jsonl'))
    const per = (share: number) => (100 * share).toFixed(1)
    const alike = ({ switches, perClass, steps, before = 1 }: WarmResult) => JSON.stringify([switches, perClass, steps, before])
    for (const results of grouped(lines, alike).values()) {
      for (const { beginning } of results[0]!.rounds) {
        const rounds = results.flatMap(line => line.rounds.filter(round => round.beginning === beginning))
        const gains = rounds.map(({ accuracy }, index) => accuracy - results[index]!.rounds[0]!.accuracy)
        const accuracies = rounds.map(({ accuracy }) => accuracy)
        const [champion, against] = beginning === 'scratch' ? ['', ''] : [`${per(mean(rounds.map(round => round.champion ?? NaN)))} `, `${gains.map(per).join(', ')} `]
        const around = results.length > 1 ? ` ± ${per(spread(accuracies))}` : ''
        expect(page).toContain(`| ${champion}| ${per(mean(accuracies))}${around} | ${against}|`)
      }
    }
  })

  it('do not count once the recipe has changed', () => {
    const line = { method: 'pawl', switches: { mixup: 0 }, recipe: recipeOf('pawl', { mixup: 0 }) } as unknown as RunResult
    expect([line, { ...line, recipe: recipeOf('pawl', {}) }, { ...line, method: 'cnn', recipe: null } as const].map(isOfToday)).toEqual([true, false, true])
  })
})
