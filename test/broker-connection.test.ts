import { execFileSync } from 'node:child_process'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { systemClock } from '../agent/lib/clock.js'
import { createLogger } from '../agent/lib/logger.js'
import { Link, type LinkOptions, type Message } from '../agent/report/link.js'
import { freePort } from './free-port.js'
import { mosquitto, startMosquitto } from './site/mosquitto.js'

const waiting = { timeout: 60_000, interval: 20 }
const cleanups: (() => Promise<unknown>)[] = []
const none = { ca: '', cert: '', key: '' }
let folder = ''
let port = 0

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-broker-'))
  port = await freePort()
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(folder, { recursive: true, force: true })
})

const at = (name: string) => join(folder, name)
const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe', cwd: folder })

/** An authority, and a certificate that it signed: `<name>.crt`, `<name>.key`. */
function authority(name: string): void {
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.crt`)
}

async function certificate(name: string, by: string, { days = 2, host = '127.0.0.1' } = {}): Promise<void> {
  await writeFile(at(`${name}.ext`), `subjectAltName=IP:${host}\n`)
  openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`)
  openssl('x509', '-req', '-in', `${name}.csr`, '-CA', `${by}.crt`, '-CAkey', `${by}.key`, '-CAcreateserial', '-days', String(days), '-extfile', `${name}.ext`, '-out', `${name}.crt`)
}

/** One that begins in 2100: only `openssl ca` gives it another begin than now. */
async function early(name: string, by: string): Promise<void> {
  await certificate(name, by)
  await writeFile(at('index.txt'), '')
  await writeFile(at('ca.cnf'), '[ca]\ndefault_ca = a\n[a]\ndatabase = index.txt\nnew_certs_dir = .\nrand_serial = yes\ndefault_md = sha256\npolicy = p\n[p]\ncommonName = supplied\n')
  openssl(
    'ca', '-batch', '-notext', '-config', 'ca.cnf', '-cert', `${by}.crt`, '-keyfile', `${by}.key`, '-in', `${name}.csr`, '-extfile', `${name}.ext`,
    '-startdate', '21000101000000Z', '-enddate', '21010101000000Z', '-out', `${name}.crt`,
  )
}

async function broker(...lines: string[]): Promise<() => Promise<void>> {
  const { stop } = await startMosquitto({ folder, port, lines })
  cleanups.push(stop)
  return stop
}

const farewell: Message = { topic: 'will', payload: 'offline', qos: 1, retained: true }

/** A link that says how it fares. */
function link(url: string, options: Partial<LinkOptions> = {}) {
  const said: string[] = []
  const made = new Link({
    url, device: null, username: '', password: () => Promise.resolve(''), tls: none, protocol: '3.1.1', longestWaitMs: 500, clientId: 'pawl-box-7', will: () => farewell,
    subscriptions: () => [{ filter: 'request/#', essential: true }], onUp: () => { said.push('up') }, onDown: () => { said.push('down') },
    onAway: reason => { said.push(reason) }, onMessage: () => undefined, logger: createLogger({ level: 'silent' }), clock: systemClock, random: Math.random, ...options,
  })
  made.start()
  cleanups.push(() => made.stop(farewell))
  return { made, said }
}

const anonymous = 'allow_anonymous true'

describe.skipIf(!mosquitto)('the connection to the broker', () => {
  for (const protocol of ['3.1.1', '5'] as const) {
    for (const transport of ['mqtt', 'ws'] as const) {
      it(`speaks MQTT ${protocol} over ${transport === 'ws' ? 'WebSocket' : 'TCP'}`, async () => {
        // One that listens for WebSocket alone does not start (mosquitto 2.0.11).
        const beside = `listener ${String(await freePort())} 127.0.0.1`
        await broker(...transport === 'ws' ? ['protocol websockets', beside] : [], anonymous)
        const { made, said } = link(`${transport}://127.0.0.1:${String(port)}`, { protocol })
        await vi.waitFor(() => { expect(said).toEqual(['up']) }, waiting)
        await made.publish({ topic: 'event', payload: 'it arrived', qos: 1, retained: false })
      })
    }
  }

  it('gives user and password, and says that they are refused', async () => {
    execFileSync('mosquitto_passwd', ['-c', '-b', at('passwords'), 'box', 'hush'], { stdio: 'pipe' })
    await broker('allow_anonymous false', `password_file ${at('passwords')}`)
    const { said } = link(`mqtt://127.0.0.1:${String(port)}`, { username: 'box', password: () => Promise.resolve('hush') })
    await vi.waitFor(() => { expect(said).toEqual(['up']) }, waiting)
    const refused = link(`mqtt://127.0.0.1:${String(port)}`, { username: 'box', password: () => Promise.resolve('wrong'), clientId: 'other' })
    await vi.waitFor(() => { expect(refused.said.join()).toMatch(/Not authori[sz]ed|Bad User/i) }, waiting)
    expect(refused.said.join()).not.toContain('wrong')
  })

  it('trusts a broker by its authority alone, and shows its own certificate where it is asked to', async () => {
    authority('authority')
    authority('stranger')
    await certificate('broker', 'authority')
    await certificate('box', 'authority')
    await certificate('forged', 'stranger')
    await broker(anonymous, `cafile ${at('authority.crt')}`, `certfile ${at('broker.crt')}`, `keyfile ${at('broker.key')}`, 'require_certificate true')
    const url = `mqtts://127.0.0.1:${String(port)}`
    const files = (ca: string, own = '') => ({ ca: at(`${ca}.crt`), cert: own && at(`${own}.crt`), key: own && at(`${own}.key`) })

    const { said } = link(url, { tls: files('authority', 'box') })
    await vi.waitFor(() => { expect(said).toEqual(['up']) }, waiting)
    for (const [tls, reason] of [
      [files('stranger', 'box'), /name who signed the broker's certificate in mqtt\.tls\.ca/],
      [none, /name who signed the broker's certificate in mqtt\.tls\.ca/],
      [files('authority'), /wants? a certificate|closed/],
      [files('authority', 'forged'), /have it signed by the authority that the broker trusts|closed/],
      [files('nobody', 'box'), /mqtt\.tls\.ca is ".*nobody\.crt", which cannot be read/],
    ] as const) {
      const refused = link(url, { tls, clientId: 'other' })
      await vi.waitFor(() => { expect(refused.said.join()).toMatch(reason) }, waiting)
      expect(refused.said).not.toContain('up')
    }
  })

  it('is up again with a certificate that took the place of an expired one, and says what was wrong before', async () => {
    authority('authority')
    await certificate('expired', 'authority', { days: -1 })
    await early('early', 'authority')
    await certificate('elsewhere', 'authority', { host: '192.0.2.1' })
    await certificate('good', 'authority')
    const serve = async (name: string) => {
      for (const kind of ['crt', 'key']) await copyFile(at(`${name}.${kind}`), at(`broker.${kind}`))
      return broker(anonymous, `certfile ${at('broker.crt')}`, `keyfile ${at('broker.key')}`)
    }
    const stop = await serve('expired')
    const { said } = link(`mqtts://127.0.0.1:${String(port)}`, { tls: { ...none, ca: at('authority.crt') } })
    const both = (word: string) => new RegExp(`: the broker's certificate ${word} at \\S+Z, and the clock of this box says \\S+Z: `)
    await vi.waitFor(() => { expect(said.join()).toMatch(both('ended')) }, waiting)
    expect(said.join()).toContain('give the broker a new one, or set the clock')
    await stop()
    const stopEarly = await serve('early')
    await vi.waitFor(() => { expect(said.join()).toMatch(both('begins')) }, waiting)
    expect(said.join()).toContain('set the clock, or let NTP do it')
    await stopEarly()
    const stopOther = await serve('elsewhere')
    await vi.waitFor(() => { expect(said.join()).toMatch(/mqtt\.broker must name the host that its certificate is for/) }, waiting)
    await stopOther()
    await serve('good')
    await vi.waitFor(() => { expect(said.at(-1)).toBe('up') }, waiting)
  })

  it('comes back to a broker that was away for long within the longest wait', async () => {
    const { said } = link(`mqtt://127.0.0.1:${String(port)}`, { longestWaitMs: 400 })
    await vi.waitFor(() => { expect(said.join()).toContain('ECONNREFUSED') }, waiting)
    await new Promise(resolve => setTimeout(resolve, 3000))
    await broker(anonymous)
    await vi.waitFor(() => { expect(said.at(-1)).toBe('up') }, waiting)
    // What is away is said once, not with every try.
    expect(said).toHaveLength(2)
  })

  it('gives the password that its file holds by now, at every try', async () => {
    execFileSync('mosquitto_passwd', ['-c', '-b', at('passwords'), 'box', 'new'], { stdio: 'pipe' })
    await broker('allow_anonymous false', `password_file ${at('passwords')}`)
    let password = 'old'
    const { said } = link(`mqtt://127.0.0.1:${String(port)}`, { username: 'box', password: () => Promise.resolve(password) })
    await vi.waitFor(() => { expect(said.join()).toMatch(/Not authori[sz]ed|Bad User/i) }, waiting)
    password = 'new'
    await vi.waitFor(() => { expect(said.at(-1)).toBe('up') }, waiting)
  })

  it('says what the broker does not take, and goes on (MQTT 5 alone tells it)', async () => {
    await writeFile(at('acl'), 'topic read request/#\ntopic write allowed\n')
    await broker(anonymous, `acl_file ${at('acl')}`)
    const { made, said } = link(`mqtt://127.0.0.1:${String(port)}`, { protocol: '5' })
    await vi.waitFor(() => { expect(said).toEqual(['up']) }, waiting)
    await expect(made.publish({ topic: 'forbidden', payload: 'x', qos: 1, retained: true })).rejects.toMatchObject({ code: 'BROKER_REFUSES', message: expect.stringContaining('forbidden') as string })
    await made.publish({ topic: 'allowed', payload: 'x', qos: 1, retained: false })
    expect(said).toEqual(['up'])
  })

  it.each(['3.1.1', '5'] as const)('says of two boxes of one name what is wrong, over MQTT %s', async protocol => {
    await broker(anonymous)
    const both = [1, 2].map(() => link(`mqtt://127.0.0.1:${String(port)}`, { protocol, longestWaitMs: 100 }))
    await vi.waitFor(() => { for (const { said } of both) expect(said.join()).toContain('again and again: is there another box of this name?') }, waiting)
  })

  it('ends when it is told to while a try is prepared', async () => {
    await broker(anonymous)
    const { made, said } = link(`mqtt://127.0.0.1:${String(port)}`, { will: () => new Promise(resolve => { setTimeout(() => { resolve(farewell) }, 100) }) })
    await new Promise(resolve => setTimeout(resolve, 30))
    const beganMs = performance.now()
    await made.stop(farewell)
    expect(performance.now() - beganMs).toBeLessThan(10_000)
    await new Promise(resolve => setTimeout(resolve, 300))
    expect(said).toEqual([])
  })

  it('gives up soon on a broker that accepts and says nothing, and is up soon after it speaks', async () => {
    const sockets: Socket[] = []
    const mute = createServer(socket => { sockets.push(socket.on('error', () => undefined)) })
    await new Promise<void>(resolve => { mute.listen(port, '127.0.0.1', resolve) })
    const { said } = link(`mqtt://127.0.0.1:${String(port)}`)
    await vi.waitFor(() => { expect(sockets.length).toBeGreaterThan(1) }, { ...waiting, timeout: 20_000 })
    expect(said.join()).toMatch(/connack timeout/i)
    for (const socket of sockets) socket.destroy()
    await new Promise(resolve => { mute.close(resolve) })
    await broker(anonymous)
    await vi.waitFor(() => { expect(said.at(-1)).toBe('up') }, waiting)
  })

  it('gives a slow line its time', async () => {
    await broker(anonymous)
    const sockets: Socket[] = []
    const slow = createServer(from => {
      const to = connect(port, '127.0.0.1')
      sockets.push(from.on('error', () => undefined), to.on('error', () => undefined))
      from.on('data', bytes => { setTimeout(() => to.write(bytes), 1100) }).on('close', () => to.destroy())
      to.on('data', bytes => { setTimeout(() => from.write(bytes), 1100) }).on('close', () => from.destroy())
    })
    await new Promise<void>(resolve => { slow.listen(0, '127.0.0.1', resolve) })
    cleanups.push(() => {
      for (const socket of sockets) socket.destroy()
      return new Promise(resolve => { slow.close(resolve) })
    })
    const { said } = link(`mqtt://127.0.0.1:${String((slow.address() as AddressInfo).port)}`)
    await vi.waitFor(() => { expect(said.at(-1)).toBe('up') }, waiting)
    // Known to be slow by now: the next try is given its time at once.
    for (const socket of sockets.splice(0)) socket.destroy()
    await vi.waitFor(() => { expect(said).toContain('down') }, waiting)
    await vi.waitFor(() => { expect(said.at(-1)).toBe('up') }, waiting)
    expect(sockets).toHaveLength(2)
  })
})
