import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Simulation } from '../agent/camera/simulation.js'
import { bundled } from '../agent/config.js'
import { ended } from '../agent/lib/child.js'
import { holdFolder } from '../agent/lib/exclusive.js'
import { unwritable } from '../agent/lib/ownership.js'
import { EmbeddedBroker } from '../agent/report/broker.js'
import { freePort } from './free-port.js'

const exclusive = join(import.meta.dirname, '..', 'dist', 'agent', 'lib', 'exclusive.js')

/** A connection that is open and says nothing, as browsers keep some. */
async function silentConnection(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  await new Promise(resolve => socket.once('connect', resolve))
}

describe('the end of the agent', () => {
  it('does not wait for a silent connection to the bundled camera', async () => {
    const simulation = new Simulation({ photographs: bundled('unlabeled'), seed: 1, picturesPerSecond: 10, speed: 24 })
    await silentConnection(Number(new URL(await simulation.start()).port))
    await simulation.stop()
  }, 20_000)

  it('does not wait for a silent connection to the embedded broker', async () => {
    const broker = new EmbeddedBroker({ port: await freePort() })
    await silentConnection(Number(new URL(await broker.start()).port))
    await broker.stop()
  }, 20_000)
})

describe('the lock of a data folder', () => {
  let folder = ''
  const children: ChildProcess[] = []
  beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'pawl-lock-')) })
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  })

  /** A process that holds it, as a daemon does. */
  async function holder(): Promise<ChildProcess> {
    const program = `import { holdFolder } from ${JSON.stringify(exclusive)}; await holdFolder(${JSON.stringify(folder)}); setInterval(() => {}, 1000); console.log('held')`
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    await once(child.stdout, 'data')
    return child
  }

  it('lies inside the folder, the only place that a service may write to', async () => {
    const release = await holdFolder(folder)
    expect(await readdir(folder)).toEqual(['.holder'])
    expect((await readdir(dirname(folder))).filter(name => name.startsWith(`${basename(folder)}.`))).toEqual([])
    await release()
    expect(await readdir(folder)).toEqual([])
  })

  it('is free as soon as its holder was killed, and no sooner', async () => {
    const child = await holder()
    child.kill('SIGSTOP')
    await expect(holdFolder(folder, 500)).rejects.toMatchObject({ code: 'DATA_LOCKED', message: expect.stringContaining(folder) as string })
    child.kill('SIGKILL')
    await ended(child)
    const beganAtMs = performance.now()
    const release = await holdFolder(folder)
    expect(performance.now() - beganAtMs).toBeLessThan(10_000)
    await release()
  })

  it('is one\'s alone, however many come at once, also after a power cut', async () => {
    const child = await holder()
    child.kill('SIGKILL')
    await ended(child)
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => holdFolder(folder, 1000)))
    const held = results.filter(result => result.status === 'fulfilled')
    expect(held).toHaveLength(1)
    await held[0]?.value()
    expect(await readdir(folder)).toEqual([])
  })

  it('takes a folder whose path is longer than a socket\'s may be', async () => {
    const long = join(folder, 'x'.repeat(120), 'y'.repeat(120))
    await (await holdFolder(long))()
    expect(await readdir(long)).toEqual([])
  })

  it('says what is wrong when the folder cannot be written to, and does not blame another pawl', async () => {
    await writeFile(join(folder, 'file'), '')
    await expect(holdFolder(join(folder, 'file'))).rejects.toMatchObject({ code: 'DATA_UNWRITABLE', message: expect.stringContaining(`${folder}/file is none, or lies in a file`) as string })
    // Where nobody may, root neither.
    await expect(holdFolder('/sys/kernel/pawl-data')).rejects.toMatchObject({ code: 'DATA_UNWRITABLE', message: expect.stringContaining('/sys/kernel/pawl-data') as string })
  })

  it('says who owns the folder, who cannot write to it, and what to do', async () => {
    const [user, nobody] = [userInfo().username, 65_534]
    const denied = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' })
    const told = async (path: string, uid?: number) => String(await unwritable(path, denied, uid))
    await chmod(folder, 0o755)
    const other = await told(folder, nobody)
    expect(other).toContain(`the data folder ${folder} belongs to ${user} (mode 755), and user nobody cannot write there; sudo chown -R nobody ${folder}`)
    expect(other.includes(`run this as ${user} (sudo -u ${user} …)`)).toBe(user !== 'root')
    expect(other).toContain('or choose another folder with the key "data"')
    const absent = join(folder, 'a', 'data')
    expect(await told(absent, nobody)).toContain(`${absent} cannot be made or reached: ${folder} belongs to ${user} (mode 755), and user nobody cannot write there; sudo install -d -o nobody ${absent}`)
    await chmod(folder, 0o750)
    expect(await told(absent, nobody)).toContain(`${absent} cannot be reached: ${folder} belongs to ${user} (mode 750), and user nobody may not enter it; sudo chmod o+x ${folder}, or choose`)
    // Where the group decides, what others may is of no use. Only root can give a folder to a group that it is not in.
    const [uid, gid] = [process.getuid?.() ?? 0, nobody]
    if (uid === 0) {
      await chown(folder, uid, gid)
      expect(await told(absent, nobody)).toContain(`${absent} cannot be made`)
      await chmod(folder, 0o705)
      expect(await told(absent, nobody)).toContain(`may not enter it; sudo chmod g+x ${folder}, or choose`)
    }
    await chmod(folder, 0o555)
    expect(await told(folder)).toContain(`chmod u+rwx ${folder}, or choose`)
    // What nobody can mend by rights is told as it is.
    const full = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })
    expect(await unwritable(folder, full)).toBe(full)
  })
})
