import { pino, type Logger } from 'pino'

export type { Logger }

/**
 * Takes passwords out of URLs: `mqtt://user:secret@host` becomes `mqtt://user:***@host`, also where the password has signs that it may not have
 * there; and `password=secret`, as cameras want it in paths and queries, becomes `password=***`.
 */
export function withoutPasswords(text: string): string {
  return text
    .replaceAll(/(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@"]*):[^\s"]*@/gi, '$1:***@')
    .replaceAll(/((?:pass|passwd|password|pwd|token|secret)=)[^&\s"/]+/gi, '$1***')
}

/** Signs that steer a terminal or turn its text around are written out; lines after the first are set in, so that none looks like another message. */
export function visible(text: string): string {
  const shown = text.length > longestShown ? `${text.slice(0, longestShown)}…` : text
  return shown.replaceAll('\n', '\n  ').replaceAll(/(?!\n|\u200d)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, sign => `\\u${sign.codePointAt(0)?.toString(16).padStart(4, '0') ?? ''}`)
}

const longestShown = 4000

export interface LoggerOptions {
  level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'
  /** Receives each line, as JSON; standard error unless given. */
  write?: (line: string) => void
}

/** One JSON object a line, on standard error, without passwords. */
export function createLogger({ level, write = line => { process.stderr.write(line) } }: LoggerOptions): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      redact: ['password', '*.password'],
    },
    { write: line => { write(withoutPasswords(line)) } },
  )
}
