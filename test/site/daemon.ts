/** The built daemon, as a process group of its own: it can be killed as a power cut would, with all that it started. */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { ended, hasEnded } from '../../agent/lib/child.js'

const built = join(import.meta.dirname, '..', '..', 'dist', 'agent', 'main.js')

export interface DaemonOptions {
  /** The configuration file. */
  config: string
  environment?: Record<string, string>
  /** User and group that it runs as; else those of the test. */
  user?: number | undefined
  /** Folder that it is started in; else that of the test. */
  cwd?: string
  /** Program and arguments that start it, in the place of the shell's: a sandbox, say. */
  under?: readonly string[]
  /** Another copy of the program. */
  main?: string
}

export class Daemon {
  /** What it says, line by line, both outputs. */
  readonly lines: string[] = []
  readonly child: ChildProcessByStdio<null, Readable, Readable>
  private readonly listeners = new Set<(line: string) => void>()
  private readonly closed: Promise<void>

  constructor({ config, environment = {}, user, cwd, main = built, under = [] }: DaemonOptions) {
    const [program, ...args] = [...under, process.execPath, main, 'run', '--config', config]
    this.child = spawn(program, args, {
      detached: true, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...environment }, ...(user === undefined ? {} : { uid: user, gid: user }), ...(cwd !== undefined && { cwd }),
    })
    this.closed = new Promise(resolve => { this.child.once('close', () => { resolve() }) })
    for (const stream of [this.child.stdout, this.child.stderr]) {
      createInterface({ input: stream }).on('line', line => {
        this.lines.push(line)
        for (const listener of [...this.listeners]) listener(line)
      })
    }
    // Nobody is to outlive the tests.
    const last = () => { this.signalAll('SIGKILL') }
    process.once('exit', last)
    void ended(this.child).then(() => { process.off('exit', last) })
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  get running(): boolean {
    return !hasEnded(this.child)
  }

  get text(): string {
    return this.lines.join('\n')
  }

  /** Hears every line from now on; gives what ends that. */
  listen(listener: (line: string) => void): () => void {
    this.listeners.add(listener)
    return () => { this.listeners.delete(listener) }
  }

  /** The first line that matches, of those from `from` on. Errors: none did in time, or the daemon ended before, with what it said. */
  async said(pattern: RegExp, { from = 0, withinMs = 60_000 }: { from?: number; withinMs?: number } = {}): Promise<RegExpExecArray> {
    const untilMs = performance.now() + withinMs
    for (;;) {
      // What it said last is read after its end.
      const over = !this.running || performance.now() > untilMs
      if (!this.running) await sleep(100)
      for (const line of this.lines.slice(from)) {
        const found = pattern.exec(line)
        if (found) return found
      }
      if (over) throw new Error(`the daemon ${this.running ? `did not say ${String(pattern)} within ${String(withinMs)} ms` : 'ended'}:\n${this.lines.slice(-30).join('\n')}`)
      await sleep(10)
    }
  }

  /** The processes that the daemon has started and that still run, by what they do. */
  async children(): Promise<{ pid: number; program: string }[]> {
    const pids = (await readFile(`/proc/${String(this.pid)}/task/${String(this.pid)}/children`, 'utf8').catch(() => '')).trim().split(' ').filter(Boolean).map(Number)
    return Promise.all(pids.map(async pid => ({ pid, program: (await readFile(`/proc/${String(pid)}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ').trim() })))
  }

  /** Kills all of it at once; resolves when nothing is left. */
  async cut(): Promise<void> {
    this.signalAll('SIGKILL')
    await this.closed
    while (this.signalAll(0)) await sleep(5)
  }

  /** Resolves when it has ended and all that it said was read. */
  async ended(): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    await this.closed
    return ended(this.child)
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    this.child.kill(signal)
    return this.ended()
  }

  /** False when the group is gone. */
  private signalAll(signal: NodeJS.Signals | 0): boolean {
    try {
      process.kill(-this.pid, signal)
      return true
    } catch {
      return false
    }
  }
}
