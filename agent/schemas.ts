/** The shapes of what crosses a boundary (registry file, MQTT), checked against the types that the agent uses. */
import { z } from 'zod'
import { methodAliases, methods, presetNames, starts, type LossPoint, type MethodName, type ModelCard } from '../trainer/contract.js'
import type { DriftAlarm } from './drift/alarm.js'
import type { Dimension } from './drift/reference.js'
import type { CameraStatus, Prediction } from './events.js'
import type { ProbationRecord } from './rounds/probation.js'
import type { PromotionRecord } from './rounds/promotion.js'

const Count = z.number().int().min(0)
const Share = z.number().min(0).max(1)
const TimeMs = z.number()
const Sha256 = z.string().regex(/^[0-9a-f]{64}$/)
/** Of what a registry holds. */
const Digest = z.string().regex(/^sha256:[0-9a-f]{64}$/)

const Interval = z.tuple([z.number(), z.number()])

const ComparisonSchema = z.looseObject({
  images: Count,
  scenes: Count.optional(),
  wins: Count,
  losses: Count,
  p: z.number(),
  newClasses: z.array(z.string()).optional(),
  alpha: z.number(),
  attempt: Count,
  intervalChallenger: Interval,
  intervalChampion: Interval.nullable(),
  gainLowerBound: z.number(),
  nllChallenger: z.number(),
  nllChampion: z.number().nullable(),
  eceChallenger: Share.optional(),
  eceChampion: Share.nullish(),
  perClass: z.array(z.looseObject({
    class: z.string(), images: Count, challenger: Count, champion: Count.nullable(), regressionP: z.number().nullable(),
  })),
})

export const PromotionRecordSchema: z.ZodType<PromotionRecord> = z.looseObject({
  round: Count,
  decidedAtMs: TimeMs,
  promoted: z.boolean(),
  reason: z.enum([
    'first-model', 'better', 'refreshed', 'inconclusive', 'regressed', 'class-regressed', 'likelihood-worse', 'below-chance', 'no-evidence', 'held',
    'labels', 'diverged', 'export-mismatch', 'unfit', 'out-of-memory', 'out-of-time', 'stopped', 'crashed',
  ]),
  explanation: z.string(),
  champion: Count.nullable(),
  challenger: Count.nullable(),
  accuracyChampion: Share.nullable(),
  accuracyChallenger: Share.nullable(),
  comparison: ComparisonSchema.nullable(),
  from: z.strictObject({ box: z.string(), version: Count, digest: z.string() }).optional(),
})

const Compared = z.strictObject({ differ: Share, gain: z.number() }).nullable()

export const ProbationRecordSchema: z.ZodType<ProbationRecord> = z.strictObject({
  model: Count,
  former: Count,
  state: z.enum(['running', 'passed', 'failed', 'ended']),
  reason: z.enum(['less-sure', 'crashes']).nullable(),
  frames: Count,
  of: Count,
  site: Compared,
  promotion: Compared,
  p: Share.nullable(),
  alpha: Share,
  explanation: z.string(),
})

const GateLookSchema = z.looseObject({
  step: Count,
  open: z.boolean(),
  threshold: z.number().nullable(),
  accepted: Count,
  correct: Count,
  precisionLowerBound: z.number(),
  vetoed: z.array(z.string()),
  accuracy: Share,
})

export const LossPointSchema: z.ZodType<LossPoint> = z.strictObject({
  step: Count, reconstruction: z.number().nullable(), labeled: z.number().nullable(), unlabeled: z.number().nullable(),
})

const aliases = Object.keys(methodAliases) as (keyof typeof methodAliases)[]
/** A method by any of its names. */
export const Method = z.enum([...methods, ...aliases])
  .transform((name): MethodName => (name in methodAliases ? methodAliases[name as keyof typeof methodAliases] : name as MethodName))

export const ModelCardSchema: z.ZodType<ModelCard> = z.looseObject({
  format: z.literal('pawl-model-card/1'),
  createdAt: z.string(),
  method: Method,
  preset: z.enum(presetNames),
  recipe: z.record(z.string(), z.unknown()),
  seed: z.number(),
  classes: z.array(z.string()).min(1),
  parameters: Count,
  steps: Count,
  seconds: z.number(),
  imagesPerSecond: z.number(),
  backend: z.string(),
  device: z.string(),
  data: z.looseObject({
    labeled: Count, unlabeled: Count, gate: Count, promotion: Count, quarantined: Count, leaked: Count.optional(), sha256: z.string(),
  }),
  validation: z.looseObject({
    images: Count,
    correct: Count,
    accuracy: Share,
    interval: Interval,
    nll: z.number(),
    ece: z.number(),
  }),
  temperature: z.number(),
  trainedShare: z.number().nullish(),
  pseudoLabels: z.looseObject({
    used: Count, gateOpenings: Count, lastThreshold: z.number().nullable(), precisionLowerBound: z.number(),
  }),
  gate: z.array(GateLookSchema),
  parent: z.looseObject({ version: Count, sha256: z.string() }).nullable(),
  start: z.enum(starts).optional(),
  files: z.looseObject({ 'model.onnx': Sha256, 'weights.safetensors': Sha256 }),
  quantisation: z.looseObject({
    kind: z.literal('int8-dynamic'), createdAt: z.string(), from: Sha256, images: Count, correctBefore: Count, correct: Count, wins: Count, losses: Count,
    gainLowerBound: z.number(), leastGain: z.number(),
  }).optional(),
})

export const DimensionSchema: z.ZodType<Dimension> = z.strictObject({ kind: z.enum(['embedding', 'class', 'confidence']), name: z.string() })

export const DriftAlarmSchema: z.ZodType<DriftAlarm> = z.strictObject({
  detector: z.enum(['two-sample', 'adwin']),
  model: Count,
  sinceMs: TimeMs,
  raisedAtMs: TimeMs,
  p: Share,
  alpha: Share,
  moved: z.array(z.strictObject({
    kind: z.enum(['embedding', 'class', 'confidence']), name: z.string(), distance: Share, from: z.number(), to: z.number(),
  })),
  message: z.string(),
})

export const CameraStatusSchema: z.ZodType<CameraStatus> = z.strictObject({
  camera: z.string(),
  state: z.enum(['connecting', 'online', 'offline']),
  lastPictureAtMs: TimeMs.nullable(),
  picturesPerSecond: z.number().min(0),
  restarts: Count,
  reason: z.string().nullable(),
})

export const PredictionSchema: z.ZodType<Prediction> = z.strictObject({
  camera: z.string(),
  capturedAtMs: TimeMs,
  label: z.string(),
  confidence: z.number(),
  probabilities: z.record(z.string(), z.number()),
  model: Count,
  latencyMs: z.number().min(0),
})

/** follow: a challenger that passes the gate serves; pin: one model serves whatever passes; pause: no round begins either. */
export const ModeSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('follow') }),
  z.strictObject({ kind: z.literal('pin'), version: z.number().int().positive() }),
  z.strictObject({ kind: z.literal('pause') }),
])

export const LineageEntrySchema = z.strictObject({
  /** From 1. */
  sequence: z.number().int().positive(),
  atMs: z.number(),
  change: z.enum(['registered', 'decided', 'promoted', 'rolled-back', 'retired', 'mode', 'undone', 'continued', 'published']),
  /** The model that it is about; null: none. */
  version: z.number().int().positive().nullable(),
  /** Hashes of its files, its card and the decision on it. */
  model: Sha256.nullable(),
  card: Sha256.nullable(),
  decision: Sha256.nullable(),
  why: z.string(),
  /** Of `undone`: the last entry that holds. */
  holds: z.number().int().min(0).nullable(),
  /** Hash of the entry before; 64 zeros: none. */
  previous: Sha256,
  /** Fingerprint of the key that signs. */
  key: z.string(),
  /** Of `published`: the digest of the manifest under which a registry holds the model. */
  manifest: Digest.optional(),
})
/** A line: the signature, hexadecimal, is of the entry's JSON, to the byte. */
export const SignedEntrySchema = z.strictObject({ entry: LineageEntrySchema, signature: z.string().regex(/^[0-9a-f]{128}$/) })

/** The newest entry as it goes out, with the key that it is signed with (SPKI, PEM). */
export const SignedHeadSchema = SignedEntrySchema.extend({ publicKey: z.string() })

/** A model that a box gives to others. All but the entry is for people and for a first look: what counts is what the entry signs. */
export const OfferSchema = z.strictObject({
  format: z.literal('pawl-offer/1'),
  manifest: Digest,
  /** Registry, repository and digest, as tools of the trade take it. */
  reference: z.string().max(1024),
  /** SHA-256 of model.onnx. */
  model: Sha256,
  preset: z.enum(presetNames),
  classes: z.array(z.string().min(1).max(100)).min(1).max(1000),
  method: z.string().max(64),
  createdAt: z.string().max(64),
  /** On the promotion images of its box, 0 to 1. */
  accuracy: Share.nullable(),
  /** The entry of its box's history that says that it was published, with its signature. */
  signed: SignedEntrySchema,
})

/** Where the history of the models stands. */
export const HeadSchema = z.strictObject({ sequence: z.number().int().positive(), hash: Sha256 })
