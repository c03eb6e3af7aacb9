/** The view of a fleet over a real broker: what its server says, how commands are answered, the command line. */
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { connectAsync } from 'mqtt'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { AskReport } from '../agent/fleet/answers.js'
import { Boxes, rowOf } from '../agent/fleet/boxes.js'
import type { ChangesMessage } from '../agent/fleet/changes.js'
import { fleetConfig } from '../agent/fleet/config.js'
import { Watch, type BrokerState } from '../agent/fleet/watch.js'
import { PawlError } from '../agent/errors.js'
import { systemClock } from '../agent/lib/clock.js'
import { createLogger } from '../agent/lib/logger.js'
import { Link } from '../agent/report/link.js'
import { hashOf } from '../agent/web/access.js'
import { Metrics } from '../agent/metrics/metrics.js'
import { freePort } from './free-port.js'
import { serve as served, simulate as simulated, type Served } from './fleet/fleet.js'
import type { Simulation, SimulationOptions } from './fleet/simulate.js'
import { Mosquitto, mosquitto } from './site/mosquitto.js'

const main = join(import.meta.dirname, '../dist/agent/main.js')
const waiting = { timeout: 60_000, interval: 50 }
const cleanups: (() => Promise<unknown>)[] = []
let folder = ''
let broker: Mosquitto

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-fleet-'))
  broker = await Mosquitto.in(folder)
  await broker.start()
  cleanups.push(() => broker.stop('SIGKILL'))
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(folder, { recursive: true, force: true })
})

async function simulate(boxes: number, more: Partial<SimulationOptions> = {}): Promise<Simulation> {
  const simulation = await simulated(broker.url, boxes, more)
  cleanups.push(() => simulation.stop())
  return simulation
}

async function serve(options: Partial<Served> = {}): Promise<string> {
  const { url, fleet } = await served({ folder, broker: broker.url, ...options })
  cleanups.push(() => fleet.stop())
  return url
}

const get = async <T>(url: string, init: RequestInit = {}) => await (await fetch(url, init)).json() as T
const all = async (url: string) => (await get<{ at: string; message: ChangesMessage }>(`${url}/api/boxes`)).message
const post = (url: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(url, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })

interface Ended { code: number | null; stdout: string; stderr: string }

async function pawl(...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [main, 'fleet', ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  const code = new Promise<number | null>(resolve => child.once('close', resolve))
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  return { code: await code, stdout, stderr }
}

describe.skipIf(!mosquitto)('the server of a fleet', () => {
  it('knows every box of the broker, of one with a short queue too, and all that each retains', async () => {
    await broker.stop()
    await broker.configure('allow_anonymous true\nmax_queued_messages 100\nmax_inflight_messages 5')
    await broker.start()
    const { boxes } = await simulate(300)
    const url = await serve()
    const { rows } = await all(url)
    expect(rows.map(({ device }) => device).sort()).toEqual(boxes.map(({ device }) => device))
    for (const row of rows) expect(row).toMatchObject({ online: true, mode: 'follow', version: expect.any(String) as string, cameras: 2, drift: expect.any(String) as string })
    const one = await get<{ told: Record<string, unknown>; cameras: unknown[]; retained: Record<string, string> }>(`${url}/api/boxes/box-00002`)
    expect(one.told.health).toMatchObject({ cameras: 2 })
    expect(one.cameras).toHaveLength(2)
    expect(Object.keys(one.retained)).toEqual(expect.arrayContaining(['availability', 'camera/cam-1/status', 'info', 'model/mode', 'train/state']))
    expect((await fetch(`${url}/api/boxes/nobody`)).status).toBe(404)
  })

  it('tells what changes and nothing else, and who comes back what was missed', async () => {
    const { boxes } = await simulate(20)
    const url = await serve()
    const { at } = await get<{ at: string }>(`${url}/api/boxes`)
    const heard: { id: string; message: ChangesMessage }[] = []
    const listen = async (headers: Record<string, string>) => {
      const ending = new AbortController()
      const { body } = await fetch(`${url}/api/changes?since=${at}`, { headers, signal: ending.signal })
      void (async () => {
        let rest = ''
        for await (const part of body!.pipeThrough(new TextDecoderStream()) as unknown as AsyncIterable<string>) {
          const events = (rest + part).split('\n\n')
          rest = events.pop() ?? ''
          for (const event of events) {
            const data = /^data: (.+)$/m.exec(event)?.[1]
            if (data) heard.push({ id: /^id: (.+)$/m.exec(event)?.[1] ?? '', message: JSON.parse(data) as ChangesMessage })
          }
        }
      })().catch(() => undefined)
      return () => { ending.abort() }
    }
    const end = await listen({})
    boxes[3]?.setOnline(false)
    await vi.waitFor(() => { expect(heard.at(-1)?.message.rows).toMatchObject([{ device: 'box-00004', online: false }]) }, waiting)
    expect(heard.every(({ message }) => !message.all)).toBe(true)
    end()
    const client = await connectAsync(broker.url)
    cleanups.push(() => client.endAsync())
    boxes[4]?.setOnline(false)
    await Promise.all(['availability', 'info', 'health', 'train/state', 'model/mode', 'model/active', 'model/candidate', 'drift', 'camera/cam-1/status', 'camera/cam-2/status']
      .map(topic => client.publishAsync(`pawl/box-00001/${topic}`, '', { qos: 1, retain: true })))
    await vi.waitFor(async () => { expect((await all(url)).rows).toHaveLength(19) }, waiting)
    const last = heard.at(-1)?.id ?? ''
    heard.length = 0
    const endAgain = await listen({ 'last-event-id': last })
    cleanups.push(() => {
      endAgain()
      return Promise.resolve()
    })
    await vi.waitFor(() => { expect(heard[0]?.message).toMatchObject({ all: false, gone: ['box-00001'], rows: [{ device: 'box-00005', online: false }] }) }, waiting)
    // Of another run of the server nothing is known.
    const endAnew = await listen({ 'last-event-id': 'another-run-3' })
    await vi.waitFor(() => { expect(heard.at(-1)?.message.all).toBe(true) }, waiting)
    endAnew()
  })

  it('keeps what it knows while the broker is away, says so, and forgets what is no more when it is back', async () => {
    const simulation = await simulate(10)
    const url = await serve()
    await simulation.stop({ clear: false })
    await vi.waitFor(async () => { expect((await all(url)).rows.every(({ online }) => online === false)).toBe(true) }, waiting)
    await broker.stop('SIGKILL')
    await vi.waitFor(async () => { expect((await all(url)).broker).toMatchObject({ up: false }) }, waiting)
    expect((await all(url)).rows).toHaveLength(10)
    expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/^pawl_fleet_broker_connected 0$/m)
    await broker.start()
    await vi.waitFor(async () => { expect(await all(url)).toMatchObject({ rows: [], broker: { up: true, settled: true } }) }, waiting)
    cleanups.splice(cleanups.length - 2, 1)
  })

  it('asks again for boxes that could not be followed, and takes nothing for gone until they are', async () => {
    await simulate(200)
    const config = await fleetConfig({ broker: broker.url })
    const [boxes, states] = [new Boxes(), [] as BrokerState[]]
    let [link, failures, lost] = [null as Flaky | null, 1, false]
    class Flaky extends Link {
      override async follow(filters: readonly string[]): Promise<void> {
        if (failures-- > 0) throw new PawlError('BROKER_UNAVAILABLE', 'nothing can be followed', { cause: new Error('the broker is busy') })
        await super.follow(filters)
      }
    }
    const watch = new Watch({
      config: config.mqtt, boxes, clock: systemClock, random: () => 0, logger: createLogger({ level: 'silent' }), onResponse: () => undefined,
      onChange: device => {
        const box = boxes.box(device)
        lost ||= settledOnce() && (!box || rowOf(box).version === null)
      },
      onBroker: state => { states.push(state) },
      linkOf: options => link = new Flaky(options),
    })
    const settledOnce = () => states.some(state => state.up && state.settled)
    const told = (from = 0) => states.slice(from).map(state => (!state.up ? 'away' : state.problem || (state.settled ? 'settled' : 'connected')))
    const problem = 'some boxes could not be followed: the broker is busy'
    watch.start()
    cleanups.push(() => watch.stop())
    await vi.waitFor(() => { expect(told()).toEqual(['connected', problem, 'settled']) }, waiting)
    expect([...boxes.all()].map(rowOf).filter(({ version, cameras }) => version !== null && cameras === 2)).toHaveLength(200)
    // In a connection after that, what is not heard again would be swept.
    const before = states.length
    failures = 2
    await link!.leave(null)
    await vi.waitFor(() => { expect(told(before).slice(-3)).toEqual(['connected', problem, 'settled']) }, waiting)
    expect([lost, boxes.size]).toEqual([false, 200])
  })

  it('passes over what is no box, and what no box would say', async () => {
    await simulate(3)
    const url = await serve()
    const client = await connectAsync(broker.url)
    cleanups.push(() => client.endAsync())
    for (const name of ['<img src=x onerror=alert(1)>', 'x'.repeat(300), '💥']) await client.publishAsync(`pawl/${name}/availability`, 'online', { qos: 1, retain: true })
    await client.publishAsync('pawl/box-00001/health', '{"state":', { qos: 1, retain: true })
    await client.publishAsync('pawl/box-00001/availability', 'perhaps', { qos: 1, retain: true })
    await client.publishAsync('pawl/box-00002/response/train', Buffer.from([0xff, 0xfe, 0]), { qos: 1 })
    await vi.waitFor(async () => { expect((await all(url)).passedOver).toEqual({ foreign: 3, malformed: 2, tooMuch: 0 }) }, waiting)
    expect((await all(url)).rows.map(({ device, online }) => `${device} ${String(online)}`).sort()).toEqual(['box-00001 true', 'box-00002 true', 'box-00003 true'])
  })

  it('sends a command to many, and tells what each answers', async () => {
    const simulation = await simulate(30)
    simulation.silence('box-00007')
    simulation.boxes[8]?.setOnline(false)
    await simulation.sent()
    const url = await serve({ answerSeconds: 2 })
    await vi.waitFor(async () => { expect((await all(url)).rows.filter(({ online }) => online === false)).toHaveLength(1) }, waiting)
    const devices = [...simulation.boxes.map(({ device }) => device), 'box-99999']
    const { id } = await (await post(`${url}/api/asks`, { verb: 'pause', devices })).json() as AskReport
    await vi.waitFor(async () => { expect(await get(`${url}/api/asks/${id}`)).toMatchObject({ verb: 'pause', over: true, counts: { ok: 28, silent: 1, offline: 2, error: 0, waiting: 0 } }) }, waiting)
    const { answers } = await get<AskReport>(`${url}/api/asks/${id}/answers`)
    expect(answers).toMatchObject({ 'box-00001': { state: 'ok', data: { mode: { kind: 'pause' } } }, 'box-00007': { state: 'silent' }, 'box-00009': { state: 'offline' }, 'box-99999': { state: 'offline' } })
    expect(Object.values(answers).filter(({ state }) => state === 'ok')).toHaveLength(28)
    await vi.waitFor(async () => { expect((await all(url)).rows.filter(({ mode }) => mode === 'pause')).toHaveLength(28) }, waiting)
    const refused = await post(`${url}/api/asks`, { verb: 'promote', devices: ['box-00001'] })
    expect([refused.status, await refused.json()]).toMatchObject([422, { error: { code: 'COMMAND_INVALID', message: expect.stringContaining('version') as string } }])
    for (const wrong of [{ verb: 'reboot', devices: ['box-00001'] }, { verb: 'train', devices: [] }, { verb: 'train', devices: ['x'.repeat(65)] }, 'train']) expect((await post(`${url}/api/asks`, wrong)).status).toBe(400)
  })

  it('carries out nothing that another site sends, and with a password nothing without it', async () => {
    const simulation = await simulate(2)
    const passwordFile = join(folder, 'password')
    await writeFile(passwordFile, await hashOf('open sesame'))
    const open = await serve()
    const foreign = await post(`${open}/api/asks`, { verb: 'pause', devices: ['box-00001'] }, { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' })
    expect(foreign.status).toBe(403)
    const url = await serve({ passwordFile })
    for (const path of ['fleet', 'boxes', 'changes', 'boxes/box-00001', 'asks/x']) expect((await fetch(`${url}/api/${path}`)).status, path).toBe(401)
    expect((await post(`${url}/api/asks`, { verb: 'pause', devices: ['box-00001'] })).status).toBe(401)
    expect((await fetch(`${url}/metrics`)).status).toBe(401)
    const basic = (password: string) => ({ headers: { authorization: `Basic ${Buffer.from(`prometheus:${password}`).toString('base64')}` } })
    expect((await fetch(`${url}/metrics`, basic('open sesamE'))).status).toBe(401)
    expect(await (await fetch(`${url}/metrics`, basic('open sesame'))).text()).toContain('pawl_fleet_online{device="box-00002"} 1')
    const cookie = (await post(`${url}/api/session`, { password: 'open sesame' })).headers.get('set-cookie')?.split(';')[0] ?? ''
    expect(cookie).toMatch(/^pawl-fleet=/)
    expect((await get<{ message: ChangesMessage }>(`${url}/api/boxes`, { headers: { cookie } })).message.rows).toHaveLength(2)
    expect(simulation.published).toBeGreaterThan(0)
    expect((await all(open)).rows.map(({ mode }) => mode)).toEqual(['follow', 'follow'])
  })

  it('has a number for each that the plots of Grafana ask for', async () => {
    await simulate(5)
    const url = await serve()
    const own = new Metrics({ device: 'box-1', version: '1.0.0' })
    const told = { 'fleet.json': await (await fetch(`${url}/metrics`)).text(), 'box.json': await own.text() }
    for (const [file, numbers] of Object.entries(told)) {
      const dashboard = await readFile(join(import.meta.dirname, '../deploy/grafana', file), 'utf8')
      const asked = new Set(dashboard.match(/\bpawl_\w+/g))
      expect(asked.size).toBeGreaterThan(5)
      for (const name of asked) expect(numbers, `${file}: ${name}`).toMatch(new RegExp(`^# TYPE ${name.replace(/_(bucket|sum|count)$/, '')} `, 'm'))
    }
    const ofBoxes = [...told['fleet.json'].matchAll(/^# TYPE (pawl_fleet_\w+)/gm)].map(([, name = '']) => name).filter(name => !/boxes|broker|passed/.test(name))
    expect(ofBoxes).toHaveLength(20)
    for (const name of ofBoxes) expect(told['fleet.json']).toMatch(new RegExp(`^${name}\\{device="box-0000\\d"\\} `, 'm'))
  })
})

describe.skipIf(!mosquitto)('pawl fleet', () => {
  it('--once prints a table, or JSON, of those that are asked for, and ends', async () => {
    const simulation = await simulate(12)
    simulation.boxes[4]?.setOnline(false)
    await simulation.sent()
    const table = await pawl('--broker', broker.url, '--once')
    expect(table).toMatchObject({ code: 0, stderr: '' })
    expect(table.stdout.split('\n')[0]).toMatch(/^12 boxes · 1 offline/)
    expect(table.stdout.split('\n').filter(line => line.startsWith('box-'))).toHaveLength(12)
    expect(table.stdout).not.toContain('\u001b')
    const json = await pawl('--broker', broker.url, '--once', '--json', '--filter', 'offline')
    expect(json.code).toBe(0)
    expect(JSON.parse(json.stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({ broker: broker.url, boxes: [{ device: 'box-00005', online: false }], passedOver: { foreign: 0 } })
    const sorted = await pawl('--broker', broker.url, '--once', '--json', '--sort', 'device', '--descending', '--search', 'box-0001')
    expect((JSON.parse(sorted.stdout) as { boxes: { device: string }[] }).boxes.map(({ device }) => device)).toEqual(['box-00012', 'box-00011', 'box-00010'])
  })

  it('prints all of many boxes into a pipe', async () => {
    await simulate(600, { cameras: 1 })
    const { stdout } = await pawl('--broker', broker.url, '--once', '--json')
    expect((JSON.parse(stdout) as { boxes: unknown[] }).boxes).toHaveLength(600)
  })

  it('says what is wrong, and what to do', async () => {
    await writeFile(join(folder, 'fleet.yaml'), 'mqtt:\n  brokr: mqtt://127.0.0.1\n')
    const nobody = `127.0.0.1:${String(await freePort())}`
    const [away, secret, wrong, misspelt] = await Promise.all([
      pawl('--broker', `mqtt://${nobody}`, '--once', '--wait', '1', '--json'), pawl('--broker', `mqtt://user:secret@${nobody}`, '--once', '--wait', '1'),
      pawl('--broker', 'http://somewhere', '--once'), pawl('--config', 'fleet.yaml', '--once'),
    ])
    const message: unknown = expect.stringMatching(/ECONNREFUSED.*check --broker/)
    expect([away.code, JSON.parse(away.stdout)]).toMatchObject([1, { error: { code: 'BROKER_UNAVAILABLE', message } }])
    const refusal = /^pawl: COMMAND_INVALID: --broker holds a password.*mqtt\.passwordFile/
    expect(secret).toMatchObject({ code: 1, stderr: expect.stringMatching(refusal) as string })
    expect(secret.stderr).not.toContain('secret@')
    expect([wrong.code, wrong.stderr]).toMatchObject([1, expect.stringMatching(/CONFIG_INVALID: .*mqtt\.broker is "http:\/\/somewhere"; not a mqtt/)])
    expect(misspelt.stderr).toMatch(/CONFIG_INVALID: fleet\.yaml:2:3: mqtt\.brokr: there is no such key; did you mean "broker"\?/)
    const [terminal, address, help] = await Promise.all([pawl('--terminal'), pawl('--address', '0.0.0.0'), pawl('--help')])
    expect(terminal.stderr).toMatch(/there is no terminal to draw on; `pawl fleet --once`/)
    expect(address.stderr).toMatch(/dashboard\.address is "0\.0\.0\.0".*pawl password/)
    expect(help.stdout).toMatch(/Examples:[^]*--once --filter offline/)
  })

  it('logs in with what the file names', async () => {
    await broker.stop()
    await broker.configure(`allow_anonymous false\npassword_file ${await passwords({ operator: 'secret' })}`)
    await broker.start()
    await writeFile(join(folder, 'secret'), 'secret\n')
    await writeFile(join(folder, 'fleet.yaml'), `mqtt:\n  broker: ${broker.url}\n  username: operator\n  passwordFile: secret\n`)
    expect(await pawl('--config', 'fleet.yaml', '--once')).toMatchObject({ code: 0, stdout: expect.stringContaining('0 boxes') as string })
    await writeFile(join(folder, 'secret'), 'wrong\n')
    const beganMs = performance.now()
    const { code, stderr } = await pawl('--config', 'fleet.yaml', '--once', '--wait', '30')
    expect(code).toBe(1)
    expect(stderr).toMatch(/^pawl: BROKER_UNAVAILABLE: .*(ot authorized|ad user)/)
    expect(stderr).toContain('does the broker know this user? See mqtt.username and mqtt.passwordFile')
    // More time would not help, and it is no box.
    expect(stderr).not.toMatch(/--wait|this box/)
    expect(performance.now() - beganMs).toBeLessThan(15_000)
  })
})

/** Their file, as mosquitto wants it. */
async function passwords(users: Record<string, string>): Promise<string> {
  const file = join(folder, 'passwd')
  await writeFile(file, Object.entries(users).map(([name, password]) => `${name}:${password}\n`).join(''))
  await new Promise(resolve => spawn('mosquitto_passwd', ['-U', file], { stdio: 'ignore' }).once('close', resolve))
  return file
}
