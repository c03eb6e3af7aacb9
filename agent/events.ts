/** What flows through the agent, as plain data. Times are milliseconds since 1970 unless named otherwise. */
import type { ModelCard, RoundEvent } from '../trainer/contract.js'
import type { FittedImage } from '../trainer/index.js'
import type { DriftEvent } from './drift/alarm.js'
import type { Offer } from './exchange/offer.js'
import type { KeptReason } from './frames/selection.js'
import type { SignedHead } from './registry/lineage.js'
import type { Mode } from './registry/state.js'
import type { ProbationRecord } from './rounds/probation.js'
import type { PromotionRecord } from './rounds/promotion.js'

/** A whole picture as a camera delivered it. */
export interface Picture {
  camera: string
  capturedAtMs: number
  jpeg: Uint8Array
}

/** What the sampler cut out of a picture: the unit that is classified, stored and learned from. */
export interface Frame {
  camera: string
  capturedAtMs: number
  /** JPEG bytes of the crop. */
  jpeg: Uint8Array
  /** The same decoded, for the model that serves; absent: not yet. */
  fitted?: FittedImage
}

export interface Prediction {
  camera: string
  capturedAtMs: number
  label: string
  /** Calibrated probability of `label`, 0 to 1. */
  confidence: number
  probabilities: Record<string, number>
  /** Registry version of the model that predicted. */
  model: number
  /** From the picture's arrival to its prediction; of a frame that another model answers again, from then. */
  latencyMs: number
}

export type CameraState = 'connecting' | 'online' | 'offline'

export interface CameraStatus {
  camera: string
  state: CameraState
  /** When the newest picture came; null: none yet. */
  lastPictureAtMs: number | null
  /** Over the last 20 seconds. */
  picturesPerSecond: number
  restarts: number
  /** Why it is not online; or, while it is, why its pictures cannot be used. */
  reason: string | null
}

/** A model version in the registry. */
export interface ModelVersion {
  version: number
  /** Folder name below data/models. */
  folder: string
  status: 'champion' | 'former' | 'refused'
  createdAtMs: number
  card: ModelCard
  decision: PromotionRecord
}

/** Everything that anyone outside may want to hear of: the terminal and MQTT both listen to this one stream. */
export type AgentEvent =
  /** On change of state or reason, and once a minute while it is online. */
  | { type: 'camera'; status: CameraStatus }
  | { type: 'frame-stored'; camera: string; id: string; reason: KeptReason; frames: number; bytes: number }
  | { type: 'prediction'; prediction: Prediction }
  | { type: 'round-started'; round: number; trigger: string; labeled: number; unlabeled: number; pseudoLabels: boolean }
  | { type: 'round-event'; round: number; event: RoundEvent }
  | { type: 'round-ended'; round: number; decision: PromotionRecord }
  | { type: 'round-refused-to-start'; reason: string }
  | { type: 'model-active'; model: ModelVersion; loadedInMs: number; lineage: SignedHead | null }
  /** running: after each look; failed: the former model is being put back in service; ended: another one was, for another reason. */
  | { type: 'probation'; record: ProbationRecord }
  | { type: 'mode'; mode: Mode }
  /** What this box gives to others from now on; null: nothing. */
  | { type: 'offer'; offer: Offer | null }
  | DriftEvent
  | { type: 'quarantine'; path: string; reason: string }
  | { type: 'broker'; state: 'connected'; url: string }
  | { type: 'broker'; state: 'disconnected'; url: string; reason: string }
  | { type: 'collection'; state: 'running' | 'stopped'; reason: string }
  | { type: 'problem'; code: string; message: string }
