/**
 * The systemd unit, and what is installed beside it. No systemd runs it here: its own programs judge it, and its list of system calls is put on the
 * daemon by libseccomp.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Simulation } from '../../agent/camera/simulation.js'
import { bundled, loadConfig } from '../../agent/config.js'
import { RtspCamera } from '../cameras/rtsp-camera.js'
import { Box } from '../site/box.js'
import { mosquitto } from '../site/mosquitto.js'

const deploy = join(import.meta.dirname, '..', '..', 'deploy')
const unit = join(deploy, 'pawl.service')
const run = promisify(execFile)
const present = mosquitto !== '' && existsSync('/usr/bin/systemd-analyze') && await run('/usr/bin/python3', ['-c', 'import seccomp']).then(() => true, () => false)
if (!present && process.env.CI) throw new Error('systemd, python3-seccomp or mosquitto is missing; in CI these tests may not be skipped')

describe('beside the unit', () => {
  const settings = async (key: string) => new RegExp(`^${key}=(.*)$`, 'm').exec(await readFile(unit, 'utf8'))?.[1] ?? ''

  it('the command `pawl` runs the program of the unit as its user, with all that it is given', async () => {
    const bin = await mkdtemp(join(tmpdir(), 'pawl-bin-'))
    try {
      const [node = '', program = ''] = (await settings('ExecStart')).split(' ')
      const text = await readFile(join(deploy, 'pawl.sh'), 'utf8')
      expect(text).toContain(`exec ${node} ${program} "$@"`)
      const files = {
        pawl: text.replace(`${node} ${program}`, 'printf "%s|"'),
        id: '#!/bin/sh\necho "${AS:-admin}"\n',
        sudo: '#!/bin/sh\nprintf "%s|" "$1" "$2"\nshift 2\nAS=pawl exec "$@"\n',
      }
      for (const [name, content] of Object.entries(files)) {
        await writeFile(join(bin, name), content)
        await chmod(join(bin, name), 0o755)
      }
      const said = async (environment: Record<string, string> = {}) =>
        (await run(join(bin, 'pawl'), ['backup', 'two words'], { env: { PATH: `${bin}:${process.env.PATH ?? ''}`, ...environment } })).stdout
      expect(await said()).toBe(`-u|${await settings('User')}|backup|two words|`)
      expect(await said({ AS: await settings('User') })).toBe('backup|two words|')
    } finally {
      await rm(bin, { recursive: true })
    }
  })

  it('the configuration of a box holds, and names files that the service may read and the README says how to make', async () => {
    const config = await loadConfig(join(deploy, 'box.yaml'))
    const { data, device, labels, mqtt: { broker, tls }, cameras } = config
    expect([data, cameras.map(({ source }) => source), new URL(broker).protocol]).toEqual([`/var/lib/${await settings('StateDirectory')}`, ['rtsp'], 'mqtts:'])
    expect([tls.cert, tls.key]).toEqual([`/etc/pawl-tls/${device}.pem`, `/etc/pawl-tls/${device}.pem`])
    const readme = await readFile(join(deploy, 'README.md'), 'utf8')
    for (const path of [labels.import, tls.ca, ...cameras.map(({ passwordFile }) => passwordFile)]) {
      // ProtectHome and PrivateTmp hide these.
      expect(path).not.toMatch(/^\/(home|root|run\/user|tmp|var\/tmp)\//)
      expect(readme).toContain(path)
    }
  })
})

describe.skipIf(!present)('the systemd unit', () => {
  let folder: string
  let calls: string

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pawl-unit-'))
    calls = join(folder, 'calls')
    await writeFile(calls, [...await allowedCalls()].join('\n'))
  })
  afterAll(async () => { await rm(folder, { recursive: true, force: true }) })

  it('is valid, and as closed as the README says, by systemd\'s own count', async () => {
    expect((await run('systemd-analyze', ['verify', unit])).stderr).toBe('')
    const { stdout } = await run('systemd-analyze', ['security', '--offline=true', '--no-pager', unit])
    const [, exposure] = /Overall exposure level for pawl\.service: ([\d.]+)/.exec(stdout) ?? []
    expect(await readFile(join(deploy, 'README.md'), 'utf8')).toContain(`exposure of ${String(exposure)} out of 10`)
  })

  it('lets nobody mount, trace, load a module or change the clock, whoever asks', async () => {
    const names = (await readFile(calls, 'utf8')).split('\n')
    for (const forbidden of ['mount', 'ptrace', 'init_module', 'clock_settime', 'reboot', 'setuid', 'bpf', 'swapon', 'keyctl', 'chown']) expect(names).not.toContain(forbidden)
    const attempt = ['/usr/bin/python3', '-c', 'import ctypes; libc = ctypes.CDLL(None, use_errno=True); print(libc.setuid(0), ctypes.get_errno())']
    const answers = await Promise.all([attempt, ['/usr/bin/python3', join(import.meta.dirname, 'sandbox.py'), calls, ...attempt]]
      .map(async ([program = '', ...args]) => (await run(program, args)).stdout.trim()))
    expect(answers).toEqual(['0 0', '-1 1'])
  })

  it('lets the daemon do all that it does: watch a camera through ffmpeg, train, swap, report, end', async () => {
    const belt = new Simulation({ photographs: bundled('unlabeled'), picturesPerSecond: 10, speed: 24, seed: 1 })
    const rtsp = new RtspCamera({ stream: await belt.start(), user: 'viewer', password: 'unit' })
    const box = await Box.in(join(folder, 'box'), {
      cameras: [{ id: 'belt', source: 'simulation', maxPerSecond: 5 }, { id: 'door', source: 'rtsp', url: (await rtsp.start()).replace('//', '//viewer:unit@'), crop: 'whole' }],
    })
    const daemon = box.start({ under: ['/usr/bin/python3', join(import.meta.dirname, 'sandbox.py'), calls] })
    try {
      await daemon.said(/^camera door is online/)
      await daemon.said(/^model \d+ is in service/)
      // The kernel says that the list is on: 2 is a filter.
      const status = await Promise.all([daemon.pid, ...(await daemon.children()).map(({ pid }) => pid)].map(pid => readFile(`/proc/${String(pid)}/status`, 'utf8')))
      expect(status.length).toBeGreaterThan(2)
      for (const text of status) expect(text).toMatch(/^Seccomp:\t2$/m)
      expect(await daemon.end()).toEqual({ code: 0, signal: null })
      expect(daemon.lines.filter(line => /EPERM|not permitted/.test(line))).toEqual([])
    } finally {
      await daemon.cut()
      await box.close()
      await rtsp.stop()
      await belt.stop()
    }
  })
})

/** The system calls that the unit's lists come to, with the sets in them (systemd.exec(5)). */
async function allowedCalls(): Promise<Set<string>> {
  const { stdout } = await run('systemd-analyze', ['syscall-filter', '--no-pager'])
  const sets = new Map<string, string[]>()
  let own: string[] = []
  for (const line of stdout.split('\n')) {
    if (/^@\S+$/.test(line)) sets.set(line, own = [])
    else if (/^ {4}[^#\s]\S*$/.test(line)) own.push(line.trim())
  }
  const expanded = (name: string): string[] => (name.startsWith('@') ? (sets.get(name) ?? []).flatMap(expanded) : [name])
  const allowed = new Set<string>()
  for (const [, without, names = ''] of (await readFile(unit, 'utf8')).matchAll(/^SystemCallFilter=(~?)(.*)$/gm)) {
    for (const call of names.split(' ').flatMap(expanded)) {
      if (without) allowed.delete(call)
      else allowed.add(call)
    }
  }
  return allowed
}
