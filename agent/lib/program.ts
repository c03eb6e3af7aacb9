import { execFile } from 'node:child_process'

export interface ProgramOptions {
  timeoutMs?: number
  /** Beside the agent's own. */
  environment?: Readonly<Record<string, string | undefined>>
}

/** What a program printed, or why it did not run to its end. Never raises: also when there is no memory to start it. */
export function runProgram(
  name: string, args: readonly string[], { timeoutMs = 5000, environment = {} }: ProgramOptions = {},
): Promise<string | Error> {
  return new Promise(resolve => {
    try {
      execFile(name, args, { timeout: timeoutMs, env: { ...process.env, ...environment } }, (failure, stdout) => { resolve(failure ?? stdout) })
    } catch (cause) {
      resolve(cause instanceof Error ? cause : new Error(String(cause)))
    }
  })
}
