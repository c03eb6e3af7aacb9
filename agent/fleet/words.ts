/** What a row says, in words: the same on the page and in the terminal; and in which order answers are told. */
import { time } from '../dashboard/format.js'
import type { AnswerState } from './answers.js'
import type { Row } from './row.js'

export function stateOf({ online, health }: Row): { text: string; tone: 'good' | 'warning' | 'bad' } {
  if (online !== true) return { text: online === null ? 'unknown' : 'offline', tone: 'bad' }
  if (health === null) return { text: 'online', tone: 'good' }
  return health === 'ok' ? { text: 'ok', tone: 'good' } : { text: health, tone: 'warning' }
}

export function camerasOf({ online, cameras, camerasDown }: Row): string {
  if (online !== true) return cameras === 0 ? '0' : `${String(cameras)} unknown`
  return camerasDown.length === 0 ? String(cameras) : `${String(camerasDown.length)} of ${String(cameras)} down`
}

export function modelOf({ model, mode }: Row): string {
  return `${model === null ? 'none' : String(model)}${mode === 'pin' ? ', pinned' : mode === 'pause' ? ', paused' : ''}`
}

export function roundOf({ round, running }: Row): string {
  if (running) return `${running.round === null ? '' : `${String(running.round)}: `}runs, ${String(Math.round(100 * running.fraction))} %`
  return round ? `${String(round.round)}: ${round.promoted ? 'promoted' : round.reason}` : 'none yet'
}

export function wrongOf({ online, wrong, heardAtMs }: Row): string {
  if (online === true || heardAtMs === null) return wrong.join('; ')
  return [`last heard ${time(heardAtMs)}`, ...wrong].join('; ')
}

export const accuracyOf = ({ accuracy }: Row) => (accuracy === null ? '' : `${(100 * accuracy).toFixed(1)} %`)

/** Those that need a look first. */
export const answerStates = ['error', 'silent', 'offline', 'waiting', 'ok'] as const satisfies readonly AnswerState[]
