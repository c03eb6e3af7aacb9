import { readFileSync, writeFileSync } from 'node:fs'
import { chmod, copyFile, mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { bundled, defaultConfig, type Config } from '../agent/config.js'
import { PawlError } from '../agent/errors.js'
import type { AgentEvent } from '../agent/events.js'
import { FrameStore } from '../agent/frames/store.js'
import { LabelStore } from '../agent/frames/label-store.js'
import { readLabels } from '../agent/frames/labels.js'
import { setAside } from '../agent/frames/set-aside.js'
import { systemClock } from '../agent/lib/clock.js'
import { Registry } from '../agent/registry/registry.js'
import { Learning, type RoundData, type RunOptions } from '../agent/rounds/learning.js'
import { beginUnfinished, findUnfinished } from '../agent/rounds/unfinished.js'
import { runInChild, type RoundBrake, type RoundOutcome, type RoundRunOptions } from '../agent/rounds/round.js'
import { Training, type TrainingOptions } from '../agent/training.js'
import type { RoundEvent, RoundSpec } from '../trainer/contract.js'
import { compiled } from './compiled.js'
import { hurry } from './hurry.js'
import { ordinary } from './ordinary.js'

const running = () => new AbortController().signal
/** Nothing lets a round stand still. */
const released = (): RoundBrake => ({ reason: () => Promise.resolve(null), working: false })

const specOf = (out: string): RoundSpec => ({
  ...ordinary, labeled: [], unlabeled: [], gate: [], promotion: [], out, seed: 1, minutes: 10, backend: 'auto', device: 'auto', lanes: 1,
})

describe.concurrent('round in a child process', () => {
  let trainer: URL
  beforeAll(async () => { trainer = pathToFileURL(await compiled('round-child')) })

  interface Run {
    minutes?: number
    limits?: Partial<RoundRunOptions['limits']>
    brake?: RoundBrake
    signal?: AbortSignal
    closing?: AbortSignal
    onEvent?: (event: RoundEvent) => void
    container?: NonNullable<RoundRunOptions['container']>
  }
  const run = (
    out: string,
    { minutes = 10, limits = {}, brake = released(), signal = running(), closing = running(), onEvent = () => undefined, ...more }: Run = {},
  ) =>
    runInChild({ ...specOf(out), minutes }, {
      module: trainer, graceMs: 100, limits: { maxMemoryMb: 4096, maxGpuMemoryMb: 0, cpuShare: 1, priority: 'low', ...limits }, brake, signal, closing, onEvent, ...more,
    })

  /** Asks for the stop as soon as the child says that it works. */
  async function stopped(out: string): Promise<{ outcome: RoundOutcome; waitedMs: number }> {
    const controller = new AbortController()
    let askedAtMs = 0
    const outcome = await run(out, { signal: controller.signal, onEvent: () => { askedAtMs = performance.now(); controller.abort() } })
    return { outcome, waitedMs: performance.now() - askedAtMs }
  }

  it('hands over what the trainer tells and its result, and takes only the time that others leave', async () => {
    const events: RoundEvent[] = []
    const outcome = await run('answers', { limits: { priority: 'idle' }, onEvent: event => { events.push(event) } })
    expect(outcome).toMatchObject({ ok: true, result: { card: { seed: 1 }, evidence: { labels: [0, 0] } } })
    expect(events).toEqual([
      { type: 'phase', phase: 'load' }, { type: 'quarantine', path: '/x.png', reason: 'nice 19, oom 500' },
    ])
  })

  it('hears a long answer to its end, though the trainer ends with it', async () => {
    const outcome = await run('answers-at-length')
    expect(outcome.ok && outcome.result.evidence.challenger.nll.at(-1)).toBe(0.1)
  })

  it('keeps the result of a trainer that does not end', async () => {
    expect((await stopped('answers-and-lingers')).outcome).toMatchObject({ ok: true })
  })

  it('gives the trainer\'s own reason for a refusal', async () => {
    expect(await run('fails')).toEqual({ ok: false, reason: 'diverged', message: 'the loss is not a number' })
  })

  it('says how a trainer ended that did not answer', async () => {
    expect(await run('exits')).toMatchObject({ ok: false, reason: 'crashed', message: expect.stringContaining('code 3') as string })
    expect(await run('is-killed')).toMatchObject({ ok: false, reason: 'crashed', message: expect.stringContaining('SIGKILL') as string })
  })

  it('ends a trainer that exceeds its minutes', async () => {
    expect(await run('hangs', { minutes: 0.02 })).toMatchObject({ ok: false, reason: 'out-of-time', message: expect.stringContaining('after 1 s') as string })
  })

  it('ends a trainer that exceeds its memory, naming the key', async () => {
    const outcome = await run('hoards', { limits: { maxMemoryMb: 350 } })
    expect(outcome).toMatchObject({ ok: false, reason: 'out-of-memory', message: expect.stringContaining('rounds.maxMemoryMb (350)') as string })
  })

  it('ends a trainer before its container has no memory left, where the kernel would choose what to end', async () => {
    const container = () => Promise.resolve({ usedBytes: 0.91 * 2 ** 31, limitBytes: 2 ** 31 })
    const outcome = await run('hangs', { container })
    expect(outcome).toMatchObject({ ok: false, reason: 'out-of-memory', message: expect.stringMatching(/the container held 1864 of the 2048 MB that it may \(the trainer is \d+ MB, pages of files included\): give it more memory/) as string })
    expect(await run('answers', { container: () => Promise.resolve({ usedBytes: 0.89 * 2 ** 31, limitBytes: 2 ** 31 }) })).toMatchObject({ ok: true })
  })

  it('ends a trainer that holds too much of a GPU\'s memory, by what the driver\'s program tells, naming the key', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pawl-smi-'))
    const path = process.env.PATH
    // The driver's program as it answers on a box with two GPUs.
    await writeFile(join(folder, 'nvidia-smi'), `#!/bin/sh
[ "$*" = "--query-compute-apps=pid,used_memory --format=csv,noheader,nounits" ] || exit 1
echo "1, 9000"; echo "2, [N/A]"; for child in $(cat ${folder}/pids); do echo "$child, 700"; echo "$child, 400"; done
`)
    await chmod(join(folder, 'nvidia-smi'), 0o755)
    process.env.PATH = `${folder}:${path ?? ''}`
    try {
      const outcome = await run('trains-on-a-gpu', {
        limits: { maxGpuMemoryMb: 1000 },
        onEvent: () => { writeFileSync(join(folder, 'pids'), readFileSync(`/proc/${String(process.pid)}/task/${String(process.pid)}/children`)) },
      })
      expect(outcome).toMatchObject({ ok: false, reason: 'out-of-memory', message: expect.stringContaining('1100 MB on the GPU, more than rounds.maxGpuMemoryMb (1000)') as string })
    } finally {
      process.env.PATH = path
      await rm(folder, { recursive: true, force: true })
    }
  })

  it('tells the trainer its share of the processor', async () => {
    const told: RoundEvent[] = []
    await run('tells-its-share', { limits: { cpuShare: 0.25 }, onEvent: event => { told.push(event) } })
    expect(told).toEqual([{ type: 'quarantine', path: '/x.png', reason: '0.25' }])
  })

  it('lets the trainer stand still while the brake says so, and counts that time as none of its minutes', async () => {
    const told: RoundEvent[] = []
    const brake = released()
    let reason: string | null = 'it is hot'
    brake.reason = () => Promise.resolve(reason)
    const outcome = run('stands-when-asked', {
      minutes: 0.12, brake,
      onEvent: event => {
        told.push(event)
        if (event.type !== 'pause' || event.reason === null) return
        // Longer than the minutes that it has.
        setTimeout(() => { expect(brake.working).toBe(false); reason = null }, 8_000)
      },
    })
    expect(await outcome).toMatchObject({ ok: true })
    expect(told.slice(1)).toEqual([{ type: 'pause', reason: 'it is hot' }, { type: 'pause', reason: null }])
  })

  it('ends one that hangs at its time, though it was asked to stand still', async () => {
    const brake = { reason: () => Promise.resolve('it is hot'), working: false }
    expect(await run('hangs', { minutes: 0.03, brake })).toMatchObject({ ok: false, reason: 'out-of-time' })
  })

  it('lets the trainer stop by itself when asked, and insists soon when it does not', async () => {
    for (const behaviour of ['stops-when-asked', 'hangs']) {
      const { outcome, waitedMs } = await stopped(behaviour)
      expect(outcome).toMatchObject({ ok: false, reason: 'stopped' })
      expect(waitedMs).toBeLessThan(10_000)
    }
  })

  it('calls a round stopped, not crashed, when the trainer dies of the stop', async () => {
    expect((await stopped('dies-when-asked')).outcome).toMatchObject({ ok: false, reason: 'stopped' })
  })

  it('starts no trainer when the agent is stopping already', async () => {
    expect(await run('answers', { signal: AbortSignal.abort() })).toMatchObject({ ok: false, reason: 'stopped' })
  })
})

describe('round without a program', () => {
  const node = process.execPath
  afterEach(() => { process.execPath = node })

  it('is an outcome too, when the process cannot be started', async () => {
    process.execPath = '/nowhere/node'
    const outcome = await runInChild(specOf('x'), {
      graceMs: 0, limits: defaultConfig().rounds, brake: released(), signal: running(), closing: running(), onEvent: () => undefined,
    })
    expect(outcome).toMatchObject({ ok: false, reason: 'crashed', message: expect.stringContaining('ENOENT') as string })
  })
})

describe('learning', () => {
  let data = ''
  /** Promotion sets in the order in which they were counted, and which attempt each was. */
  let counted: [string, number][] = []
  /** What rounds tell, and what is done about it at once. */
  let events: RoundEvent[] = []
  let onEvent: (event: RoundEvent) => void = () => undefined
  /** The interrupted round that the last start gave up, and why. */
  let problems: string[] = []
  let givenUp: { round: number; reason: string } | null = null

  class CountingRegistry extends Registry {
    override async countAttempt(promotionSet: string): Promise<number> {
      const attempt = await super.countAttempt(promotionSet)
      counted.push([promotionSet, attempt])
      return attempt
    }
  }

  beforeEach(async () => {
    data = await mkdtemp(join(tmpdir(), 'pawl-rounds-'))
    counted = []
  })
  afterEach(async () => { await rm(data, { recursive: true, force: true }) })

  async function open(config: Partial<Config['rounds']> = {}): Promise<{ learning: Learning; registry: Registry }> {
    givenUp = null
    problems = []
    const registry = new CountingRegistry({
      data, clock: systemClock, onProblem: problem => { throw problem },
    })
    await registry.start()
    const learning = new Learning({
      config: { ...defaultConfig().rounds, backend: 'onnxruntime', priority: 'low', ...config }, exchanges: false, folder: join(data, 'rounds'), engines: join(data, 'engines.json'), registry, clock: systemClock, graceMs: 60_000,
      onEvent: (_, event) => {
        if (event.type === 'phase') hurry()
        events.push(event)
        onEvent(event)
      },
      brake: released(),
      onUnreadable: images => setAside(images, {
        frames: { holds: () => false, remove: () => Promise.resolve() },
        labels: new LabelStore({ data, config: defaultConfig().labels }),
        onSetAside: () => undefined,
        onProblem: message => { problems.push(message) },
      }),
      onGivenUp: (round, reason) => { givenUp = { round, reason } },
    })
    await learning.start()
    return { learning, registry }
  }

  const learn = (learning: Learning, round: RoundData, options: Partial<RunOptions> = {}) => learning.run({
    gather: () => Promise.resolve(round), signal: running(), closing: running(), began: () => undefined, ...options,
  })
  const images = (...names: string[]) => names.map(name => ({ path: join(data, name), label: 'a' }))
  /** Two classes that a few steps tell apart, also where a step takes long. */
  async function easy(): Promise<Pick<RoundData, 'labeled' | 'gate' | 'promotion'>> {
    const { labeled, gate, promotion } = await readLabels(bundled('labeled'), bundled('validation'))
    const some = (of: RoundSpec['labeled'], perClass: number) =>
      ['ankle-boot', 'trouser'].flatMap(label => of.filter(image => image.label === label).slice(0, perClass))
    return { labeled: some(labeled, 10), gate: some(gate, 10), promotion: some(promotion, 20) }
  }
  /** Nothing is prepared: a round of seconds has to come to its steps, also where others take the machine. */
  const atOnce = { stem: false } as const
  const nothing: RoundData = { labeled: [], gate: [], promotion: images('1.png', '2.png'), unlabeled: [], switches: {} }
  const leftovers = () => readdir(join(data, 'rounds'))

  it('clears away what an interrupted round left behind', async () => {
    await mkdir(join(data, 'rounds', '7'), { recursive: true })
    await writeFile(join(data, 'rounds', '7', 'model.onnx'), 'half')
    await open()
    expect(await leftovers()).toEqual([])
  })

  describe('a round that is interrupted', () => {
    /** A round on real images that is stopped after some steps, as by the end of the agent. */
    async function interruptedRound() {
      const { learning, registry } = await open({ firstMinutes: 0.2, lanes: 1, method: 'supervised' })
      const round = { ...await easy(), unlabeled: [], switches: { gate: 'never', ...atOnce } as const }
      const controller = new AbortController()
      events = []
      onEvent = event => { if (event.type === 'progress') controller.abort() }
      const { decision } = await learn(learning, round, { signal: controller.signal })
      expect([decision.reason, registry.decisions()]).toEqual(['stopped', []])
      onEvent = () => undefined
      await registry.stop()
      return round
    }

    it('is taken up by the next start: the same number, from its checkpoint on, whatever the labels are by then and whether pseudo-labels may count', async () => {
      const { labeled } = await interruptedRound()
      expect(await readdir(join(data, 'rounds', '1'))).toContain('checkpoint.safetensors')
      const { learning, registry } = await open({ firstMinutes: 0.2, lanes: 1, method: 'supervised' })
      expect(learning.interrupted).toBe(true)
      const begun: unknown[] = []
      const { decision } = await learn(learning, nothing, { began: begin => { begun.push(begin) } })
      expect(begun).toEqual([{ round: 1, labeled: labeled.length, unlabeled: 0, pseudoLabels: false }])
      // What it has learned by the end is the machine's affair.
      expect(decision).toMatchObject({ round: 1, challenger: 1, reason: expect.stringMatching(/^(first-model|below-chance)$/) as string })
      expect(events.filter(({ type }) => type === 'resumed')).toHaveLength(1)
      const [model = ''] = await readdir(join(data, 'models'))
      expect(await readdir(join(data, 'models', model))).toEqual(['card.json', 'model.onnx', 'weights.safetensors'])
      expect([learning.interrupted, await leftovers()]).toEqual([false, []])
      expect((await learn(learning, nothing)).decision.round).toBe(2)
      await registry.stop()
    })

    it('because its window closes is taken up by the next run, and asks for no data; it is given up where a label of it was moved meanwhile', async () => {
      const { learning, registry } = await open({ firstMinutes: 0.2, lanes: 1, method: 'supervised' })
      const { labeled, gate, promotion } = await easy()
      const moved = { path: join(data, 'moved.png'), label: 'trouser' }
      await copyFile(labeled.find(({ label }) => label === 'trouser')!.path, moved.path)
      const round = { labeled: [...labeled, moved], gate, promotion, unlabeled: [], switches: { gate: 'never', ...atOnce } as const }
      const closed = async () => {
        const closing = new AbortController()
        onEvent = event => { if (event.type === 'progress') closing.abort() }
        const { decision } = await learn(learning, round, { closing: closing.signal })
        onEvent = () => undefined
        return decision
      }
      expect(await closed()).toMatchObject({ round: 1, reason: 'stopped', explanation: expect.stringContaining('when the next window opens') as string })
      expect([learning.interrupted, registry.decisions(), await leftovers()]).toEqual([true, [], ['1']])
      events = []
      const gather = () => Promise.reject(new Error('nobody asks'))
      const closing = new AbortController()
      onEvent = event => { if (event.type === 'progress') closing.abort() }
      const again = await learning.run({ gather, signal: running(), closing: closing.signal, began: () => undefined })
      onEvent = () => undefined
      expect([again.decision.round, again.decision.reason, events.filter(({ type }) => type === 'resumed').length]).toEqual([1, 'stopped', 1])
      await rm(moved.path)
      const { decision } = await learn(learning, nothing)
      expect([decision.round, decision.reason, learning.interrupted]).toEqual([2, 'labels', false])
      expect(givenUp).toEqual({ round: 1, reason: expect.stringContaining('moved.png') as string })
      await registry.stop()
    })

    it('is forgotten where it cannot be looked for, so that it is not begun for ever', async () => {
      const { learning, registry } = await open()
      await learn(learning, nothing, { signal: AbortSignal.abort() })
      expect(learning.interrupted).toBe(true)
      await rm(join(data, 'rounds'), { recursive: true })
      await writeFile(join(data, 'rounds'), '')
      await expect(learn(learning, nothing)).rejects.toThrow('ENOTDIR')
      expect(learning.interrupted).toBe(false)
      await rm(join(data, 'rounds'))
      expect(await learn(learning, nothing)).toMatchObject({ decision: { round: 2, reason: 'labels' } })
      await registry.stop()
    })

    it('is given up, and the reason told, when the configuration is another by then', async () => {
      await interruptedRound()
      const { learning, registry } = await open({ firstMinutes: 0.25, lanes: 1, method: 'supervised' })
      expect([learning.interrupted, givenUp]).toEqual([false, { round: 1, reason: expect.stringContaining('configuration') as string }])
      expect((await learn(learning, nothing)).decision.round).toBe(2)
      expect(await leftovers()).toEqual([])
      await registry.stop()
    })

    it('is given up after the third interruption, lest it be what ends the agent, and when a label of it was moved', async () => {
      const { registry } = await open()
      await registry.stop()
      const out = join(data, 'rounds', '5')
      const found = async (attempts: number, labeled: RoundSpec['labeled'] = []) => {
        await beginUnfinished({ round: 5, attempts, spec: { ...specOf('x'), labeled, gate: [], promotion: [], out } })
        const { unfinished, givenUp: lost } = await findUnfinished(join(data, 'rounds'))
        return unfinished?.round ?? lost?.reason
      }
      expect([await found(1), await found(2), await found(3)]).toEqual([5, 5, expect.stringContaining('3 times')])
      const { switches: _, ...former } = specOf(out)
      await mkdir(out, { recursive: true })
      await writeFile(join(out, 'round.json'), JSON.stringify({ round: 5, attempts: 1, spec: former }))
      expect((await findUnfinished(join(data, 'rounds'))).unfinished?.spec).toEqual(specOf(out))
      expect(await found(1, [{ path: '/nowhere/a.png', label: 'a' }])).toContain('/nowhere/a.png')
      expect(await leftovers()).toEqual([])
    })
  })

  it('puts a refusal on record with its reason, and leaves nothing else', async () => {
    const { learning, registry } = await open()
    const begun: number[] = []
    const { decision, challenger } = await learn(learning, nothing, { began: ({ round }) => { begun.push(round) } })
    expect(decision).toMatchObject({ round: 1, promoted: false, reason: 'labels', champion: null, challenger: null, comparison: null })
    expect(decision.explanation).toContain('at least two classes')
    expect([challenger, begun, await leftovers()]).toEqual([null, [1], []])
    await registry.stop()
    expect((await open()).registry.decisions()).toEqual([decision])
  })

  /** What changed a moment ago may still be being copied in. */
  async function putLongAgo(path: string, content: string): Promise<void> {
    await writeFile(path, content)
    await utimes(path, 1e9, 1e9)
  }

  it('sets unreadable images aside also when they leave too little for a round', async () => {
    const { learning } = await open()
    await mkdir(join(data, 'labels', 'bag'), { recursive: true })
    const bad = { path: join(data, 'labels', 'bag', 'bad.png'), label: 'bag' }
    await putLongAgo(bad.path, 'no image')
    const { decision } = await learn(learning, { ...nothing, labeled: [bad] })
    expect(decision.reason).toBe('labels')
    expect(await readFile(join(data, 'quarantine', 'bag', 'bad.png'), 'utf8')).toBe('no image')
  })

  it('is judged for what it is where unreadable images cannot be set aside, which is told once', async () => {
    const { learning } = await open()
    await mkdir(join(data, 'labels', 'bag'), { recursive: true })
    const bad = ['1.png', '2.png', '3.png'].map(name => ({ path: join(data, 'labels', 'bag', name), label: 'bag' }))
    for (const { path } of bad) await putLongAgo(path, 'no image')
    // As labels that are read-only, or on another disk: nothing can be moved there.
    await writeFile(join(data, 'quarantine'), '')
    const { decision } = await learn(learning, { ...nothing, labeled: bad })
    expect(decision.reason).toBe('labels')
    expect(problems).toEqual([expect.stringMatching(/\d\.png and 2 more cannot be read, and could not be set aside either \(E/)])
    expect(await readdir(join(data, 'labels', 'bag'))).toHaveLength(3)
  })

  it('ends with a record when a finished model cannot be kept, and the champion stays', async () => {
    const { learning, registry } = await open({ firstMinutes: 0.1, lanes: 1 })
    registry.register = () => Promise.reject(new Error('no space left'))
    const round = { ...await easy(), unlabeled: [], switches: {} }
    const { decision, challenger } = await learn(learning, round)
    expect(decision).toMatchObject({ promoted: false, reason: 'crashed', challenger: null })
    expect(decision.explanation).toContain('no space left')
    expect([challenger, registry.decisions(), await leftovers()]).toEqual([null, [decision], []])
  })

  it('holds the stop of the agent against no challenger', async () => {
    const { learning, registry } = await open()
    const { decision } = await learn(learning, nothing, { signal: AbortSignal.abort() })
    expect([decision.reason, registry.decisions(), await registry.beginRound()]).toEqual(['stopped', [], 2])
  })

  it('makes a first model from real images, sets unreadable ones aside, and counts every challenger judged on its images, first models apart', async () => {
    const { learning, registry } = await open({ firstMinutes: 0.3, minutes: 0.05, lanes: 1, method: 'supervised' })
    const { labeled, gate, promotion } = await easy()
    await mkdir(join(data, 'labels', 'trouser'), { recursive: true })
    const bad = { path: join(data, 'labels', 'trouser', 'bad.png'), label: 'trouser' }
    await writeFile(bad.path, 'no image')
    const round = { labeled: [...labeled, bad], gate, promotion, unlabeled: [], switches: atOnce }
    const { decision, challenger } = await learn(learning, round)
    expect(decision).toMatchObject({ promoted: true, reason: 'first-model', champion: null, challenger: 1, accuracyChampion: null })
    expect(challenger).toMatchObject({ version: 1, card: { data: { labeled: 20, quarantined: 1 } }, decision })
    expect(await readFile(join(data, 'quarantine', 'trouser', 'bad.png'), 'utf8')).toBe('no image')
    expect(await registry.verify()).toMatchObject([{ version: 1, ok: true }])
    expect([await leftovers(), registry.active(), counted]).toEqual([[], null, [[expect.stringMatching(/^first:/), 1]]])

    await registry.promote(1, { why: 'test' })
    await learn(learning, round, { signal: AbortSignal.abort() })
    expect(counted.splice(0)).toHaveLength(1)
    for (const set of [promotion, promotion.slice(1), promotion.slice(15)]) await learn(learning, { ...round, promotion: set })
    expect(counted.map(([, attempt]) => attempt)).toEqual([1, 2, 1])
    expect(new Set(counted.map(([set]) => set)).size).toBe(2)
  })
})

it('a round does not begin on a disk without room for it: whoever asked is told, and so is everybody', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pawl-training-'))
  let free = 99e6
  const frames = new FrameStore({ folder, config: defaultConfig().frames, clock: systemClock, freeBytes: () => Promise.resolve(free) })
  const events: AgentEvent[] = []
  let gathered = 0
  // As far as a round comes that may not begin.
  const learning = { start: () => Promise.resolve(), interrupted: false, run: async ({ gather }: Pick<RunOptions, 'gather'>) => { await gather() } }
  const training = new Training({
    config: { ...defaultConfig().rounds, newFrames: 0, newLabels: 0 }, frames, learning, clock: systemClock, signal: running(), random: Math.random,
    labels: { read: () => { gathered++; return Promise.reject(new PawlError('LABELS_INSUFFICIENT', 'no labels')) } },
    labelWatch: { since: () => 0, newestAtMs: 0 }, drift: { alarm: null }, exchange: { ready: false },
    registry: { lastRunAtMs: () => Date.now(), mode: { kind: 'follow' }, active: () => ({ version: 1 }) },
    publish: (event: AgentEvent) => { events.push(event) }, onFailed: (message: string) => { throw new Error(message) },
  } as unknown as TrainingOptions)
  await training.start()
  try {
    const full = '99 MB are free on the disk, and a round begins with 100 MB (a quarter of frames.minFreeBytes, 100 MB at most); free some space'
    expect([await training.begin(), gathered]).toEqual([full, 0])
    expect(events).toEqual([{ type: 'round-refused-to-start', reason: full }])
    free = 100e6
    expect([await training.begin(), gathered]).toEqual(['no labels', 1])
  } finally {
    await training.stop()
    await rm(folder, { recursive: true })
  }
})
