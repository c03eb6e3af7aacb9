/** Passwords on a box that runs: where they come from, and where they are not. */
import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Simulation } from '../../agent/camera/simulation.js'
import { bundled, configSchema } from '../../agent/config.js'
import { RtspCamera } from '../cameras/rtsp-camera.js'
import { freePort } from '../free-port.js'
import { Box } from '../site/box.js'
import type { Daemon } from '../site/daemon.js'
import { mosquitto } from '../site/mosquitto.js'

const root = join(import.meta.dirname, '..', '..')
const secret = { camera: 'marked-9f1c-camera', broker: 'marked-2b7e-broker', page: 'marked-66d0-page' }
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

describe.skipIf(!mosquitto)('a box with a camera, a broker and a page that want passwords', { timeout: 90_000 }, () => {
  let folder: string
  let rtsp: RtspCamera
  let box: Box
  let daemon: Daemon

  const hidden = (name: string) => join(folder, 'secrets', name)
  const run = async (...args: string[]) => {
    const { stdout, stderr } = await pawl(process.execPath, [join(root, 'dist', 'agent', 'main.js'), ...args]).catch((cause: unknown) => cause as { stdout: string; stderr: string })
    return stdout + stderr
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
      cameras: [{ id: 'door', source: 'rtsp', url, username: 'viewer', passwordFile: hidden('camera'), maxPerSecond: 5, crop: 'whole' }],
    })
    daemon = box.start()
    await daemon.said(/^camera door is online/)
  }, 60_000)
  afterAll(async () => {
    await daemon.end()
    await box.close()
    await rtsp.stop()
    await belt.stop()
    await rm(folder, { recursive: true, force: true })
  })

  it('shows none of them to who lists its processes: not the agent, the classifier or ffmpeg', async () => {
    const children = await daemon.children()
    expect(children.map(({ program }) => program).some(program => program.includes('ffmpeg'))).toBe(true)
    const lines = await Promise.all([daemon.pid, ...children.map(({ pid }) => pid)].map(pid => readFile(`/proc/${String(pid)}/cmdline`, 'utf8')))
    for (const mark of Object.values(secret)) expect(lines.join('\n')).not.toContain(mark)
  })

  it('tells none of them: in its log, over MQTT, in its data folder, in its numbers, on its page, to `pawl status` and `pawl doctor`', async () => {
    const [, numbers = ''] = await daemon.said(/^metrics: (.*)/)
    const [, page = ''] = await daemon.said(/^page: (.*)/)
    const told = [
      daemon.text, ...box.onlooker.messages.map(({ text }) => text), ...[...box.onlooker.events.values()].map(event => JSON.stringify(event)),
      await (await fetch(numbers)).text(), await (await fetch(page)).text(), await run('status', '--config', box.config, '--json'), await run('doctor', '--config', box.config, '--json'),
    ]
    const files = (await readdir(box.data, { recursive: true, withFileTypes: true })).filter(entry => entry.isFile())
    expect(files.length).toBeGreaterThan(20)
    const kept = await Promise.all(files.map(({ parentPath, name }) => readFile(join(parentPath, name))))
    for (const mark of Object.values(secret)) {
      expect(told.filter(text => text.includes(mark))).toEqual([])
      expect(files.filter((_, index) => kept[index]?.includes(mark)).map(({ name }) => name)).toEqual([])
    }
  })

  it('says which file with a secret every user of the box may read', async () => {
    expect(await run('doctor', '--config', box.config)).toMatch(/✓ secrets +4 files, none/)
    await chmod(hidden('camera'), 0o644)
    expect(await run('doctor', '--config', box.config)).toContain(`· secrets           every user of this box may read ${hidden('camera')}: \`chmod o-r\``)
  })
})
