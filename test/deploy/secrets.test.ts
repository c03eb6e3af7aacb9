/** Passwords on a box that runs: where they come from, and where they are not. */
import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Simulation } from '../../agent/camera/simulation.js'
import { bundled, configSchema, loadConfig } from '../../agent/config.js'
import { openSecrets } from '../../agent/secret-files.js'
import { RtspCamera } from '../cameras/rtsp-camera.js'
import { freePort } from '../free-port.js'
import { modelInService, processOf } from '../chaos/box.js'
import { Box } from '../site/box.js'
import type { Daemon } from '../site/daemon.js'
import { mosquitto } from '../site/mosquitto.js'

const root = join(import.meta.dirname, '..', '..')
const secret = { camera: 'marked-9f1c-camera', broker: 'marked-2b7e-broker', page: 'marked-66d0-page' }
/** In an address, where some cameras want theirs: of one that is away, and so is told of. */
const inAddress = { user: 'marked-51aa-user', query: 'marked-c03d-query' }
const marks = [...Object.values(secret), ...Object.values(inAddress)]
const belt = new Simulation({ photographs: bundled('unlabeled'), picturesPerSecond: 10, speed: 24, seed: 1 })
const pawl = promisify(execFile)

it('a password is given by no option and no key: a file holds it, or the environment', async () => {
  const commandLine = await readFile(join(root, 'agent', 'main.ts'), 'utf8')
  const options = [...commandLine.matchAll(/'(--[a-z-]+)/g)].map(([, option]) => option)
  expect(options.length).toBeGreaterThan(30)
  expect(options.filter(option => /pass|secret|token|credential/.test(option ?? ''))).toEqual([])
  const keys = [...JSON.stringify(configSchema()).matchAll(/"(\w*(?:pass|secret|token|credential)\w*)":\{/gi)].map(([, key]) => key)
  expect([...new Set(keys)]).toEqual(['passwordFile'])
})

describe.skipIf(!mosquitto)('a box with a camera, a broker and a page that want passwords', () => {
  let folder: string
  let rtsp: RtspCamera
  let box: Box
  let daemon: Daemon

  const hidden = (name: string) => join(folder, 'secrets', name)
  const run = async (...args: string[]) => {
    const { stdout, stderr } = await pawl(process.execPath, [join(root, 'dist', 'agent', 'main.js'), ...args]).catch((cause: unknown) => cause as { stdout: string; stderr: string })
    return { stdout, stderr }
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pawl-secrets-'))
    rtsp = new RtspCamera({ stream: await belt.start(), user: 'viewer', password: secret.camera })
    const url = await rtsp.start()
    await mkdir(join(folder, 'secrets'))
    for (const [name, text] of Object.entries(secret)) await writeFile(hidden(name), `${text}\n`, { mode: 0o600 })
    await pawl('sh', ['-c', `node ${join(root, 'dist', 'agent', 'main.js')} password --out ${hidden('page-hash')} < ${hidden('page')}`])
    box = await Box.in(folder, {
      mqtt: { username: 'box-9', passwordFile: hidden('broker') },
      monitoring: { port: await freePort() },
      dashboard: { port: await freePort(), passwordFile: hidden('page-hash') },
      cameras: [
        { id: 'door', source: 'rtsp', url, username: 'viewer', passwordFile: hidden('camera'), maxPerSecond: 5, crop: 'whole' },
        { id: 'yard', source: 'snapshot', url: `http://viewer:${inAddress.user}@127.0.0.1:${String(await freePort())}/shot?password=${inAddress.query}` },
      ],
    })
    daemon = box.start()
    await daemon.said(/^camera door is online/)
    await daemon.said(/^camera yard is offline/)
  })
  afterAll(async () => {
    await daemon.end()
    await box.close()
    await rtsp.stop()
    await belt.stop()
    await rm(folder, { recursive: true, force: true })
  })

  /** What the page tells who has its password. */
  const behind = async (page: string, paths: readonly string[]) => {
    const headers = { 'content-type': 'application/json' }
    const opened = await fetch(`${page}/api/session`, { method: 'POST', headers, body: JSON.stringify({ password: secret.page }) })
    const [cookie = ''] = opened.headers.getSetCookie()
    return Promise.all(paths.map(async path => {
      const answer = await fetch(`${page}/api/${path}`, { headers: { cookie: cookie.split(';')[0] ?? '' } })
      expect([path, answer.status]).toEqual([path, 200])
      return answer.text()
    }))
  }

  it('shows none of them to who lists its processes: not the agent, the trainer, the classifier or ffmpeg', async () => {
    const seen = new Map<number, string>([[daemon.pid, '']])
    const look = async () => {
      for (const { pid, program } of await daemon.children()) if (program !== '') seen.set(pid, program)
    }
    await processOf(daemon, 'trainer')
    await look()
    await modelInService(box, daemon)
    await processOf(daemon, 'classifier')
    await look()
    seen.set(daemon.pid, await readFile(`/proc/${String(daemon.pid)}/cmdline`, 'utf8'))
    const lines = [...seen.values()].join('\n')
    for (const part of ['main.js', 'trainer/process', 'classifier/process', 'ffmpeg']) expect(lines).toContain(part)
    for (const mark of marks) expect(lines).not.toContain(mark)
  })

  it('tells none of them: in its log, over MQTT, in its data folder, in its numbers, on its page, to `pawl status` and `pawl doctor`', async () => {
    const [, numbers = ''] = await daemon.said(/^metrics: (.*)/)
    const [, page = ''] = await daemon.said(/^page: (.*)/)
    const { stdout: doctor } = await run('doctor', '--config', box.config, '--json')
    const { findings } = JSON.parse(doctor) as { findings: { what: string; state: string }[] }
    expect(findings).toContainEqual(expect.objectContaining({ what: 'camera yard', state: 'problem' }))
    const told = [
      daemon.text, doctor, ...box.onlooker.messages.map(({ text }) => text), ...[...box.onlooker.events.values()].map(event => JSON.stringify(event)),
      await (await fetch(numbers)).text(), await (await fetch(page)).text(), (await run('status', '--config', box.config, '--json')).stdout,
      ...await behind(page, ['box', 'now', 'log?after=0', 'models', 'history', 'decisions', 'queue']),
    ]
    expect(told.length).toBeGreaterThan(20)
    const files = (await readdir(box.data, { recursive: true, withFileTypes: true })).filter(entry => entry.isFile())
    expect(files.length).toBeGreaterThan(20)
    // A round that ends clears away what it worked on.
    const kept = await Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name)).catch(() => Buffer.alloc(0))))
    for (const mark of marks) {
      expect(told.filter(text => text.includes(mark))).toEqual([])
      expect(files.filter((_, index) => kept[index]?.includes(mark)).map(({ name }) => name)).toEqual([])
    }
  })

  it('says at its start and in `pawl doctor` which file with a secret every user of the box may read', async () => {
    await chmod(hidden('camera'), 0o644)
    await chmod(box.config, 0o600)
    const found = async () => openSecrets(await loadConfig(box.config), box.config)
    expect(await found(), 'nobody gets through a closed folder').toMatchObject({ files: { length: 5 }, open: [] })
    await chmod(folder, 0o755)
    expect(await found()).toMatchObject({ open: [hidden('camera')] })
    await chmod(box.config, 0o644)
    const { stdout: doctor } = await run('doctor', '--config', box.config)
    expect(doctor, 'an address in it holds a password').toContain(`every user of this box may read ${hidden('camera')}, ${box.config}`)
    expect(doctor).toContain(`${box.data}: every user of this box may look at its pictures and labels`)
    const from = daemon.lines.length
    process.kill(daemon.pid, 'SIGHUP')
    expect((await daemon.said(/^every user of this box may read .*/, { from }))[0]).toContain(hidden('camera'))
  })
})
