/** What goes into a round and what comes out of it: plain data, so that it can cross a process boundary. */

import type { Recipe } from './recipe.js'

export const presetNames = ['nano', 'micro', 'tiny'] as const
export type PresetName = (typeof presetNames)[number]
export const methods = ['pawl', 'supervised', 'mae-finetune', 'ungated', 'paper'] as const
export type MethodName = (typeof methods)[number]
/** Other names that two of them go by. */
export const methodAliases = { ssmae: 'pawl', 'ssmae-ungated': 'ungated' } as const satisfies Record<string, MethodName>

/** An image file and the class it shows. */
export interface LabeledImage {
  path: string
  label: string
  /** What it shows besides: images of one scene are right or wrong together. Absent: a scene of its own. */
  scene?: string | undefined
}

/** One round: everything that it needs to know. Paths are absolute. */
export interface RoundSpec {
  /** Human labels to learn from. */
  labeled: LabeledImage[]
  /** Frames nobody labeled. */
  unlabeled: string[]
  /** Validation for the pseudo-label gate, the temperature and the transformer's share; looked at often, never trained on. */
  gate: LabeledImage[]
  /** Validation for the promotion gate; opened once, at the end. Never trained on. */
  promotion: LabeledImage[]
  /** Folder that receives model.onnx, weights.safetensors, card.json, reconstruction.png; created when missing. */
  out: string
  preset: PresetName
  method: MethodName
  seed: number
  /** Training steps; null: as many as `minutes` allow. */
  steps: number | null
  /** Wall-clock budget of the whole round, loading and export included; null: unbounded. */
  minutes: number | null
  backend: 'auto' | 'onnxruntime' | 'tensorflow'
  device: 'auto' | 'cpu' | 'webgpu' | 'cuda'
  /** File that remembers which engines were verified on this machine; null: nothing is remembered. */
  engines: string | null
  /** The model in service, which the challenger is compared with and may start from. */
  champion: ChampionRef | null
  /** Processor lanes (worker threads); null: one a core. */
  lanes: number | null
  /** What the round does otherwise than its method says, as `gate: 'never'` where the gate split is known not to speak for the frames. */
  switches: Partial<Recipe>
  /** Folder with the weights.safetensors and card.json of a model that was made elsewhere: it is judged, nothing is learned. */
  given?: string | undefined
}

/** What the self-check of an engine found: one step of the real model beside the embedded engine's plainest graph. */
export interface Verification {
  engine: { backend: 'onnxruntime' | 'tensorflow'; device: 'cpu' | 'webgpu' | 'cuda' }
  ok: boolean
  /** Why not; null when it passes. */
  reason: string | null
  /** Largest relative difference of a loss; null where it did not get so far. */
  lossDifference: number | null
  /** Length of the gradients' difference over the gradient's length. */
  gradientDifference: number | null
  /** Relative difference between the gradient's length and the loss's slope along it, by central differences. */
  slopeDifference: number | null
  imagesPerSecond: number | null
}

export interface ChampionRef {
  version: number
  /** Folder with model.onnx and weights.safetensors. */
  folder: string
  /** It was made elsewhere. */
  given?: boolean | undefined
}

/** One look of the pseudo-label gate at the gate split. */
export interface GateLook {
  step: number
  open: boolean
  /** Threshold on the teacher's confidence; null while closed or paused. */
  threshold: number | null
  /** Gate images predicted above the threshold, and how many of them rightly. */
  accepted: number
  correct: number
  /** The one-sided Clopper-Pearson lower bound of the precision that was decided on, at this look's share of alpha; 0 when nothing is accepted. */
  precisionLowerBound: number
  /** Classes whose pseudo-labels are not used. */
  vetoed: string[]
  /** Teacher accuracy on the whole gate split. */
  accuracy: number
}

export interface Metrics {
  images: number
  correct: number
  accuracy: number
  /** Two-sided 95 % Wilson interval of the accuracy. */
  interval: [number, number]
  nll: number
  /** Expected calibration error, 0 to 1. */
  ece: number
}

/** The predictions of one model on the promotion split, in the order of `PairedEvidence.labels`. */
export interface Predictions {
  /** Index into `PairedEvidence.classes`; -1: a class that the other model does not know. */
  predicted: number[]
  /** Negative log-likelihood of the true class, nats; 27.6 for a class that the model cannot name. */
  nll: number[]
  /** Probability of the predicted class. */
  confidence: number[]
  /** Classes that the model cannot name, indices; absent: it can name all. */
  unnamed?: number[] | undefined
}

/** What the promotion gate decides on: both models on the same unseen images. */
export interface PairedEvidence {
  classes: string[]
  /** True class of each image, an index into `classes`. */
  labels: number[]
  /** Scene of each image. */
  scenes: string[]
  challenger: Predictions
  champion: Predictions | null
  /** True class of each image that is not among these, for a model from elsewhere owes itself to it; absent: there is none. */
  leftOut?: number[] | undefined
}

/** Weights that a round begins with: its own, its own but for the words of the model in service, or all of that model's transformer. */
export const starts = ['scratch', 'words', 'champion'] as const
export type Start = (typeof starts)[number]

export interface ModelCard {
  format: 'pawl-model-card/1'
  createdAt: string
  method: MethodName
  preset: PresetName
  /** Every switch of the recipe, by name. */
  recipe: Record<string, unknown>
  seed: number
  classes: string[]
  parameters: number
  steps: number
  seconds: number
  imagesPerSecond: number
  backend: string
  device: string
  /** Numbers of images. `quarantined` could not be read; `leaked` were labels that judge as well, and did not teach (cards of before do not tell). */
  data: { labeled: number; unlabeled: number; gate: number; promotion: number; quarantined: number; leaked?: number | undefined; sha256: string }
  /** On the gate split, which temperature and `trainedShare` are fitted to: its calibration error flatters. */
  validation: Metrics
  temperature: number
  /** How much the transformer counts against the shortcut beside it, 0 to 1; null or absent: it is alone. */
  trainedShare?: number | null | undefined
  /** `used` in steps of the transformer; `taught` the shortcut (cards of before do not tell). */
  pseudoLabels: { used: number; taught?: number | undefined; gateOpenings: number; lastThreshold: number | null; precisionLowerBound: number }
  gate: GateLook[]
  parent: { version: number; sha256: string } | null
  /** What its training began with (cards of before do not tell); in a model from elsewhere something of a parent that is not known here. */
  start?: Start | undefined
  files: { 'model.onnx': string; 'weights.safetensors': string }
  /** How model.onnx was quantised after the round, and why that was allowed; everything above tells of the model before. */
  quantisation?: Quantisation | undefined
}

/** The quantised model beside the one that it was made from, on the same labeled images. */
export interface Quantisation {
  kind: 'int8-dynamic'
  createdAt: string
  /** SHA-256 of the model.onnx that it was made from. */
  from: string
  images: number
  /** Images that the model had right before and has right now. */
  correctBefore: number
  correct: number
  /** Images that only the quantised model, and only the one before, has right. */
  wins: number
  losses: number
  /** One-sided 95 % lower bound of the accuracy gained, and what it had to stay above (minus the tolerance). */
  gainLowerBound: number
  leastGain: number
}

export type RoundPhase = 'load' | 'prepare' | 'reconstruct' | 'finetune' | 'semi-supervised' | 'export' | 'evidence'

export type RoundEvent =
  | { type: 'phase'; phase: RoundPhase }
  | {
      type: 'progress'
      phase: RoundPhase
      step: number
      steps: number
      /** 0 to 1 over the whole round. */
      fraction: number
      secondsLeft: number
      losses: { reconstruction: number; labeled: number; unlabeled: number }
      imagesPerSecond: number
    }
  /** What trains, and why that. */
  | { type: 'engine'; backend: string; device: string; reason: string }
  | { type: 'gate'; look: GateLook }
  /** The round was interrupted before and goes on after this step. */
  | { type: 'resumed'; step: number }
  /** The state could not be written down: the round goes on, but would start anew after an interruption. */
  | { type: 'checkpoint-failed'; step: number; reason: string }
  /** The round stands still from now on, because of this; null: it goes on. The time between is none of its minutes. */
  | { type: 'pause'; reason: string | null }
  | { type: 'quarantine'; path: string; reason: string }
  /** Once: labels that are pictures which judge as well are left out; the message names the first ten, with what each is a copy of. */
  | { type: 'leaked'; labels: number; message: string }

/** Mean losses over the steps up to this one, since the point before; null where a branch was not computed. */
export interface LossPoint {
  step: number
  reconstruction: number | null
  labeled: number | null
  unlabeled: number | null
}

export interface RoundResult {
  card: ModelCard
  evidence: PairedEvidence
  /** Files of the images of the evidence, in its order. */
  paths: string[]
  /** Over the whole round, at equal distances. */
  losses: LossPoint[]
  /** Images that were left out: unreadable ones, and labels that judge as well. */
  quarantined: { path: string; reason: string }[]
}

/** Raised when a round ends without a model. `reason` is stable; the message says more. `unfit`: a model from elsewhere is none of this version. */
export type RoundFailure = 'labels' | 'diverged' | 'export-mismatch' | 'unfit' | 'out-of-memory' | 'out-of-time' | 'stopped' | 'crashed'

export class RoundError extends Error {
  override readonly name = 'RoundError'
  readonly reason: RoundFailure

  constructor(reason: RoundFailure, message: string, options?: ErrorOptions) {
    super(message, options)
    this.reason = reason
  }
}

/** What a model says of itself, in the ONNX file's metadata. */
export interface ModelMetadata {
  classes: string[]
  /** Pixels a side; the input is uint8 [N, size, size, 3], RGB. */
  size: number
  /** Version of the decoding and resizing that `decodeImage` does. */
  preprocessing: 'contain-rgb-1'
}

/** What a round's process is started with: huge pages spare it page faults. Allocators other than glibc's pass over it. */
export const trainerEnvironment: Readonly<Record<string, string>> = { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' }

/** Messages between the agent and a trainer child process. */
export type TrainerRequest =
  /** `cpuShare`: of all processor cores, 0 to 1. */
  | { type: 'round'; spec: RoundSpec; cpuShare: number }
  /** The round is to stand still, because of this; null: to go on. */
  | { type: 'pause'; reason: string | null }
  | { type: 'stop' }
export type TrainerReply =
  | { type: 'event'; event: RoundEvent }
  | { type: 'result'; result: RoundResult }
  | { type: 'failed'; reason: RoundFailure; message: string }
