import { fork, type ChildProcess, type ForkOptions } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * Forks a module of this project. `url` ends in .js; where only the TypeScript source exists (tests, development), that one runs
 * under tsx.
 */
export function forkModule(url: URL, options: ForkOptions = {}): ChildProcess {
  const built = fileURLToPath(url)
  if (existsSync(built)) return fork(built, { ...options, execArgv: [] })
  return fork(built.replace(/\.js$/, '.ts'), { ...options, execArgv: ['--import', 'tsx'] })
}

/** Resolves when the process has ended, however it did; also when it could not be started. */
export function ended(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  if (hasEnded(child)) {
    return Promise.resolve({ code: child.exitCode, signal: child.signalCode })
  }
  return new Promise(resolve => {
    child.once('exit', (code, signal) => { resolve({ code, signal }) })
    child.once('error', () => { if (child.pid === undefined) resolve({ code: null, signal: null }) })
  })
}

export function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null
}
