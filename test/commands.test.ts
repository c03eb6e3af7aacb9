import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { parseConfig } from '../agent/config.js'
import { errorCatalogue, PawlError } from '../agent/errors.js'
import { systemClock } from '../agent/lib/clock.js'
import { createLogger } from '../agent/lib/logger.js'
import { Answers } from '../agent/report/answers.js'
import { CommandRunner } from '../agent/report/command-runner.js'
import { commands, verbs, type CommandHandlers, type Verb } from '../agent/report/commands.js'
import { Sparkplug } from '../agent/report/sparkplug/sparkplug.js'
import type { Response } from '../agent/report/topics.js'
import { freePort } from './free-port.js'
import { mosquitto, startMosquitto } from './site/mosquitto.js'
import { handlers, makeReporter, plainly, status, Watcher, type Given } from './reporting.js'
import { SparkplugHost } from './sparkplug-host.js'

const logger = createLogger({ level: 'silent' })
const waiting = { timeout: 60_000, interval: 20 }
const cleanups: (() => Promise<unknown>)[] = []
let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-commands-'))
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(folder, { recursive: true, force: true })
})

/** A clock that is set by hand. */
class SetClock {
  ms = 1_000_000
  jumpMs = 0
  readonly nowMs = () => this.ms + this.jumpMs
  readonly monotonicMs = () => this.ms
}

interface Box {
  ask: (verb: string, request?: object | string, retained?: boolean) => Promise<Response>
  carriedOut: string[]
}

interface BoxOptions extends Partial<CommandHandlers> {
  path?: string
  accepted?: readonly Verb[]
  clock?: SetClock
}

/** The part of an agent that takes commands; with the same path it is the same agent after a restart. */
async function box({ path = join(folder, 'answers.json'), accepted = verbs, clock = new SetClock(), ...own }: BoxOptions = {}): Promise<Box> {
  const answers = new Answers({ path, clock, logger })
  await answers.start()
  const carriedOut: string[] = []
  let answered: (response: Response) => void = () => undefined
  const counted: CommandHandlers = {
    ...handlers,
    train: request => { carriedOut.push('train'); return (own.train ?? handlers.train)(request) },
    status: request => { carriedOut.push('status'); return (own.status ?? handlers.status)(request) },
    reload: request => { carriedOut.push('reload'); return (own.reload ?? handlers.reload)(request) },
  }
  const runner = new CommandRunner({ handlers: counted, accepted, answers, logger, respond: (_, response) => { answered(response) } })
  return {
    carriedOut,
    ask: (verb, request = {}, retained = false) => new Promise(resolve => {
      answered = resolve
      void runner.handle(verb, Buffer.from(typeof request === 'string' ? request : JSON.stringify(request)), retained)
    }),
  }
}

const ok = (data: unknown, transaction: string) => ({ status: 'ok', data, transaction })

describe('a transaction', () => {
  it('is carried out once and answered alike, however often it comes and however often the agent restarts', async () => {
    let run = 0
    const request = fc.record({ verb: fc.constantFrom<Verb>('train', 'reload'), transaction: fc.constantFrom('a', 'b', 'c'), restart: fc.boolean() })
    await fc.assert(fc.asyncProperty(fc.array(request, { maxLength: 12 }), async requests => {
      const path = join(folder, `${String(run++)}.json`)
      let agent = await box({ path })
      const carriedOut: string[] = []
      const asked = new Set<string>()
      for (const { verb, transaction, restart } of requests) {
        if (restart) {
          carriedOut.push(...agent.carriedOut)
          agent = await box({ path })
        }
        asked.add(`${verb} ${transaction}`)
        expect(await agent.ask(verb, { transaction })).toEqual(ok(verb === 'train' ? { started: true } : { reloading: true }, transaction))
      }
      expect([...carriedOut, ...agent.carriedOut]).toHaveLength(asked.size)
    }), { numRuns: 60 })
  })

  it('that failed fails alike, and is not tried again', async () => {
    let busy = true
    const train = () => {
      if (busy) throw new PawlError('COMMAND_INVALID', 'a round is running already')
      return { started: true as const }
    }
    const agent = await box({ train })
    const first = await agent.ask('train', { transaction: 'a' })
    expect(first).toMatchObject({ status: 'error', error: { message: 'a round is running already' }, transaction: 'a' })
    busy = false
    expect(await agent.ask('train', { transaction: 'a' })).toEqual(first)
    expect(await agent.ask('train', { transaction: 'b' })).toMatchObject({ status: 'ok' })
  })

  it('that comes again while it is carried out waits for the one answer', async () => {
    let finish: () => void = () => undefined
    const agent = await box({ train: () => new Promise(resolve => { finish = () => { resolve({ started: true }) } }) })
    void agent.ask('train', { transaction: 'a' })
    await vi.waitFor(() => { expect(agent.carriedOut).toEqual(['train']) }, waiting)
    const again = agent.ask('train', { transaction: 'a' })
    finish()
    expect(await again).toEqual(ok({ started: true }, 'a'))
    expect(agent.carriedOut).toEqual(['train'])
  })

  it('that a power cut interrupted is not carried out again: that it is not known how far it came is the answer', async () => {
    const agent = await box({ train: () => new Promise(() => undefined) })
    void agent.ask('train', { transaction: 'a' })
    await vi.waitFor(() => { expect(agent.carriedOut).toEqual(['train']) }, waiting)
    const after = await box()
    expect(await after.ask('train', { transaction: 'a' })).toMatchObject({ status: 'error', error: { code: 'COMMAND_INTERRUPTED' } })
    expect(after.carriedOut).toEqual([])
  })

  it('of another request is told apart', async () => {
    const agent = await box()
    await agent.ask('train', { transaction: 'a', reason: 'one' })
    expect(await agent.ask('train', { transaction: 'a', reason: 'two' })).toMatchObject({ status: 'error', error: { code: 'COMMAND_INVALID' } })
    expect(await agent.ask('train', { reason: 'one', transaction: 'a' })).toMatchObject({ status: 'ok' })
    expect(await agent.ask('reload', { transaction: 'a' })).toMatchObject({ status: 'ok' })
    expect(agent.carriedOut).toEqual(['train', 'reload'])
  })

  it('leaves the file alone once the agent has stopped: it is another\'s', async () => {
    const path = join(folder, 'answers.json')
    const answers = new Answers({ path, clock: new SetClock(), logger })
    await answers.start()
    let finish: (response: Response) => void = () => undefined
    const asked = { verb: 'promote', transaction: 'a', request: 'x', changes: true }
    const answer = answers.once(asked, () => new Promise(resolve => { finish = resolve }))
    await vi.waitFor(() => readFile(path))
    await answers.stop()
    await rm(path)
    finish({ status: 'ok', data: {} })
    expect(await answer).toMatchObject({ status: 'ok' })
    expect(await readdir(folder)).toEqual([])
  })

  it('is remembered for an hour, over a restart and a clock that jumps', async () => {
    const clock = new SetClock()
    const agent = await box({ clock })
    const asked = async (from: Box) => { await from.ask('train', { transaction: 'a' }); return from.carriedOut.length }
    expect(await asked(agent)).toBe(1)
    clock.ms += 3_599_000
    expect(await asked(agent)).toBe(1)
    clock.jumpMs -= 1e9
    const restarted = await box({ clock })
    expect(await asked(restarted)).toBe(0)
    clock.ms += 3_601_000
    expect(await asked(restarted)).toBe(1)
  })

  it('is one of 200 and of 1 MB: the oldest are forgotten first, on disk as in memory', async () => {
    const agent = await box()
    for (let n = 0; n < 300; n++) await agent.ask('reload', { transaction: String(n) })
    const known = await box()
    for (const n of [100, 299]) await known.ask('reload', { transaction: String(n) })
    expect(known.carriedOut).toEqual([])
    await known.ask('reload', { transaction: '99' })
    expect(known.carriedOut).toEqual(['reload'])

    const huge = await box({ path: join(folder, 'huge.json'), status: () => ({ ...status, device: 'x'.repeat(600_000) }) })
    for (const transaction of ['a', 'b', 'a', 'b']) await huge.ask('status', { transaction })
    expect(huge.carriedOut).toHaveLength(4)
    await huge.ask('status', { transaction: 'b' })
    expect(huge.carriedOut).toHaveLength(4)
  })

  it('is carried out also where nothing can be written, and remembered in memory', async () => {
    await writeFile(join(folder, 'file'), '')
    const agent = await box({ path: join(folder, 'file', 'answers.json') })
    for (let time = 0; time < 2; time++) expect(await agent.ask('train', { transaction: 'a' })).toEqual(ok({ started: true }, 'a'))
    expect(agent.carriedOut).toEqual(['train'])
  })

  it('is not needed: a request without one is carried out each time', async () => {
    const agent = await box()
    for (let time = 0; time < 2; time++) expect(await agent.ask('train')).toEqual({ status: 'ok', data: { started: true } })
    expect(agent.carriedOut).toEqual(['train', 'train'])
  })
})

describe('commands', () => {
  it('answer any payload with what their schema says, or with an error of the catalogue', async () => {
    const agent = await box()
    await fc.assert(fc.asyncProperty(fc.constantFrom(...verbs), fc.oneof(fc.string(), fc.json()), async (verb, text) => {
      const response = await agent.ask(verb, text)
      if (response.status === 'ok') commands[verb].reply.parse(response.data)
      else expect(errorCatalogue).toHaveProperty(response.error.code)
    }), { numRuns: 200 })
  })

  it('are refused by name where the configuration switches them off', async () => {
    const agent = await box({ accepted: parseConfig('{mqtt: {commands: [status]}}', 'pawl.yaml').mqtt.commands })
    expect(await agent.ask('train', { transaction: 'a' })).toEqual({
      status: 'error', transaction: 'a',
      error: { code: 'COMMAND_OFF', message: '"train" is switched off on this box by the key mqtt.commands; accepted are: status' },
    })
    expect(await agent.ask('status')).toMatchObject({ status: 'ok' })
    expect(agent.carriedOut).toEqual(['status'])
    const silent = await box({ accepted: parseConfig('{mqtt: {commands: []}}', 'pawl.yaml').mqtt.commands })
    for (const verb of verbs) expect(await silent.ask(verb)).toMatchObject({ error: { code: 'COMMAND_OFF' } })
    expect(silent.carriedOut).toEqual([])
    expect(() => parseConfig('{mqtt: {commands: [explode]}}', 'pawl.yaml')).toThrow(/mqtt\.commands\.0 is "explode"/)
  })
})

describe.skipIf(!mosquitto)('over mosquitto', () => {
  const started = async (url: string, options: Given) => {
    const reporter = makeReporter(url, folder, options)
    await reporter.start()
    cleanups.push(() => reporter.stop())
    return reporter
  }

  it('a request that comes again after the broker and the agent were away is answered as before, and not carried out again', async () => {
    const port = await freePort()
    const train = vi.fn(handlers.train)
    const asked = async () => {
      const broker = await startMosquitto({ folder, port })
      const watcher = await Watcher.open(broker.url)
      await vi.waitFor(() => { expect(watcher.texts('availability')).toContain('online') }, waiting)
      await watcher.ask('train', '{"transaction":"only once"}')
      await vi.waitFor(() => { expect(watcher.texts('response/train')).toHaveLength(1) }, waiting)
      await watcher.client.endAsync(true)
      await broker.stop()
      return watcher.json('response/train')
    }
    const first = await started(`mqtt://127.0.0.1:${String(port)}`, { handlers: { ...handlers, train } })
    const answer = await asked()
    expect(answer).toEqual(ok({ started: true }, 'only once'))
    expect(await asked()).toEqual(answer)
    await first.stop()
    await started(`mqtt://127.0.0.1:${String(port)}`, { handlers: { ...handlers, train } })
    expect(await asked()).toEqual(answer)
    expect(train).toHaveBeenCalledTimes(1)
  })

  it('who may ask what is said by the access lists of deploy/broker', async () => {
    const lists = await Promise.all(['boxes', 'people'].map(name => readFile(join(import.meta.dirname, `../deploy/broker/${name}.acl`), 'utf8')))
    const [acl, passwords] = [join(folder, 'acl'), join(folder, 'passwords')]
    await writeFile(acl, lists.join('\n'))
    await writeFile(passwords, '')
    for (const user of ['box-7', 'box-8', 'fleet', 'helpdesk', 'screen', 'homeassistant', 'scada']) {
      execFileSync('mosquitto_passwd', ['-b', passwords, user, 'secret'], { stdio: 'pipe' })
    }
    const { url, stop } = await startMosquitto({
      folder, port: await freePort(), lines: ['allow_anonymous false', `password_file ${passwords}`, `acl_file ${acl}`],
    })
    cleanups.push(stop)
    const login = (username: string) => ({ username, password: 'secret' })
    const asBox = { username: 'box-7', password: () => Promise.resolve('secret') }
    const carriedOut: string[] = []
    await started(url, {
      connection: asBox, homeAssistant: 'homeassistant',
      handlers: { ...handlers, train: ({ reason }) => { carriedOut.push(reason); return { started: true } } },
    })
    const sparkplug = new Sparkplug({
      group: 'plant', primaryHost: 'scada', device: 'box-7', cameras: [], connection: { url, device: 'box-7', ...plainly, ...asBox }, folder,
      clock: systemClock, random: Math.random, logger,
    })
    sparkplug.start()
    cleanups.push(() => sparkplug.stop())
    const watchers = new Map<string, Watcher>()
    for (const user of ['fleet', 'helpdesk', 'screen', 'homeassistant', 'scada', 'box-8']) {
      const watcher = await Watcher.open(url, { ...login(user), filter: '#' })
      cleanups.push(() => watcher.client.endAsync(true))
      watchers.set(user, watcher)
    }
    const of = (user: string) => watchers.get(user)!
    await vi.waitFor(() => { expect(of('fleet').texts('availability')).toEqual(['online']) }, waiting)
    for (const [user, watcher] of watchers) await watcher.ask('train', JSON.stringify({ transaction: user, reason: user }))
    for (const user of ['helpdesk', 'screen', 'box-8']) await of(user).ask('status', JSON.stringify({ transaction: user }))
    // What comes after all of them has been judged by the broker after them.
    await of('fleet').ask('reload', '{"transaction":"last"}')
    await vi.waitFor(() => { expect(of('fleet').texts('response/reload')).toHaveLength(1) }, waiting)

    expect(carriedOut).toEqual(['fleet', 'homeassistant'])
    expect(of('fleet').texts('response/status').map(text => (JSON.parse(text) as Response).transaction)).toEqual(['helpdesk'])
    for (const user of ['helpdesk', 'screen', 'homeassistant']) expect(of(user).texts('availability')).toEqual(['online'])
    expect(of('homeassistant').texts('homeassistant/device/pawl_box-7/config')).toHaveLength(1)
    expect(of('box-8').messages).toEqual([])

    await of('homeassistant').client.publishAsync('homeassistant/status', 'online', { qos: 1 })
    await vi.waitFor(() => { expect(of('homeassistant').texts('homeassistant/device/pawl_box-7/config')).toHaveLength(2) }, waiting)

    const births = () => of('scada').messages.filter(({ topic }) => topic === 'spBv1.0/plant/NBIRTH/box-7').length
    const { topic, payload } = new SparkplugHost({ group: 'plant', edgeNode: 'box-7' }).rebirth()
    await of('scada').client.publishAsync('spBv1.0/STATE/scada', '{"online":true,"timestamp":1}', { qos: 1, retain: true })
    await vi.waitFor(() => { expect(births()).toBe(1) }, waiting)
    await of('fleet').client.publishAsync(topic, payload, { qos: 1 })
    await of('scada').client.publishAsync(topic, payload, { qos: 1 })
    await vi.waitFor(() => { expect(births()).toBe(2) }, waiting)

    // Nobody can speak in the name of another box.
    await of('box-8').client.publishAsync('pawl/box-7/health', '{}', { qos: 1, retain: true })
    await of('box-8').client.publishAsync('pawl/box-8/health', '{}', { qos: 1, retain: true })
    await vi.waitFor(() => { expect(of('fleet').texts('pawl/box-8/health')).toEqual(['{}']) }, waiting)
    expect(of('fleet').texts('health')).not.toContain('{}')
  })
})
