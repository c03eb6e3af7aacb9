import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { connectAsync } from 'mqtt'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ended } from '../agent/lib/child.js'
import { ServiceManager } from '../agent/lib/service-manager.js'
import { freePort } from './free-port.js'

const waiting = { timeout: 60_000, interval: 50 }
const main = join(import.meta.dirname, '..', 'dist', 'agent', 'main.js')

let folder = ''
let port = 0
const cleanups: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-daemon-'))
  port = await freePort()
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(folder, { recursive: true, force: true })
})

/** No labels: no round takes the processor. */
const configured = (more: string) => `{device: box-3, data: data, labels: {import: ''}, mqtt: {port: ${String(port)}}, ${more}}`
const cameras = (...ids: string[]) => `cameras: [${ids.map(id => `{id: ${id}, source: simulation}`).join(', ')}]`

/** The real program; `lines` grows with what it says. */
async function daemon(environment: Record<string, string> = {}): Promise<{ child: ChildProcess; lines: string[] }> {
  const lines: string[] = []
  const child = spawn(process.execPath, [main, 'run', '--config', join(folder, 'pawl.yaml')], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...environment } })
  createInterface({ input: child.stdout }).on('line', line => { lines.push(line) })
  cleanups.push(async () => {
    child.kill('SIGKILL')
    await ended(child)
  })
  await vi.waitFor(() => { expect(lines.join('\n')).toContain('pawl is running') }, waiting)
  return { child, lines }
}

/** Where it says that its numbers are. */
const monitoring = (lines: string[]) => vi.waitFor(() => {
  const [, address] = /^metrics: (http:\/\/127\.0\.0\.1:\d+)\/metrics$/m.exec(lines.join('\n')) ?? []
  if (address === undefined) throw new Error('no address yet')
  return address
}, waiting)

const write = (text: string) => writeFile(join(folder, 'pawl.yaml'), text)

describe('another configuration', () => {
  it('takes the place of the former when the process is told so, unless anything in it is wrong', async () => {
    await write(configured(cameras('one')))
    const { child, lines } = await daemon()
    await vi.waitFor(() => { expect(lines).toContain('camera one is online') }, waiting)

    await write(configured(`${cameras('two')}, camras: []`))
    child.kill('SIGHUP')
    await vi.waitFor(() => { expect(lines.join('\n')).toMatch(/CONFIG_INVALID.*camras.*did you mean "cameras".*the former configuration goes on/s) }, waiting)

    await write(configured(cameras('two', 'three')))
    child.kill('SIGHUP')
    await vi.waitFor(() => { expect(lines).toContain('camera three is online') }, waiting)
    expect(lines.filter(line => line === 'camera one is online')).toHaveLength(1)

    // Twice in a row, the newest counts; and while an agent starts or stops the signal is no end.
    await write(configured(cameras('five')))
    child.kill('SIGHUP')
    await new Promise(resolve => setTimeout(resolve, 100))
    await write(configured(cameras('two', 'three')))
    for (let time = 0; time < 8; time++) {
      child.kill('SIGHUP')
      await new Promise(resolve => setTimeout(resolve, 130))
    }
    await vi.waitFor(() => { expect(lines.filter(line => line === 'camera three is online').length).toBeGreaterThan(1) }, waiting)
    await new Promise(resolve => setTimeout(resolve, 1500))
    expect(lines).not.toContain('camera five is online')
    const before = lines.filter(line => line === 'camera three is online').length

    // What only shows at the start: the former comes back.
    await write(configured(cameras('two', 'four')).replace('data: data', 'data: pawl.yaml'))
    child.kill('SIGHUP')
    await vi.waitFor(() => { expect(lines.join('\n')).toMatch(/; the former configuration goes on/) }, waiting)
    await vi.waitFor(() => { expect(lines.filter(line => line === 'camera three is online')).toHaveLength(before + 1) }, waiting)

    child.kill('SIGTERM')
    expect(await ended(child)).toEqual({ code: 0, signal: null })
    expect(lines.join('\n')).not.toContain('four is')
  })

  it('is read when a command asks for it, which is answered', async () => {
    await write(configured(cameras('one')))
    const { lines } = await daemon()
    const client = await connectAsync(`mqtt://127.0.0.1:${String(port)}`, { reconnectPeriod: 0 })
    cleanups.push(() => client.endAsync(true))
    await client.subscribeAsync('pawl/box-3/response/reload')
    const ask = async (transaction: string) => {
      const answer = new Promise<string>(resolve => { client.once('message', (_, payload) => { resolve(payload.toString()) }) })
      await client.publishAsync('pawl/box-3/request/reload', JSON.stringify({ transaction }), { qos: 1 })
      return JSON.parse(await answer) as unknown
    }
    await write('cameras: 5')
    expect(await ask('7')).toMatchObject({ status: 'error', transaction: '7', error: { code: 'CONFIG_INVALID', message: expect.stringContaining('cameras is 5') as string } })
    await write(configured(cameras('two')))
    expect(await ask('8')).toEqual({ status: 'ok', data: { reloading: true }, transaction: '8' })
    await vi.waitFor(() => { expect(lines).toContain('camera two is online') }, waiting)
  })
})

describe('monitoring', () => {
  it('is answered on loopback: numbers for Prometheus, health for a probe, nothing else', async () => {
    await write(configured(`${cameras('one')}, monitoring: {port: ${String(await freePort())}}`))
    const { lines } = await daemon()
    const address = await monitoring(lines)
    const values = async () => {
      const response = await fetch(`${address}/metrics`)
      expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
      const text = await response.text()
      const samples = [...text.matchAll(/^([a-z_]+)(?:\{(.*)\})? (\S+)$/gm)].map(([, name, labels, value]) => [`${name ?? ''} ${labels ?? ''}`, Number(value)] as const)
      // Each is told what it is before it is told.
      for (const [name] of samples) expect(text).toMatch(new RegExp(`^# TYPE ${name.split(' ')[0]?.replace(/_(bucket|sum|count)$/, '') ?? ''}`, 'm'))
      return new Map(samples)
    }
    await vi.waitFor(async () => { expect((await values()).get('pawl_camera_online camera="one",device="box-3"')).toBe(1) }, waiting)
    await vi.waitFor(async () => { expect((await values()).get('pawl_camera_pictures_per_second camera="one",device="box-3"')).toBeGreaterThan(1) }, waiting)
    expect(Date.now() / 1000 - ((await values()).get('pawl_camera_newest_picture_timestamp_seconds camera="one",device="box-3"') ?? 0)).toBeLessThan(70)
    await vi.waitFor(async () => { expect((await values()).get('pawl_frames_stored_total camera="one",reason="first",device="box-3"')).toBeGreaterThan(2) }, waiting)
    await vi.waitFor(async () => {
      const now = await values()
      expect(now.get('pawl_frames device="box-3"')).toBeGreaterThan(2)
      expect(now.get('pawl_broker_connected device="box-3"')).toBe(1)
      expect(now.get('pawl_collecting device="box-3"')).toBe(1)
      // The first round has no labels, and says so.
      expect(now.get('pawl_rounds_total outcome="not-started",device="box-3"')).toBe(1)
      const health = await fetch(`${address}/healthz`)
      expect([health.status, await health.json()]).toMatchObject([200, { state: 'ok', cameras: 1, camerasOnline: 1 }])
    }, waiting)
    expect((await fetch(`${address}/`)).status).toBe(404)
    expect((await fetch(`${address}/metrics`, { method: 'POST' })).status).toBe(405)
    expect(await (await fetch(`${address}/metrics`, { method: 'HEAD' })).text()).toBe('')
  })

  it('says 503 while anything is wrong, and takes the next port where its own is taken', async () => {
    const taken = await freePort()
    const squatter = createServer().listen(taken, '127.0.0.1')
    cleanups.push(() => new Promise(resolve => squatter.close(resolve)))
    await write(configured(`cameras: [{id: gone, source: folder, url: nowhere}], monitoring: {port: ${String(taken)}}`))
    const { lines } = await daemon()
    const address = await monitoring(lines)
    expect(address).not.toContain(`:${String(taken)}`)
    await vi.waitFor(async () => {
      const health = await fetch(`${address}/healthz`)
      expect([health.status, await health.json()]).toMatchObject([503, { state: 'degraded', cameras: 1, camerasOnline: 0 }])
    }, waiting)
    // Nothing that a new start would mend.
    expect((await fetch(`${address}/livez`)).status).toBe(200)
  })
})

describe('the name in the environment', () => {
  it('goes before that in the file', async () => {
    await write(configured(`${cameras('one')}, monitoring: {port: 0}`))
    const { lines } = await daemon({ PAWL_DEVICE: 'node-17' })
    expect(lines.join('\n')).toContain('pawl is running as "node-17"')
  })
})

/** What arrives at a socket as systemd's is. */
async function notified(): Promise<{ socket: string; said: string[] }> {
  const socket = join(folder, 'notify')
  const listener = spawn('/usr/bin/python3', ['-uc', `
import os, socket, struct, sys
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(sys.argv[1])
print('listening')
while True:
    data, ancillary, *_ = listener.recvmsg(4096, 1024)
    # Whoever tells waits until what came with its BARRIER is closed.
    for _, _, handles in ancillary: [os.close(handle) for handle, in struct.iter_unpack('i', handles)]
    if not data.startswith(b'BARRIER'): print(data.decode().replace(chr(10), ' '))
`, socket], { stdio: ['ignore', 'pipe', 'inherit'] })
  const said: string[] = []
  createInterface({ input: listener.stdout }).on('line', line => { said.push(line) })
  cleanups.push(async () => {
    listener.kill('SIGKILL')
    await ended(listener)
  })
  await vi.waitFor(() => { expect(said).toEqual(['listening']) }, waiting)
  return { socket, said }
}

describe('a log collector', () => {
  it('gets each thing that happens as a line of JSON with its level, from logLevel on', async () => {
    await write(configured(`${cameras('one')}, logLevel: info`))
    const child = spawn(process.execPath, [main, 'run', '--json', '--config', join(folder, 'pawl.yaml')], { stdio: ['ignore', 'pipe', 'pipe'] })
    const [plain, lines]: [string[], string[]] = [[], []]
    createInterface({ input: child.stdout }).on('line', line => { plain.push(line) })
    createInterface({ input: child.stderr }).on('line', line => { lines.push(line) })
    cleanups.push(async () => {
      child.kill('SIGKILL')
      await ended(child)
    })
    type Line = { level: string; time: string; msg: string; event?: { status?: { state: string } } }
    const all = () => lines.map(line => JSON.parse(line) as Line)
    await vi.waitFor(() => { expect(all().some(({ event }) => event?.status?.state === 'online')).toBe(true) }, waiting)
    await vi.waitFor(() => { expect(all().some(({ msg, level }) => msg === 'round-refused-to-start' && level === 'warn')).toBe(true) }, waiting)
    for (const { level, time, msg } of all()) {
      expect([level, Date.parse(time) > 0, msg]).toEqual([expect.stringMatching(/^(info|warn|error)$/), true, expect.any(String)])
    }
    child.kill('SIGTERM')
    await ended(child)
    await vi.waitFor(() => { expect([plain, all().at(-1)?.msg]).toEqual([[], 'stopping']) }, waiting)
  })
})

describe('systemd', () => {
  it('is told when all runs, how it stands, that it lives, of another configuration, and of the end', async () => {
    const { socket, said } = await notified()
    await write(configured(cameras('one')))
    const { child } = await daemon({ NOTIFY_SOCKET: socket, WATCHDOG_USEC: '1000000' })
    await vi.waitFor(() => { expect(said).toContain('READY=1') }, waiting)
    await vi.waitFor(() => { expect(said).toContain('STATUS=no model yet, 1 of 1 cameras online') }, waiting)
    await vi.waitFor(() => { expect(said.filter(line => line === 'WATCHDOG=1').length).toBeGreaterThan(2) }, waiting)
    child.kill('SIGHUP')
    await vi.waitFor(() => { expect(said.some(line => /^RELOADING=1 MONOTONIC_USEC=\d+$/.test(line))).toBe(true) }, waiting)
    await vi.waitFor(() => { expect(said.filter(line => line === 'READY=1')).toHaveLength(2) }, waiting)
    child.kill('SIGTERM')
    await ended(child)
    await vi.waitFor(() => { expect(said.at(-1)).toBe('STOPPING=1') }, waiting)
  })

  it('that cannot be told is no reason to end', async () => {
    const problems: string[] = []
    const manager = new ServiceManager({ environment: { NOTIFY_SOCKET: join(folder, 'nobody') }, onProblem: message => { problems.push(message) } })
    await manager.ready()
    expect(problems).toEqual([expect.stringContaining('systemd was not told READY=1')])
    await new ServiceManager({ environment: {}, onProblem: message => { problems.push(message) } }).ready()
    expect(problems).toHaveLength(1)
  })

  it('hears the next thing after one that could not even be started', async () => {
    const problems: string[] = []
    const manager = new ServiceManager({ environment: { NOTIFY_SOCKET: join(folder, 'nobody') }, onProblem: message => { problems.push(message) } })
    await manager.say('x'.repeat(200_000))
    await manager.say('short')
    expect(problems).toEqual([expect.stringContaining('E2BIG'), expect.stringContaining('STATUS=short')])
  })
})
