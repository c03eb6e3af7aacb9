import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Simulation } from '../agent/camera/simulation.js'
import { bundled } from '../agent/config.js'
import { holdFolder } from '../agent/lib/exclusive.js'
import { EmbeddedBroker } from '../agent/report/broker.js'
import { freePort } from './free-port.js'

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
  }, 3000)

  it('does not wait for a silent connection to the embedded broker', async () => {
    const broker = new EmbeddedBroker({ port: await freePort() })
    await silentConnection(Number(new URL(await broker.start()).port))
    await broker.stop()
  }, 3000)
})

describe('the lock of a data folder', () => {
  let folder = ''
  beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'pawl-lock-')) })
  afterEach(async () => { await rm(folder, { recursive: true, force: true }) })

  it('lies inside the folder, the only place that a service may write to', async () => {
    const release = await holdFolder(folder)
    expect(await readdir(folder)).toEqual(['.lock'])
    expect((await readdir(dirname(folder))).filter(name => name.startsWith(`${basename(folder)}.`))).toEqual([])
    await release()
    expect(await readdir(folder)).toEqual([])
  })

  it('says what is wrong when the folder cannot be written to, and does not blame another pawl', async () => {
    await writeFile(join(folder, 'file'), '')
    await expect(holdFolder(join(folder, 'file'))).rejects.toThrow(/^EEXIST|^ENOTDIR/)
  })
})
