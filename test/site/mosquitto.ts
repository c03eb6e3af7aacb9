/** mosquitto, which can be ended, stalled and started again. What it holds survives its orderly end and nothing else. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ended, hasEnded } from '../../agent/lib/child.js'
import { freePort, takesConnections } from '../free-port.js'

export const mosquitto = [...process.env.PATH?.split(':') ?? [], '/usr/sbin', '/usr/local/sbin'].map(folder => join(folder, 'mosquitto')).find(path => existsSync(path)) ?? ''
if (mosquitto === '' && process.env.CI) throw new Error('mosquitto is missing; in CI these tests may not be skipped')

export interface BrokerOptions {
  /** Absent: a free one. */
  port?: number
  /** Whether sessions and retained messages survive an orderly end, and sessions hold all that waits for them. */
  persistent?: boolean
  /** More lines of its configuration; the first listener is there. */
  more?: string | undefined
}

export class Mosquitto {
  readonly url: string
  private readonly folder: string
  private readonly persistent: boolean
  private child: ChildProcess | null = null

  private constructor({ url, folder, persistent }: { url: string; folder: string; persistent: boolean }) {
    this.url = url
    this.folder = folder
    this.persistent = persistent
  }

  /** In a folder of its own; not started yet. */
  static async in(folder: string, { port, persistent = false, more = 'allow_anonymous true' }: BrokerOptions = {}): Promise<Mosquitto> {
    await mkdir(folder, { recursive: true })
    const broker = new Mosquitto({ url: `mqtt://127.0.0.1:${String(port ?? await freePort())}`, folder, persistent })
    await broker.configure(more)
    return broker
  }

  /** From its next start on. */
  async configure(more: string): Promise<void> {
    const kept = this.persistent ? `persistence true\npersistence_location ${this.folder}/\nmax_queued_messages 0\n` : ''
    await writeFile(this.config, `user root\nlistener ${new URL(this.url).port} 127.0.0.1\n${kept}${more}\n`)
  }

  /** 0: it does not run. */
  get pid(): number {
    return this.child?.pid ?? 0
  }

  get running(): boolean {
    return this.child !== null && !hasEnded(this.child)
  }

  /** Resolves when it takes connections. */
  async start(): Promise<void> {
    const child = spawn(mosquitto, ['-c', this.config], { stdio: 'ignore' })
    this.child = child
    const last = () => { child.kill('SIGKILL') }
    process.once('exit', last)
    void ended(child).then(() => { process.off('exit', last) })
    for (let tries = 0; !await takesConnections(this.url); tries++) {
      if (tries > 200 || hasEnded(child)) throw new Error(`mosquitto does not start with ${this.config}`)
      await sleep(50)
    }
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const { child } = this
    this.child = null
    if (!child) return
    child.kill('SIGCONT')
    child.kill(signal)
    await ended(child)
  }

  /** SIGSTOP: it says nothing more and keeps its connections. SIGHUP: it reads its lists and certificates anew. */
  tell(signal: 'SIGSTOP' | 'SIGCONT' | 'SIGHUP'): void {
    this.child?.kill(signal)
  }

  private get config(): string {
    return join(this.folder, 'mosquitto.conf')
  }
}

/** Started; `stop` is a power cut. */
export interface Broker {
  url: string
  stop: () => Promise<void>
}

/** In a folder of its own for each port, with these lines in its configuration. */
export async function startMosquitto({ folder, port, lines }: { folder: string; port: number; lines?: readonly string[] }): Promise<Broker> {
  const broker = await Mosquitto.in(join(folder, `mosquitto-${String(port)}`), { port, more: lines?.join('\n') })
  await broker.start()
  return { url: broker.url, stop: () => broker.stop('SIGKILL') }
}
