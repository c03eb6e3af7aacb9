/** What boxes answer to a command: the same for the server and its page. */
import type { Verb } from '../report/commands.js'

/**
 * offline: it was not asked, as the broker would keep nothing for it; silent: there was no answer in time;
 * tooLong: it answered with more than is kept for so many boxes.
 */
export type Answer =
  | { state: 'waiting' | 'offline' | 'silent' }
  | { state: 'ok'; data: unknown }
  | { state: 'ok'; tooLong: true }
  | { state: 'error'; code: string; message: string }

export type AnswerState = Answer['state']

export interface AskProgress {
  id: string
  verb: Verb
  atMs: number
  /** Nothing more is waited for. */
  over: boolean
  /** Boxes, by what they answered. */
  counts: Record<AnswerState, number>
}

export interface AskReport extends AskProgress {
  /** By box, those that need a look first. */
  answers: Record<string, Answer>
}
