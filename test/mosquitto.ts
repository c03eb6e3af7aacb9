/** A real broker for tests, on loopback, with a configuration of one's own. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { vi } from 'vitest'
import { ended } from '../agent/lib/child.js'

/** Undefined: not installed; then tests that need it are skipped, but not in CI. */
export const mosquitto = ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto', '/usr/bin/mosquitto'].find(path => existsSync(path))
if (!mosquitto && process.env.CI) throw new Error('mosquitto is missing; in CI these tests may not be skipped')

export interface Broker {
  url: string
  /** Killed, as by a power cut. */
  stop: () => Promise<void>
  signal: (name: NodeJS.Signals) => void
}

/** Resolves when it listens. */
export async function startMosquitto({ folder, port, lines = ['allow_anonymous true'] }: { folder: string; port: number; lines?: readonly string[] }): Promise<Broker> {
  const config = join(folder, `mosquitto-${String(port)}.conf`)
  await writeFile(config, [`listener ${String(port)} 127.0.0.1`, ...lines, 'user root', ''].join('\n'))
  const child = spawn(mosquitto ?? '', ['-c', config], { stdio: 'ignore' })
  await vi.waitFor(() => new Promise<void>((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve() })
    socket.on('error', reject)
  }), { timeout: 20_000, interval: 20 })
  return {
    url: `mqtt://127.0.0.1:${String(port)}`,
    signal: name => { child.kill(name) },
    stop: async () => {
      child.kill('SIGKILL')
      await ended(child)
    },
  }
}
