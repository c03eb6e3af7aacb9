/** A round that is interrupted, by a power cut or by being told to, ends as it would have ended. */
import { spawn } from 'node:child_process'
import { rmdirSync } from 'node:fs'
import { cp, mkdir, mkdtemp, open, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bundled, defaultConfig } from '../agent/config.js'
import { train, type RoundEvent, type RoundSpec } from '../trainer/index.js'
import { runInChild } from '../agent/rounds/round.js'
import { Turns } from '../trainer/turns.js'
import { compiled } from './compiled.js'
import { hurry } from './hurry.js'
import { ordinary } from './ordinary.js'

const classes = ['bag', 'dress', 'trouser']
const steps = 3
let folder = ''
let spec: RoundSpec
/** What the round comes to when nothing happens to it; and one whose steps begin at once. */
let expected: Record<string, string>
let expectedPlain: Record<string, string>
const plain = { method: 'paper', lanes: 1 } as const
/** A round of a given time, which only has to pass: its steps are quick, and nothing comes before them. */
const minutes = 0.15
const timed = { method: 'supervised', switches: { stem: false }, lanes: 1, steps: null, minutes } as const

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-resume-'))
  const some = async (part: 'labeled' | 'validation', count: number) => (await Promise.all(classes.map(async label =>
    (await readdir(join(bundled(part), label))).sort().slice(0, count).map(name => ({ path: join(bundled(part), label, name), label }))))).flat()
  const frames = (await readdir(bundled('unlabeled'))).sort().slice(0, 50).map(name => join(bundled('unlabeled'), name))
  spec = {
    ...ordinary, labeled: await some('labeled', 6), gate: await some('validation', 4), promotion: [], unlabeled: frames, out: join(folder, 'whole'),
    // Ungated, so that all branches and the teacher's class mix are on when it is cut off late.
    method: 'ungated', seed: 3, steps, lanes: 2,
  }
  expected = { ...(await run('whole')).card.files }
  expectedPlain = { ...(await run('plain', plain)).card.files }
})

afterAll(() => rm(folder, { recursive: true, force: true }))

function run(
  name: string, changes: Partial<RoundSpec> = {}, onEvent: (event: RoundEvent) => void = () => undefined, signal = new AbortController().signal,
  checkpointMs = 0,
) {
  return train({ ...spec, out: join(folder, name), ...changes }, { signal, onEvent, checkpointMs })
}

/** Starts the round in a process of its own, or goes on with it, and kills it once it has told of so many steps: all are kept, or but the last. */
async function killedAfter(step: number, name: string, changes: Partial<RoundSpec> = {}): Promise<void> {
  const child = spawn(process.execPath, [await compiled('resume-child'), JSON.stringify({ ...spec, out: join(folder, name), ...changes }), String(step)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (bytes: Buffer) => {
    output += bytes.toString()
    if (output.split('\n').includes(String(step))) child.kill('SIGKILL')
  })
  const killedBy = await new Promise(resolve => child.once('exit', (_, signal) => { resolve(signal) }))
  expect(killedBy).toBe('SIGKILL')
}

const resumedAt = async (name: string, changes: Partial<RoundSpec> = {}) => {
  const events: RoundEvent[] = []
  const { card } = await run(name, changes, event => { events.push(event) })
  expect(card.steps).toBe(changes.steps ?? steps)
  const first = events.find(event => event.type === 'progress')
  const step0 = events.filter(event => event.type === 'gate' && event.look.step === 0).length
  return { card, preparedAnew: step0 > 0, at: events.find(event => event.type === 'resumed')?.step ?? null, firstStep: first?.step, phases: events.flatMap(event => (event.type === 'phase' ? [event.phase] : [])) }
}

const copied = (from: string, to: string) => cp(join(folder, from), join(folder, to), { recursive: true })

describe('a round that is interrupted', () => {
  it('before its first step has not lost what was prepared, and by kill -9 after its second gives the same weights to the byte', async () => {
    const controller = new AbortController()
    const stopped = run('early', {}, event => { if (event.type === 'phase' && event.phase === 'semi-supervised') controller.abort() }, controller.signal)
    await expect(stopped).rejects.toMatchObject({ reason: 'stopped' })
    await copied('early', 'killed')
    const early = await resumedAt('early')
    expect([early.at, early.preparedAnew, early.card.files]).toEqual([0, false, expected])

    await killedAfter(2, 'killed')
    await copied('killed', 'fewer')
    const { card, at, firstStep, phases, preparedAnew } = await resumedAt('killed')
    // The step that the signal came in is lost at most.
    expect([1, 2]).toContain(at)
    expect(firstStep).toBe((at ?? 0) + 1)
    expect([phases.slice(0, 3), preparedAnew]).toEqual([['load', 'prepare', 'semi-supervised'], false])
    expect(card.files).toEqual(expected)
    expect(await readdir(join(folder, 'killed'))).toEqual(['card.json', 'model.onnx', 'reconstruction.png', 'weights.safetensors'])

    // And with the frames that are left, where some are gone.
    const fewer = await resumedAt('fewer', { unlabeled: spec.unlabeled.slice(3) })
    // The gate is not asked again about what it let teach.
    expect([fewer.at, fewer.preparedAnew, fewer.card.gate.filter(({ step }) => step === 0).length, fewer.card.data.unlabeled])
      .toEqual([at, false, 1, spec.unlabeled.length - 3])
  })

  it('and had begun with the weights in service, at which the gate looked before the first step, gives the same weights to the byte', async () => {
    // Long enough to know something (several times what is asked of a champion), without a shortcut beside its head.
    await run('champion', { method: 'mae-finetune', steps: 12, lanes: 1 })
    const warm = { lanes: 1, champion: { version: 1, folder: join(folder, 'champion') } }
    const { card: whole } = await run('warm', warm)
    expect(whole.gate.map(({ step }) => step).slice(0, 3)).toEqual([0, 0, 1])
    await killedAfter(2, 'warm-killed', warm)
    const { card, at } = await resumedAt('warm-killed', warm)
    expect([1, 2]).toContain(at)
    expect([card.files, whole.start, card.start]).toEqual([whole.files, 'champion', 'champion'])
  })

  it('because it is told to stop goes on where it stopped', async () => {
    const controller = new AbortController()
    const stopped = run('stopped', plain, event => { if (event.type === 'progress' && event.step === 2) controller.abort() }, controller.signal, 60_000)
    await expect(stopped).rejects.toMatchObject({ reason: 'stopped' })
    const { card, at } = await resumedAt('stopped', plain)
    expect([at, card.files]).toEqual([2, expectedPlain])
  })

  it('starts anew where the checkpoint is another round\'s, or is damaged', async () => {
    await killedAfter(2, 'damaged', plain)
    await copied('damaged', 'other')
    expect((await resumedAt('other', { ...plain, seed: 4, steps: 2 })).at).toBe(null)
    const file = await open(join(folder, 'damaged', 'checkpoint.safetensors'), 'r+')
    await file.write(Buffer.from([0x55, 0x55, 0x55]), 0, 3, 10_000_000)
    await file.close()
    const { card, at } = await resumedAt('damaged', plain)
    expect([at, card.files]).toEqual([null, expectedPlain])
  })

  it('has used no more of its minutes than it was given, and uses the rest', async () => {
    const controller = new AbortController()
    const stopped = run('minutes', timed, event => { if (event.type === 'progress' && event.fraction > 0.5) controller.abort() }, controller.signal)
    await expect(stopped).rejects.toMatchObject({ reason: 'stopped' })
    const fractions: number[] = []
    const { card } = await run('minutes', timed, event => { if (event.type === 'progress') fractions.push(event.fraction) })
    expect(fractions[0]).toBeGreaterThan(0.5)
    expect(fractions.at(-1)).toBeGreaterThan(0.9)
    // All but the 3 s that are kept for what comes after the steps, and what that takes.
    expect(card.seconds).toBeGreaterThan(60 * minutes - 3)
    expect(card.seconds).toBeLessThan(60 * minutes + 9)
  })

  it('goes on without a checkpoint where the disk takes none, and says so', async () => {
    const inTheWay = join(folder, 'full', 'checkpoint.safetensors.new')
    await mkdir(inTheWay, { recursive: true })
    const problems: RoundEvent[] = []
    const { card } = await run('full', plain, event => {
      if (event.type === 'checkpoint-failed' && problems.push(event) === steps + 1) rmdirSync(inTheWay)
    })
    expect(card.files).toEqual(expectedPlain)
    expect(problems).toHaveLength(steps + 1)
    expect(problems[0]).toMatchObject({ step: 0, reason: expect.stringContaining('EISDIR') as string })
  })
})

describe('a round that has to stand still', () => {
  it('in any phase, and takes but a share of the processor, gives the same weights to the byte', async () => {
    const { signal } = new AbortController()
    const pauses: (string | null)[] = []
    const turns = new Turns({ signal, cpuShare: 0.6, onPause: reason => { pauses.push(reason) } })
    const stand = (reason: string) => {
      turns.pause(reason)
      setTimeout(() => { turns.resume() }, 300)
    }
    const { card } = await train({ ...spec, out: join(folder, 'standing') }, {
      signal, turns,
      onEvent: event => {
        if (event.type === 'phase' && event.phase !== 'semi-supervised') stand(event.phase)
        if (event.type === 'progress' && event.step === 1) stand(`step ${String(event.step)}`)
      },
    })
    expect(card.files).toEqual(expected)
    // On a busy machine one may end only as the next is asked for, so that they are one.
    expect(pauses.filter(reason => reason !== null).length).toBeGreaterThanOrEqual(3)
    expect(pauses.filter((_, index) => index % 2 === 1).every(reason => reason === null)).toBe(true)
  })

  it('by the agent\'s word, for longer than its minutes, uses them all the same', async () => {
    let reason: string | null = null
    const told: string[] = []
    const steps = { before: 0, standing: 0, after: 0 }
    let now: keyof typeof steps = 'before'
    const { signal } = new AbortController()
    const brake = { reason: () => Promise.resolve(reason), working: false }
    const minutes = 0.2
    const round = runInChild({ ...spec, ...timed, minutes, out: join(folder, 'braked') }, {
      graceMs: 60_000, limits: { ...defaultConfig().rounds, priority: 'low' }, brake, signal, closing: signal,
      onEvent: event => {
        if (event.type === 'progress') steps[now]++
        if (event.type === 'phase' && event.phase === 'load') reason = 'the box is hot'
        if (event.type !== 'pause') return
        told.push(String(event.reason))
        now = event.reason === null ? 'after' : 'standing'
        if (event.reason !== null) setTimeout(() => { reason = null }, 60_000 * minutes + 1000)
      },
    })
    hurry()
    const outcome = await round
    expect([told, outcome.ok, steps.standing]).toEqual([['the box is hot', 'null'], true, 0])
    expect(steps.after).toBeGreaterThan(0)
    expect(outcome.ok && outcome.result.card.seconds).toBeLessThan(60 * minutes + 9)
  })
})
