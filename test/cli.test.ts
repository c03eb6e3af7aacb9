import { execFileSync, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { cp, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import stringWidth from 'string-width'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { bundled } from '../agent/config.js'
import { table } from '../agent/commands/output.js'
import { Control } from '../agent/control.js'
import { Access, isHash } from '../agent/web/access.js'
import { ended } from '../agent/lib/child.js'
import { systemClock } from '../agent/lib/clock.js'
import { Registry } from '../agent/registry/registry.js'
import { ModelCardSchema } from '../agent/schemas.js'
import { freePort } from './free-port.js'
import { handlers } from './reporting.js'
import { Daemon } from './site/daemon.js'
import { mosquitto, startMosquitto } from './site/mosquitto.js'
import { Subscriber } from './site/subscriber.js'

/** Built by `npm run build`, which `npm test` runs first. */
const program = join(import.meta.dirname, '../dist/agent/main.js')
const classes = ['bag', 'sneaker', 'trouser']
const waiting = { timeout: 60_000, interval: 50 }
let folder = ''
const at = (...names: string[]) => join(folder, ...names)

beforeAll(async () => {
  await stat(program)
  folder = await mkdtemp(join(tmpdir(), 'pawl-cli-'))
  const copies = async (part: 'labeled' | 'validation', label: string, count: number) => {
    await mkdir(at(part, label), { recursive: true })
    const names = (await readdir(join(bundled(part), label))).sort().slice(0, count)
    await Promise.all(names.map(name => cp(join(bundled(part), label, name), at(part, label, name))))
  }
  for (const label of classes) {
    await copies('labeled', label, 8)
    await copies('validation', label, 12)
  }
  await cp(at('labeled', 'bag'), at('one-class', 'bag'), { recursive: true })
  await cp(at('labeled', 'bag'), at('stream', 'deep', 'folder'), { recursive: true })
  await mkdir(at('empty'))
  await writeFile(at('text.onnx'), 'no model')
  await writeFile(at('pawl.yaml'), 'data: data\nlabels:\n  import: ""\n')
})

afterAll(() => rm(folder, { recursive: true, force: true }))

interface Ended {
  code: number | null
  stdout: string
  stderr: string
}

function pawl(...args: string[]): Promise<Ended> {
  return pawlWith('', ...args)
}

/** With something piped in. */
function pawlWith(input: string, ...args: string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { cwd: folder, stdio: ['pipe', 'pipe', 'pipe'] })
    child.stdin.on('error', () => undefined).end(input)
    let [stdout, stderr] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text })
    child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
    child.once('error', reject)
    child.once('close', code => { resolve({ code, stdout, stderr }) })
  })
}

/** What a machine reads: the last line of a command that succeeded. */
async function json(...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await pawl(...args, '--json')
  expect(code, stderr).toBe(0)
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')
}

const number = expect.any(Number) as number
const text = (part: string) => expect.stringContaining(part) as string

describe('help', () => {
  it('is there for every command, and asking for it succeeds', async () => {
    const seen: string[] = []
    const visit = async (path: readonly string[]): Promise<void> => {
      const { code, stdout } = await pawl(...path, '--help')
      expect([code, stdout]).toEqual([0, text(`Usage: ${['pawl', ...path].join(' ')}`)])
      seen.push(path.join(' '))
      const list = stdout.split('Commands:\n')[1] ?? ''
      const names = [...list.matchAll(/^ {2}([a-z]+)/gm)].map(([, name = '']) => name).filter(name => name !== 'help')
      await Promise.all(names.map(name => visit([...path, name])))
    }
    await visit([])
    for (const name of ['run', 'demo', 'train', 'eval', 'quantise', 'bench train', 'bench infer', 'models rollback', 'label import', 'status', 'doctor', 'config check']) {
      expect(seen).toContain(name)
    }
  })

  const wrong: string[][] = [
    ['eval', '--modle', 'x'], ['explode'], ['eval', '--model', 'x'], ['bench', 'train', '--preset', 'huge'], ['models', 'show', 'newest'],
    ['train', '--labeled', 'a', '--out', 'b', '--steps', '-1'], ['bench', 'infer', '--repeats', '0'],
    ['train', '--labeled', 'a', '--out', 'b', '--lanes', '0'], ['train', '--labeled', 'a', '--out', 'b', '--steps', '1.5'],
    ['train', '--labeled', 'a', '--out', 'b', '--steps', '1', '--minutes', '5'], ['train', '--labeled', 'a', '--out', 'b', '--minutes', 'Infinity'],
  ]
  it('is shown, with exit code 2, for a command line that is not understood', async () => {
    for (const { code, stdout, stderr } of await Promise.all(wrong.map(args => pawl(...args)))) {
      expect([code, stdout]).toEqual([2, ''])
      expect(stderr).toMatch(/^error: [^]*--help/)
      expect(stderr.trimEnd().split('\n').length).toBeLessThan(5)
    }
  })
})

describe('config', () => {
  it('check says file, line, column, value and fix of everything that is wrong', async () => {
    await writeFile(at('wrong.yaml'), 'device: box-7\nrounds:\n  minuets: 5\n  minutes: soon\nmqtt:\n  port: 99999\n')
    const { code, stdout, stderr } = await pawl('config', 'check', 'wrong.yaml')
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toContain('wrong.yaml:3:3: rounds.minuets: there is no such key; did you mean "minutes"?')
    expect(stderr).toContain('wrong.yaml:4:12: rounds.minutes is "soon"')
    expect(stderr).toContain('wrong.yaml:6:9: mqtt.port is 99999')
    expect(stderr).toContain('pawl config example')
  })

  it('check says of a file that says nothing what a box with it does, and so does the box', async () => {
    await writeFile(at('empty.yaml'), '# to be written\n')
    const told = 'empty.yaml says nothing: a box with it watches the bundled simulation'
    expect(await pawl('config', 'check', 'empty.yaml')).toMatchObject({ code: 0, stdout: text(`empty.yaml is valid\nbut ${told}`) })
    expect(await json('config', 'check', 'empty.yaml')).toMatchObject({ valid: true, warning: text(told) })
    expect(await json('config', 'check', 'pawl.yaml')).toMatchObject({ valid: true, warning: null })
    const child = spawn(process.execPath, [program, 'run', '--config', 'empty.yaml'], { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] })
    const first = await new Promise<string>(resolve => child.stdout.setEncoding('utf8').once('data', resolve))
    child.kill('SIGKILL')
    await ended(child)
    expect(first).toContain(told)
    await rm(at('pawl-data'), { recursive: true, force: true })
  })

  it('check --json shows no password', async () => {
    await writeFile(at('secret.yaml'), 'mqtt: {broker: "mqtt://box:hush@broker"}\ncameras: [{id: door, source: rtsp, url: "rtsp://viewer:hush@camera/live"}]\n')
    const { code, stdout } = await pawl('config', 'check', 'secret.yaml', '--json')
    expect([code, stdout]).toEqual([0, expect.stringContaining('rtsp://viewer:***@camera/live')])
    expect(stdout).not.toContain('hush')
  })

  it('example writes a file that check accepts, and schema is JSON', async () => {
    await writeFile(at('example.yaml'), (await pawl('config', 'example')).stdout)
    expect(await json('config', 'check', 'example.yaml')).toMatchObject({ valid: true, config: { data: at('pawl-data') } })
    const schema: unknown = JSON.parse((await pawl('config', 'schema')).stdout)
    expect(schema).toMatchObject({ type: 'object', properties: { rounds: {} } })
  })
})

/** A model that `pawl train` made: the tests below use it. */
const trained = (() => {
  let made: Promise<unknown> | null = null
  return () => made ??= json('train', '--labeled', 'labeled', '--unlabeled', 'stream', '--validation', 'validation', '--out', 'model', '--steps', '2', '--lanes', '1', '--seed', '3')
})()

describe('train, eval and bench', () => {
  it('make a model from folders, measure it and time it, and tell machines all of it in one line', async () => {
    expect(await trained()).toMatchObject({
      model: at('model', 'model.onnx'), method: 'pawl', preset: 'nano', seed: 3, steps: 2, seconds: number, backend: 'onnxruntime', device: 'cpu',
      imagesPerSecond: number, validation: { accuracy: number }, pseudoLabels: { used: number }, gate: expect.any(Array) as unknown[],
      data: { labeled: 24, unlabeled: 8 }, quarantined: [],
    })
    expect((await readdir(at('model'))).sort()).toEqual(['card.json', 'model.onnx', 'reconstruction.png', 'weights.safetensors'])

    const measured = await json('eval', '--model', 'model', '--data', 'validation') as { confusion: number[][]; correct: number; accuracy: number }
    expect(measured).toMatchObject({ images: 36, classes, ece: number, nll: number, perClass: classes.map(name => ({ class: name, images: 12 })) })
    expect(measured.confusion.map((row, label) => row[label] ?? 0).reduce((sum, value) => sum + value)).toBe(measured.correct)
    expect(measured.accuracy).toBe(measured.correct / 36)

    expect(await json('bench', 'infer', '--model', 'model/model.onnx', '--repeats', '20')).toMatchObject({
      images: 20, size: 28, p50Ms: number, p99Ms: number, sessionP50Ms: number, framesPerSecond: number,
    })
    const told = await pawl('eval', '--model', 'model', '--data', 'validation')
    expect(told.stdout).toContain(`${String(measured.correct)} of 36 right`)
  })

  it('tell a person beforehand what will be replaced or left out and why frames cannot teach, and how good the model is on what nothing saw', async () => {
    await cp(at('validation', 'trouser'), at('partly', 'trouser'), { recursive: true })
    await cp(at('validation', 'bag'), at('partly', 'hat'), { recursive: true })
    await mkdir(at('again'))
    for (const name of ['model.onnx', 'checkpoint.safetensors']) await writeFile(at('again', name), 'of before')
    const train = (...args: string[]) => pawl('train', '--labeled', 'labeled', '--out', 'again', '--steps', '1', '--lanes', '1', ...args)
    const { code, stdout, stderr } = await train('--unlabeled', 'stream', '--validation', 'partly')
    expect(code).toBe(0)
    for (const part of [
      'an interrupted training lies in again: the same command goes on with it', '12 images are left out, for nothing teaches "hat"',
      /no images of "bag", "sneaker", so that \d+ of their labels judge/, 'unlabeled images will teach no class: there are 8, and 32 at least are needed',
    ]) expect(stderr).toMatch(part)
    expect(stdout).toMatch(/\d % of \d+ validation images right that nothing saw before \(95 %: [^]* that it was adjusted by/)
    const more = await train('--unlabeled', bundled('labeled'), '--validation', 'validation')
    expect(more.stderr).toMatch(/a model lies in again: [^]*teach no class: \d+ images judge what they are taken for, where 60 at least are needed/)
  })

  it('make an int8 model of it, and refuse what the images cannot prove, with the evidence and exit code 1', async () => {
    await trained()
    const args = ['quantise', '--model', 'model', '--data', 'validation', '--repeats', '5']
    expect(await json(...args, '--out', 'int8', '--tolerance', '20')).toMatchObject({
      kept: true, out: at('int8'), before: { images: 36, fileBytes: number }, int8: { images: 36, times: { sessionP50Ms: number } },
      comparison: { wins: number, losses: number, gainLowerBound: number, leastGain: -0.2 },
    })
    expect(await json('eval', '--model', 'int8', '--data', 'validation')).toMatchObject({ images: 36, classes })
    const refused = await pawl(...args, '--out', 'refused', '--json')
    expect([refused.code, JSON.parse(refused.stdout)]).toMatchObject([1, { kept: false, out: null, comparison: { images: 36 } }])
    expect((await pawl(...args, '--out', 'refused')).stdout).toMatch(/float32[^]*int8[^]*refused, nothing written: of 36 images/)
    expect(await readdir(folder)).not.toContain('refused')
  })

  it('leave unreadable images out by name', async () => {
    await cp(at('validation'), at('spoilt'), { recursive: true })
    await writeFile(at('spoilt', 'bag', 'x.png'), 'no image')
    await trained()
    const { code, stdout, stderr } = await pawl('eval', '--model', 'model', '--data', 'spoilt', '--json')
    expect([code, stderr]).toEqual([0, text(`left out ${at('spoilt', 'bag', 'x.png')}`)])
    expect(JSON.parse(stdout)).toMatchObject({ images: 36, quarantined: [{ path: at('spoilt', 'bag', 'x.png') }] })
  })
})

describe('data folder', () => {
  const own = ['--config', 'pawl.yaml']

  it('takes labels, and tells what is in it', async () => {
    expect(await json('models', 'list', ...own)).toEqual({ models: [], mode: { kind: 'follow' } })
    expect(await json('label', 'import', 'labeled', ...own)).toEqual({ imported: 24, there: 0, refused: [], folder: at('data', 'labels') })
    expect(await json('label', 'import', 'labeled', ...own)).toMatchObject({ imported: 0, there: 24 })
    await mkdir(at('torn', 'bag'), { recursive: true })
    await writeFile(at('torn', 'bag', 'torn.png'), 'no picture')
    expect(await pawl('label', 'import', 'torn', ...own)).toMatchObject({ code: 1, stdout: text('not taken: torn/bag/torn.png cannot be decoded') })
    expect(await json('label', 'status', ...own)).toEqual({
      folder: at('data', 'labels'), images: 24, classes: classes.map(name => ({ class: name, images: 8 })),
    })
    // Also while the file is wrong: an agent that runs goes on with the former one.
    await writeFile(at('wrong.yaml'), `{data: ${at('data')}, cameras: 7}`)
    expect(await pawl('status', '--config', 'wrong.yaml')).toMatchObject({ code: 0, stdout: text(at('data')), stderr: text('CONFIG_INVALID') })
    expect(await json('status', ...own)).toMatchObject({ data: at('data'), agent: null, model: null, models: 0, rounds: 0, frames: 0, labels: 24, lastDecision: null })
    const { findings } = await json('doctor', ...own) as { findings: { what: string; state: string; detail: string }[] }
    expect(findings.filter(({ state }) => state === 'problem')).toEqual([])
    expect(findings).toContainEqual({ what: 'labels', state: 'ok', detail: expect.stringMatching(/^\d+ teach, \d+ gate, \d+ promote$/) as string })
  })

  it('doctor says of a device that is busy that the running agent uses it', async () => {
    await writeFile(at('busy-ffmpeg'), '#!/bin/sh\necho "/dev/video0: Device or resource busy" >&2\nexit 1\n', { mode: 0o755 })
    await writeFile(at('busy.yaml'), '{data: data, ffmpeg: ./busy-ffmpeg, cameras: [{id: door, source: v4l2, url: /dev/video0}]}')
    const found = async () => (JSON.parse((await pawl('doctor', '--config', 'busy.yaml', '--json')).stdout) as { findings: { what: string; state: string; detail: string }[] })
      .findings.find(({ what }) => what === 'camera door')
    expect(await found()).toMatchObject({ state: 'problem', detail: expect.stringContaining('busy') as string })
    const control = new Control({ data: at('data'), handlers })
    await control.start()
    expect(await found()).toMatchObject({ state: 'note', detail: 'the running agent uses /dev/video0' })
    await control.stop()
  })

  it('doctor says once what is wrong with a data folder, and nothing that only follows from it', async () => {
    await writeFile(at('unwritable.yaml'), '{data: text.onnx/data, mqtt: {broker: embedded}}')
    const { findings } = JSON.parse((await pawl('doctor', '--config', 'unwritable.yaml', '--json')).stdout) as { findings: { what: string; state: string; detail: string }[] }
    expect(findings.filter(({ state }) => state === 'problem')).toEqual([{ what: 'data folder', state: 'problem', detail: text('lies in a file: move that away') }])
    expect(findings.find(({ what }) => what === 'disk')).toMatchObject({ state: 'note', detail: text('data folder') })
  })

  it('doctor names the key for a registry of an unknown authority, and a trusted key that says no box', async () => {
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=registry', '-keyout', at('registry.key'), '-out', at('registry.crt')], { stdio: 'pipe' })
    const server = createServer({ cert: await readFile(at('registry.crt')), key: await readFile(at('registry.key')) })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', () => { resolve() }))
    const { port } = server.address() as AddressInfo
    const found = async (exchange: string) => {
      await writeFile(at('exchange.yaml'), `{data: data, device: box-7, exchange: {registry: "https://127.0.0.1:${String(port)}", ${exchange}}}`)
      const { findings } = JSON.parse((await pawl('doctor', '--config', 'exchange.yaml', '--json')).stdout) as { findings: { what: string; state: string; detail: string }[] }
      return findings.find(({ what }) => what === 'exchange')
    }
    expect(await found('publish: false')).toMatchObject({ state: 'problem', detail: text('name who signed the registry\'s certificate in exchange.ca') })
    server.close()
    await mkdir(at('trust'))
    await writeFile(at('trust', 'box-8.pem'), generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }))
    await writeFile(at('trust', 'ca.pem'), await readFile(at('registry.crt')))
    expect(await found('trust: trust')).toEqual({ what: 'exchange', state: 'problem', detail: `${at('trust', 'box-8.pem')} is a key that is not named <device>.public.pem: it counts for no box` })
  })

  it.skipIf(!mosquitto)('doctor logs in at the broker as the agent would, and says what is wrong with the clock', async () => {
    const port = await freePort()
    execFileSync('mosquitto_passwd', ['-b', '-c', at('passwords'), 'box', 'hush-7'], { stdio: 'pipe' })
    const broker = await startMosquitto({ folder, port, lines: ['allow_anonymous false', `password_file ${at('passwords')}`] })
    const found = async (password: string) => {
      await writeFile(at('broker.yaml'), `{data: data, device: box, labels: {import: ''}, mqtt: {broker: "mqtt://box:${password}@127.0.0.1:${String(port)}"}}`)
      const { stdout } = await pawl('doctor', '--config', 'broker.yaml', '--json')
      expect(stdout).not.toContain(password)
      const { findings } = JSON.parse(stdout) as { findings: { what: string; state: string; detail: string }[] }
      expect(findings).toContainEqual({ what: 'clock', state: expect.stringMatching(/ok|note/) as string, detail: expect.any(String) as string })
      return findings.find(({ what }) => what === 'broker')
    }
    try {
      expect(await found('hush-7')).toMatchObject({ state: 'ok', detail: expect.stringContaining('lets this box in') as string })
      expect(await found('hush-8')).toMatchObject({ state: 'problem', detail: expect.stringMatching(/Not authorized/i) as string })
    } finally {
      await broker.stop()
    }
    expect(await found('hush-7')).toMatchObject({ state: 'problem', detail: expect.stringContaining('ECONNREFUSED') as string })
  })

  it('changes models at a word, and finds the one whose file has changed', async () => {
    await trained()
    const registry = new Registry({ data: at('data'), clock: systemClock, onProblem: error => { throw error } })
    await registry.start()
    const card = ModelCardSchema.parse(JSON.parse(await readFile(at('model', 'card.json'), 'utf8')))
    for (const round of [1, 2]) {
      await cp(at('model'), at(`challenger-${String(round)}`), { recursive: true })
      await registry.register({
        folder: at(`challenger-${String(round)}`), card,
        decision: version => ({
          round, decidedAtMs: 1, promoted: true, reason: 'better', explanation: 'test', champion: null, challenger: version,
          accuracyChampion: null, accuracyChallenger: 0.5, comparison: null,
        }),
      })
      await registry.promote(round, { why: 'test' })
    }
    await registry.stop()
    const statuses = async () => (await json('models', 'list', ...own) as { models: { status: string }[] }).models.map(({ status }) => status)
    expect(await statuses()).toEqual(['former', 'champion'])
    expect(await json('models', 'rollback', ...own)).toMatchObject({ version: 1, status: 'champion' })
    expect(await json('models', 'promote', '2', ...own)).toMatchObject({ version: 2, status: 'champion' })
    expect(await statuses()).toEqual(['former', 'champion'])
    expect(await json('models', 'show', '2', ...own)).toMatchObject({ version: 2, card: { seed: 3 } })
    expect(await json('models', 'verify', ...own)).toMatchObject({ models: [{ version: 1, ok: true }, { version: 2, ok: true }] })
    expect(await json('status', ...own)).toMatchObject({ model: 2, models: 2, rounds: 2 })
    expect(await json('report', ...own, '--out', 'told/round.html')).toMatchObject({ round: 2, file: 'told/round.html' })
    expect(await readFile(at('told', 'round.html'), 'utf8')).toMatch(/<h1>Round 2 .*promoted/)
    const noRound = await pawl('report', ...own, '--round', '7')
    expect([noRound.code, noRound.stderr]).toEqual([1, expect.stringMatching(/knows no round 7; it knows the rounds 1, 2/)])
    expect(await json('models', 'pause', ...own)).toMatchObject({ mode: { kind: 'pause' }, live: false })
    expect(await json('models', 'follow', ...own)).toMatchObject({ mode: { kind: 'follow' }, live: false })

    // The same beside an agent that runs: at once, and everybody hears of it.
    const port = await freePort()
    await writeFile(at('live.yaml'), `{data: data, device: box, labels: {import: ''}, rounds: {newFrames: 0}, monitoring: {port: 0}, mqtt: {port: ${String(port)}}}`)
    const daemon = new Daemon({ config: at('live.yaml') })
    await daemon.said(/^pawl is running/)
    const subscriber = await Subscriber.open({ url: `mqtt://127.0.0.1:${String(port)}`, prefix: 'pawl/box' })
    const told = async (version: number) => {
      await vi.waitFor(() => { expect([subscriber.last('modelActive')?.version, subscriber.last('cameraPrediction', 'belt')?.model]).toEqual([version, version]) }, waiting)
    }
    await told(2)
    // Native code that computes lives in children, which may die of it.
    expect(await readFile(`/proc/${String(daemon.pid)}/maps`, 'utf8')).not.toMatch(/onnxruntime|tensorflow/)
    expect(await json('models', 'rollback', ...own)).toMatchObject({ version: 1, live: true })
    await told(1)
    const pinned = { kind: 'pin', version: 2 }
    expect(await json('models', 'pin', '2', ...own)).toMatchObject({ version: 2, mode: pinned, live: true })
    await told(2)
    await vi.waitFor(() => { expect([subscriber.last('modelMode'), subscriber.ofType('mode')]).toMatchObject([pinned, [{ mode: pinned }]]) }, waiting)
    expect(await json('status', ...own)).toMatchObject({ model: 2, agent: { device: 'box', serving: 2, mode: pinned, training: false } })
    expect((await pawl('status', ...own)).stdout).toContain('runs; model 2 answers; no round is running; mode pin')
    const unknown = await pawl('models', 'promote', '9', ...own)
    expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringMatching(/MODEL_INVALID: model 9 is not in the registry; known: 1, 2/)])
    await json('models', 'follow', ...own)
    await subscriber.close()
    expect(await daemon.end()).toEqual({ code: 0, signal: null })
    expect(await json('models', 'verify', ...own)).toMatchObject({ lineage: { ok: true, entries: 12 } })

    const { history } = await json('models', 'history', ...own) as { history: unknown[] }
    expect(history).toContainEqual({ at: expect.any(String) as string, change: 'rolled-back', version: 1, why: 'a person asked for it at the box' })

    const [damaged = ''] = (await readdir(at('data', 'models'))).filter(name => name.startsWith('2-'))
    await writeFile(at('data', 'models', damaged, 'model.onnx'), 'rotten')
    const verify = await pawl('models', 'verify', ...own, '--json')
    expect([verify.code, JSON.parse(verify.stdout)]).toMatchObject([1, { models: [{ ok: true }, { version: 2, ok: false }] }])
    const doctor = await pawl('doctor', ...own)
    expect([doctor.code, doctor.stdout]).toEqual([1, expect.stringMatching(/✗ model .*pawl models rollback/)])
  })
})

describe('a password for the page', () => {
  it('is piped in and never written: its hash is, for its owner alone, and opens the page', async () => {
    const { code, stdout } = await pawlWith('open sesame\n', 'password', '--out', 'secret')
    expect([code, stdout]).toEqual([0, text('dashboard.passwordFile')])
    const hash = (await readFile(at('secret'), 'utf8')).trim()
    expect(isHash(hash)).toBe(true)
    expect((await stat(at('secret'))).mode & 0o777).toBe(0o600)
    const access = new Access({ hash, nowMs: () => 0 })
    expect([await access.open('open sesame', ''), await access.open('open sesamE', '')]).toEqual([{ token: expect.any(String) as string }, 'wrong'])
    const printed = await pawlWith('open sesame', 'password', '--json')
    expect((JSON.parse(printed.stdout) as { hash: string }).hash).not.toBe(hash)
    const short = await pawlWith('1234567', 'password', '--out', 'other')
    expect([short.code, short.stderr]).toEqual([1, text('8 letters or more')])
    await expect(stat(at('other'))).rejects.toThrow()
  })

  it('is missed by doctor where others reach the page', async () => {
    const found = async (dashboard: string) => {
      await writeFile(at('open.yaml'), `{data: data, dashboard: {address: 0.0.0.0, ${dashboard}}}`)
      const { stdout } = await pawl('doctor', '--config', 'open.yaml', '--json')
      return (JSON.parse(stdout) as { findings: { what: string; state: string; detail: string }[] }).findings.find(({ what }) => what === 'page')
    }
    expect(await found('port: 8470')).toMatchObject({ state: 'problem', detail: text('write one with `pawl password`') })
    expect(await found('passwordFile: secret')).toMatchObject({ state: 'ok', detail: text('with a password') })
  })
})

describe('completion', () => {
  it.each(['bash', 'zsh', 'fish', 'powershell'])('comes as a script for %s', async shell => {
    const { code, stdout } = await pawl('completion', shell)
    expect([code, stdout]).toEqual([0, expect.stringMatching(/pawl[^\n]* complete/i)])
  })

  it('knows commands, options and what may be chosen', async () => {
    const offered = async (...words: string[]) => (await pawl('complete', '--', ...words)).stdout.split('\n').map(line => line.split('\t')[0])
    expect(await offered('mod')).toContain('models')
    expect(await offered('models', 'pro')).toContain('promote')
    expect(await offered('train', '--preset', '')).toEqual(expect.arrayContaining(['nano', 'micro', 'tiny']))
  })
})

describe('a table', () => {
  it('fits the terminal: what is longest is cut, by what signs take and not by how many they are', () => {
    const rows = [[1, '鞄', 'x'.repeat(60)], [22, '🧺 é', 'short']] as const
    const lines = table(['no', 'class', 'why'], rows, 30)
    expect(lines.map(line => stringWidth(line))).toEqual([14, 30, 16])
    expect(lines[1]).toMatch(/^ 1 {2}鞄 {5}x+…$/)
    expect(table(['no', 'class', 'why'], rows, Infinity)[1]).toContain('x'.repeat(60))
    // Nothing is cut to nothing, however narrow it is.
    for (const line of table(['no', 'class', 'why'], rows, 1)) expect(stringWidth(line)).toBeLessThanOrEqual(6 + 6 + 2 + 4)
  })
})

describe('a command that cannot do what was asked', () => {
  const bad: { args: string[]; says: string[] }[] = [
    { args: ['eval', '--model', 'text.onnx', '--data', 'validation'], says: ['MODEL_INVALID', 'text.onnx', 'give a model.onnx that pawl wrote'] },
    { args: ['eval', '--model', 'nowhere', '--data', 'validation'], says: ['MODEL_INVALID', 'nowhere', 'give a model.onnx'] },
    { args: ['train', '--labeled', 'nowhere', '--out', 'x'], says: ['LABELS_INSUFFICIENT', 'nowhere', 'one folder of JPEG, PNG or WebP images for each class'] },
    { args: ['train', '--labeled', 'one-class', '--out', 'x'], says: ['one-class', 'only the class "bag"', 'at least two'] },
    { args: ['train', '--labeled', 'empty', '--out', 'x'], says: ['empty', 'no labels yet', 'one folder for each class'] },
    { args: ['train', '--labeled', 'labeled', '--validation', 'nowhere', '--out', 'x'], says: ['nowhere', 'one folder of JPEG, PNG or WebP images'] },
    { args: ['train', '--labeled', 'labeled', '--unlabeled', 'nowhere', '--out', 'x'], says: ['nowhere', '--unlabeled takes a folder'] },
    { args: ['train', '--labeled', 'labeled', '--unlabeled', 'empty', '--out', 'x'], says: ['empty', '--unlabeled takes a folder'] },
    { args: ['quantise', '--model', 'nowhere', '--data', 'validation', '--out', 'x'], says: ['MODEL_INVALID', 'nowhere/card.json', 'give the folder of a finished model'] },
    { args: ['quantise', '--model', 'nowhere', '--data', 'empty', '--out', 'x'], says: ['LABELS_INSUFFICIENT', 'empty', 'one folder of JPEG, PNG or WebP images'] },
    { args: ['label', 'import', 'nowhere', '--config', 'pawl.yaml'], says: ['LABELS_INSUFFICIENT', 'nowhere'] },
    { args: ['label', 'import', 'empty', '--config', 'pawl.yaml'], says: ['LABELS_INSUFFICIENT', 'empty', 'class'] },
    { args: ['run', '--config', 'unwritable.yaml'], says: ['DATA_UNWRITABLE', 'text.onnx', 'the key "data"'] },
    { args: ['run', '--config', 'nowhere.yaml'], says: ['CONFIG_INVALID', 'nowhere.yaml', 'pawl config example'] },
    { args: ['models', 'show', '99', '--config', 'pawl.yaml'], says: ['MODEL_INVALID', '99', 'known: 1, 2'] },
    { args: ['models', 'promote', '99', '--config', 'pawl.yaml'], says: ['MODEL_INVALID', '99'] },
  ]
  it('exits with 1 and says which path, and what to do', async () => {
    for (const { args, says } of bad) {
      const { code, stdout, stderr } = await pawl(...args)
      expect([code, stdout], args.join(' ')).toEqual([1, ''])
      for (const part of says) expect(stderr, args.join(' ')).toContain(part)
    }
  })

  it('says that a folder to evaluate holds no images, or classes that the model does not know', async () => {
    await trained()
    const empty = await pawl('eval', '--model', 'model', '--data', 'empty')
    expect([empty.code, empty.stderr]).toEqual([1, text(at('empty'))])
    await cp(at('validation', 'bag'), at('hats', 'hat'), { recursive: true })
    const strange = await pawl('eval', '--model', 'model', '--data', 'hats')
    expect([strange.code, strange.stderr]).toEqual([1, expect.stringMatching(/"hat" is not one of the model's: bag, sneaker, trouser/)])
  })
})
