/** The data folder of a box that ran an older version, as `releases/make.ts` kept it: this version goes on with it. */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { parse, stringify } from 'yaml'
import { checkFolder } from '../agent/data/folder.js'
import { Daemon } from './site/daemon.js'
import { Mosquitto, mosquitto } from './site/mosquitto.js'
import { Subscriber } from './site/subscriber.js'

const run = promisify(execFile)
const releases = join(import.meta.dirname, 'releases')
const versions = (await readdir(releases)).flatMap(name => /^(.*)\.tar\.xz$/.exec(name)?.[1] ?? [])
const lacks = mosquitto === '' ? ' (skipped: mosquitto missing)' : ''
const soon = { timeout: 60_000, interval: 50 }

it('there is a data folder of every release', async () => {
  const { version } = JSON.parse(await readFile(join(import.meta.dirname, '..', 'package.json'), 'utf8')) as { version: string }
  expect(versions).toContain(version)
})

describe.skipIf(lacks !== '').each(versions)(`the data folder of pawl %s${lacks}`, version => {
  let folder = ''
  let broker: Mosquitto
  let onlooker: Subscriber
  const at = (...path: string[]) => join(folder, version, ...path)
  const config = () => at('pawl.yaml')
  const program = join(import.meta.dirname, '..', 'dist', 'agent', 'main.js')
  const pawl = async (...args: string[]) =>
    JSON.parse((await run(process.execPath, [program, ...args, '--json', '--config', config()])).stdout) as unknown
  const filesIn = async (...path: string[]) =>
    (await readdir(at(...path), { recursive: true, withFileTypes: true })).filter(entry => entry.isFile()).map(({ name }) => name).sort()
  const opened = () => Subscriber.open({ url: broker.url, prefix: 'pawl/box-9' })

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pawl-releases-'))
    await run('tar', ['-C', folder, '-xJf', join(releases, `${version}.tar.xz`)])
    broker = await Mosquitto.in(join(folder, 'broker'))
    await broker.start()
    const former = parse(await readFile(config(), 'utf8')) as object
    await writeFile(config(), stringify({ ...former, mqtt: { broker: broker.url } }))
    onlooker = await opened()
  })
  afterAll(async () => {
    await onlooker.close()
    await broker.stop()
    await rm(folder, { recursive: true, force: true })
  })

  it('is gone on with: its model serves at once, what waited arrives, its labels and its history are whole and the next round builds on them', async () => {
    const labels = await filesIn('data', 'labels')
    const daemon = new Daemon({ config: config() })
    try {
      await daemon.said(/^continuing with model 1$/)
      await daemon.said(/^model 1 is in service/)
      await vi.waitFor(() => { expect(onlooker.last('cameraPrediction', 'belt')?.model).toBe(1) }, soon)
      await vi.waitFor(() => { expect(onlooker.ofType('mode').map(({ mode }) => mode)).toEqual([{ kind: 'pin', version: 1 }]) }, soon)
      expect(onlooker.last('modelMode')).toEqual({ kind: 'pin', version: 1 })
      expect([await filesIn('data', 'labels'), onlooker.last('health')?.wrong, onlooker.last('health')?.problems]).toEqual([labels, [], []])
      await onlooker.ask('train')
      await vi.waitFor(() => { expect(onlooker.ofType('round-ended').at(-1)?.decision).toMatchObject({ round: 2, champion: 1 }) }, soon)
      await checkFolder(at('data'))
      expect(await pawl('models', 'verify')).toMatchObject({ models: expect.arrayContaining([{ version: 1, ok: true, problem: null }]) as unknown[], lineage: { ok: true } })
    } finally {
      expect(await daemon.end()).toEqual({ code: 0, signal: null })
    }
  })
})
