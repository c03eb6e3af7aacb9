/** What is said when the pictures have changed. */
import type { Move } from './reference.js'

export interface DriftAlarm {
  /** two-sample: the newest predictions beside the reference; adwin: the mean confidence over a longer time. */
  detector: 'two-sample' | 'adwin'
  /** Version of the model whose predictions moved. */
  model: number
  /** When the change began, as near as the detector can tell. */
  sinceMs: number
  raisedAtMs: number
  /** Bound on the chance that this test finds so much where nothing changed, over all dimensions and cuts. */
  p: number
  /** What `p` had to stay below: the test's part of the false alarms that are allowed. */
  alpha: number
  /** What moved farthest. */
  moved: Move[]
  /** All that for a person, and what to do about it. */
  message: string
}

export type DriftEvent =
  /** What the model is used to is being gathered. */
  | { type: 'drift'; state: 'gathering'; model: number }
  /** The model is watched. */
  | { type: 'drift'; state: 'watching'; model: number }
  | { type: 'drift'; state: 'alarm'; alarm: DriftAlarm }
  /** The agent started while it stood. */
  | { type: 'drift'; state: 'still'; alarm: DriftAlarm }
  | { type: 'drift'; state: 'over'; alarm: DriftAlarm; reason: 'new-model' | 'fits-again' }

/** What has changed, what that means for learning, and what a person can do about it. */
export function explain({ sinceMs, moved, p }: Pick<DriftAlarm, 'sinceMs' | 'moved' | 'p'>): string {
  const seen = moved.map(move => `${nameOf(move)} ${move.from.toFixed(2)} → ${move.to.toFixed(2)}`).join(', ')
  return `the pictures have changed since ${new Date(sinceMs).toISOString().slice(0, 16)}Z (${seen}; p ${p < 1e-12 ? 'below 1e-12' : p.toExponential(0)}): `
    + 'until a new model serves, pseudo-labels are not trusted. Label some of the new ones: copy pictures from frames/ in the data folder'
    + ' into a folder for each class, then `pawl label import FOLDER`'
}

function nameOf({ kind, name }: Move): string {
  return kind === 'class' ? `class ${name}` : kind === 'embedding' ? `embedding ${name}` : 'confidence'
}
