/** A fleet with its own broker: real mosquitto, real openssl, real boxes; 30 s. */
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import { stringify } from 'yaml'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { AgentEvent } from '../../agent/events.js'
import type { Reporter } from '../../agent/report/reporter.js'
import { makeReporter, nothingBefore, problem, Watcher, type Given } from '../reporting.js'
import { Daemon } from '../site/daemon.js'
import { mosquitto } from '../site/mosquitto.js'
import { Site } from './site.js'

const waiting = { timeout: 60_000, interval: 20 }
const cleanups: (() => Promise<unknown>)[] = []
let folder = ''
let site: Site

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-deploy-'))
  site = await Site.in(join(folder, 'site'))
  await Promise.all(['box-7', 'box-8'].map(device => site.enrolled(device)))
  await site.broker.start()
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

afterAll(async () => {
  await site.broker.stop()
  await rm(folder, { recursive: true, force: true })
})

/** A reporter that speaks as a box does; `events` is what it tells its agent. */
async function box(device: string, given: Given = {}, at = site): Promise<{ reporter: Reporter; events: AgentEvent[] }> {
  const events: AgentEvent[] = []
  const reporter = makeReporter(at.url, join(folder, `reports-${device}`), {
    device, former: nothingBefore, ...given,
    connection: { tls: at.tlsOf(device), longestWaitMs: 500, ...given.connection },
    // As the agent does, it hears of its own connection.
    emit: event => {
      events.push(event)
      reporter.accept(event)
    },
  })
  await reporter.start()
  cleanups.push(() => reporter.stop())
  return { reporter, events }
}

async function person(user: 'fleet' | 'screen', options: IClientOptions = {}, at = site): Promise<Watcher> {
  const watcher = await Watcher.open(at.people, { ...await at.as(user), ...options })
  cleanups.push(() => watcher.client.endAsync(true))
  return watcher
}

/** A client of any kind, with the certificate of a box or without. */
async function client(device: string | null, options: IClientOptions = {}, url = site.url): Promise<MqttClient> {
  const { ca, cert, key } = site.tlsOf(device ?? '')
  const own = device === null ? {} : { cert: await readFile(cert), key: await readFile(key) }
  const made = await connectAsync(url, { ca: await readFile(ca), ...own, reconnectPeriod: 0, ...options })
  cleanups.push(() => made.endAsync(true))
  return made
}

const connected = (events: readonly AgentEvent[]) => events.filter(event => event.type === 'broker' && event.state === 'connected').length
const reasons = (events: readonly AgentEvent[]) => events.flatMap(event => (event.type === 'broker' && event.state === 'disconnected' ? [event.reason] : []))
/** What was told of problems, in its order. */
const problems = (watcher: Watcher, topic = 'event') => watcher.texts(topic).flatMap(text => (JSON.parse(text) as { message?: string }).message ?? [])
const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe', cwd: folder })

describe.skipIf(!mosquitto)('a fleet with its own broker', () => {
  it('hears an enrolled box, and asks it', async () => {
    const config = join(folder, 'pawl.yaml')
    await writeFile(config, stringify({
      device: 'box-7', data: join(folder, 'data'), labels: { import: '' }, dashboard: { port: 0 }, monitoring: { port: 0 },
      mqtt: { broker: site.url, tls: site.tlsOf('box-7') },
    }))
    const fleet = await person('fleet')
    const daemon = new Daemon({ config })
    cleanups.push(() => daemon.cut())
    await vi.waitFor(() => { expect(fleet.texts('availability').at(-1)).toBe('online') }, waiting)
    await fleet.ask('status', '{"transaction": "1"}')
    await vi.waitFor(() => { expect(fleet.json('response/status')).toMatchObject({ status: 'ok', data: { device: 'box-7' }, transaction: '1' }) }, waiting)
    expect(await daemon.end()).toEqual({ code: 0, signal: null })
    await vi.waitFor(() => { expect(fleet.texts('availability').at(-1)).toBe('offline') }, waiting)
    expect(await site.doctor(config)).toMatch(/✓ broker +\S+ lets this box in\n✓ certificates +that of this box is for "box-7", until \S+Z\n/)
  })

  it('keeps a box to its own topics, and people to theirs', async () => {
    const [fleet, screen, own, other] = [await person('fleet'), await person('screen'), await client('box-7'), await client('box-8')]
    const heard: string[] = []
    own.on('message', topic => { heard.push(topic) })
    await own.subscribeAsync('#', { qos: 1 })
    for (const topic of ['pawl/box-7/availability', 'pawl/box-8/event', 'pawl/box-8/request/train', 'homeassistant/device/pawl_box-8/config', 'bridges/site-1', 'pawl/box-7/event']) {
      await own.publishAsync(topic, 'from box-7', { qos: 1 })
    }
    await other.publishAsync('pawl/box-8/health', 'of box-8', { qos: 1, retain: true })
    await other.publishAsync('pawl/box-8/model/offer', 'for all', { qos: 1 })
    await screen.client.publishAsync('pawl/box-7/request/train', 'from a screen', { qos: 1 })
    await fleet.client.publishAsync('pawl/box-8/request/status', 'for box-8', { qos: 1 })
    await fleet.client.publishAsync('pawl/box-7/request/status', 'for box-7', { qos: 1 })
    await vi.waitFor(() => { expect(heard).toContain('pawl/box-7/request/status') }, waiting)
    await vi.waitFor(() => { expect(fleet.texts('pawl/box-8/model/offer')).toEqual(['for all']) }, waiting)
    expect([...new Set(heard)].sort()).toEqual(['pawl/box-7/availability', 'pawl/box-7/request/status', 'pawl/box-8/model/offer'])
    expect(fleet.messages.filter(({ text }) => text === 'from box-7').map(({ topic }) => topic)).toEqual(['availability', 'event'])
    await other.publishAsync('pawl/box-8/health', '', { qos: 1, retain: true })
  })

  it('lets nobody in without a certificate of its authority, or a password', async () => {
    const stranger = await Site.in(join(folder, 'stranger'))
    const { cert, key } = await stranger.enrolled('box-7')
    await expect(client(null, { connectTimeout: 3000 })).rejects.toThrow()
    await expect(client(null, { username: 'box-7', password: 'hush', connectTimeout: 3000 })).rejects.toThrow()
    await expect(client(null, { cert: await readFile(cert), key: await readFile(key), connectTimeout: 3000 })).rejects.toThrow()
    await expect(client(null, {}, site.people)).rejects.toThrow(/not authori[sz]ed/i)
    // What opens one door does not open the other.
    await expect(client('box-7', { username: 'box-7' }, site.people)).rejects.toThrow(/not authori[sz]ed/i)
    const { reporter, events } = await box('box-7', { connection: { tls: { ...site.tlsOf('box-7'), cert, key } } })
    await vi.waitFor(() => { expect(reasons(events).join()).toMatch(/have it signed by the authority that the broker trusts/) }, waiting)
    expect(reporter.health?.wrong.join()).toMatch(/the broker is away: .*have it signed/)
  })

  it('renews a certificate without a lost message', async () => {
    const listener = await person('fleet', { clientId: 'listener', clean: false })
    const { reporter, events } = await box('box-7')
    await vi.waitFor(() => { expect(connected(events)).toBe(1) }, waiting)
    reporter.accept(problem('before'))
    await vi.waitFor(() => { expect(problems(listener)).toContain('before') }, waiting)
    const { cert } = site.tlsOf('box-7')
    const former = new X509Certificate(await readFile(cert)).serialNumber
    await site.enrolled('box-7', { renew: true })
    reporter.accept(problem('while the former is still in use'))
    await vi.waitFor(() => { expect(problems(listener)).toContain('while the former is still in use') }, waiting)
    expect(connected(events)).toBe(1)

    // Away with the former one: who comes back does so with the new one.
    expect((await site.ca('revoke', 'box-7', former)).code).toBe(0)
    await site.bring('crl.pem')
    await listener.client.endAsync()
    await site.broker.stop()
    await vi.waitFor(() => { expect(reasons(events)).not.toHaveLength(0) }, waiting)
    reporter.accept(problem('while the broker was away'))
    await site.broker.start()
    await vi.waitFor(() => { expect(connected(events)).toBe(2) }, waiting)
    reporter.accept(problem('after'))
    const again = await person('fleet', { clientId: 'listener', clean: false })
    await vi.waitFor(() => { expect(problems(again)).toContain('after') }, waiting)
    expect([...new Set(problems(again))].slice(-2)).toEqual(['while the broker was away', 'after'])
    expect(again.texts('health')).not.toHaveLength(0)
    await vi.waitFor(() => { expect(reporter.health?.wrong).toEqual([]) }, waiting)
  })

  it('has a revoked box out once the broker has read its list and the connection has ended, and its name on other hardware', async () => {
    const { reporter, events } = await box('box-8')
    await vi.waitFor(() => { expect(connected(events)).toBe(1) }, waiting)
    expect((await site.ca('revoke', 'box-8')).code).toBe(0)
    await site.bring('crl.pem')
    site.broker.tell('SIGHUP')
    // What stands, stands: mosquitto looks at certificates as connections begin. One that comes later is refused.
    await vi.waitFor(async () => { await expect(client('box-8', { clientId: 'another', connectTimeout: 3000 })).rejects.toThrow() }, { ...waiting, interval: 200 })
    const fleet = await person('fleet')
    reporter.accept(problem('still here'))
    await vi.waitFor(() => { expect(problems(fleet, 'pawl/box-8/event')).toContain('still here') }, waiting)
    // Whoever takes its client id ends its connection.
    await (await person('fleet', { clientId: 'pawl-box-8' })).client.endAsync()
    await vi.waitFor(() => { expect(reasons(events).join()).toContain('the broker\'s list has this box\'s certificate as revoked') }, waiting)
    expect(connected(events)).toBe(1)
    reporter.accept(problem('said while it was out'))

    // Other hardware: a new key under the same name. Here its folder is that of the old.
    await rm(site.at('box-8'), { recursive: true })
    await site.enrolled('box-8')
    await vi.waitFor(() => { expect(connected(events)).toBe(2) }, waiting)
    await vi.waitFor(() => { expect(problems(fleet, 'pawl/box-8/event')).toContain('said while it was out') }, waiting)
  })

  it('says what is wrong with its own certificate, and comes back by itself when it is mended', async () => {
    const tls = { ...site.tlsOf('box-7'), cert: join(folder, 'own.crt'), key: join(folder, 'own.key') }
    const { cert: good } = site.tlsOf('box-7')
    const authority = ['-CA', site.at('authority', 'ca.crt'), '-CAkey', site.at('authority', 'ca.key'), '-CAcreateserial']
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=box-7', '-keyout', 'own.key', '-out', 'own.csr')
    openssl('x509', '-req', '-in', 'own.csr', ...authority, '-days', '-1', '-out', 'own.crt')
    const { reporter, events } = await box('box-7', { connection: { tls } })
    await vi.waitFor(() => { expect(reasons(events).join()).toContain('the broker takes this box\'s certificate for expired') }, waiting)
    expect(reasons(events).join()).toMatch(/the certificate of this box \(".*own\.crt"\) ended at \S+Z, and the clock .* says \S+Z: renew it/)
    // Of another key.
    await copyFile(good, tls.cert)
    await vi.waitFor(() => { expect(reasons(events).join()).toMatch(/mqtt\.tls\.key \(".*own\.key"\) does not fit the certificate/) }, waiting)
    await writeFile(tls.key, 'no key')
    await vi.waitFor(() => { expect(reasons(events).join()).toMatch(/own\.key", which holds no key in PEM/) }, waiting)
    await rm(tls.key)
    await vi.waitFor(() => { expect(reasons(events).join()).toMatch(/mqtt\.tls\.key is ".*own\.key", which cannot be read/) }, waiting)
    expect(reporter.health?.state).toBe('degraded')
    await copyFile(good, tls.key)
    await vi.waitFor(() => { expect(connected(events)).toBe(1) }, waiting)
    await vi.waitFor(() => { expect(reporter.health?.wrong).toEqual([]) }, waiting)
  })

  it('says both times where the clock of the box is behind, and that a certificate ends soon', async () => {
    const behindMs = 400 * 86_400_000
    const behind = { nowMs: () => Date.now() - behindMs, monotonicMs: () => performance.now() }
    const { reporter, events } = await box('box-7', { clock: behind, connection: { tls: { ...site.tlsOf('box-8'), ca: site.at('authority', 'ca.crt') } } })
    // Node looks at the clock of the machine, which is right here: the connection stands, and the box says what it makes of its files.
    await vi.waitFor(() => { expect(connected(events)).toBe(1) }, waiting)
    expect(reporter.health?.wrong.join()).toMatch(/begins at \S+Z: set the clock, or let NTP do it/)
    await reporter.stop()
    const later = { nowMs: () => Date.now() + 80 * 86_400_000, monotonicMs: () => performance.now() }
    const soon = await box('box-7', { clock: later })
    const { health } = soon.reporter
    expect(health?.wrong.join()).toMatch(/the certificate of this box .* ends at \S+Z: renew it \(pawl enroll --renew\)/)
  })

  it('holds events back from a broker that drops them, and sends them once its access list is mended', async () => {
    const acl = site.at('pawl', 'boxes.acl')
    const right = await readFile(acl, 'utf8')
    cleanups.push(async () => {
      await writeFile(acl, right)
      site.broker.tell('SIGHUP')
    })
    await writeFile(acl, right.replace('pattern write pawl/%u/#', 'pattern write pawl/boxes/%u/#'))
    site.broker.tell('SIGHUP')
    const fleet = await person('fleet')
    const { reporter, events } = await box('box-7', { echoMs: 500 })
    await vi.waitFor(() => { expect(connected(events)).toBe(1) }, waiting)
    reporter.accept(problem('nobody may hear this'))
    const needed = 'must let this box write pawl/box-7/# and read pawl/box-7/availability'
    await vi.waitFor(() => { expect(reporter.health?.wrong.join()).toContain(needed) }, waiting)
    expect(events).toContainEqual(expect.objectContaining({ type: 'problem', code: 'BROKER_REFUSES' }))
    expect(reporter.health?.outbox.waiting).toBeGreaterThan(0)
    await writeFile(acl, right)
    site.broker.tell('SIGHUP')
    await vi.waitFor(() => { expect(problems(fleet)).toContain('nobody may hear this') }, waiting)
    await vi.waitFor(() => { expect(fleet.texts('info').length * fleet.texts('health').length).toBeGreaterThan(0) }, waiting)
    await vi.waitFor(() => { expect(reporter.health?.wrong).toEqual([]) }, waiting)
  })

  it('says whose certificate a box shows that calls itself otherwise: in doctor, and where its broker takes nothing', async () => {
    const tls = site.tlsOf('box-8')
    const differs = 'is for "box-8", and `device` is "box-9": the access list of a broker goes by the certificate; set `device` to "box-8", or have a certificate for "box-9" (pawl enroll --device box-9)'
    const { reporter, events } = await box('box-9', { echoMs: 200, connection: { tls } })
    await vi.waitFor(() => { expect(connected(events)).toBe(1) }, waiting)
    await vi.waitFor(() => {
      expect(events).toContainEqual(expect.objectContaining({ type: 'problem', code: 'BROKER_REFUSES', message: expect.stringContaining(differs) as string }))
    }, waiting)
    expect(reporter.health?.wrong.join()).toContain(differs)
    const config = join(folder, 'box-9.yaml')
    await writeFile(config, stringify({ device: 'box-9', data: join(folder, 'data-9'), labels: { import: '' }, mqtt: { broker: site.url, tls } }))
    expect(await site.doctor(config)).toContain(`✗ certificates      the certificate of this box ("${tls.cert}") ${differs}\n`)
  })

  it('reaches the centre over a bridge: what is retained, events, requests and answers, and nothing in circles', async () => {
    const centre = await Site.in(join(folder, 'centre'))
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=site-1', '-keyout', site.at('pawl', 'site-1.key'), '-out', 'site-1.csr')
    expect((await centre.ca('sign', join(folder, 'site-1.csr'), 'site-1')).code).toBe(0)
    await copyFile(centre.at('site-1.crt'), site.at('pawl', 'site-1.crt'))
    await copyFile(centre.at('authority', 'ca.crt'), site.at('pawl', 'centre-ca.crt'))
    const acl = await readFile(centre.at('pawl', 'boxes.acl'), 'utf8')
    await writeFile(centre.at('pawl', 'boxes.acl'), acl.replace(/^#(user site-1|topic )/gm, '$1').replaceAll('box-1', 'box-7'))
    await site.broker.stop()
    await site.configure('bridge.conf', text => text.replace('centre.example:8883', `localhost:${String(centre.ports.boxes)}`).replace('restart_timeout 2 60', 'restart_timeout 1 2'))
    await site.broker.start()
    cleanups.push(async () => {
      await rm(site.at('conf.d', 'bridge.conf'))
      await centre.broker.stop()
      await site.broker.stop()
      await site.broker.start()
    })
    const { reporter, events } = await box('box-7')
    const neighbour = await box('box-8')
    await vi.waitFor(() => { expect(connected(events) * connected(neighbour.events)).toBe(1) }, waiting)

    // The centre comes later than what the box retained.
    await centre.broker.start()
    const fleet = await person('fleet', {}, centre)
    await vi.waitFor(() => { expect(fleet.texts('availability').at(-1)).toBe('online') }, waiting)
    await vi.waitFor(() => { expect(fleet.json('health')).toMatchObject({ state: 'ok' }) }, waiting)
    const local = await person('fleet')
    reporter.accept(problem('over the bridge'))
    await vi.waitFor(() => { expect(problems(fleet)).toContain('over the bridge') }, waiting)
    await fleet.ask('status', '{"transaction": "far"}')
    await vi.waitFor(() => { expect(fleet.json('response/status')).toMatchObject({ status: 'ok', transaction: 'far' }) }, waiting)
    // Everything came once on both sides; a box that the centre's list does not name is not there.
    for (const watcher of [fleet, local]) {
      await vi.waitFor(() => { expect(watcher.json('response/status')).toMatchObject({ transaction: 'far' }) }, waiting)
      await vi.waitFor(() => { expect(problems(watcher)).toContain('over the bridge') }, waiting)
      expect(watcher.texts('response/status')).toHaveLength(1)
      expect(problems(watcher).filter(message => message === 'over the bridge')).toHaveLength(1)
    }
    expect(fleet.messages.filter(({ topic }) => topic.includes('box-8'))).toEqual([])
  })
})
