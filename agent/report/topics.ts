/**
 * The MQTT contract: every topic below `<base>/<device>/`, what it carries and how it is sent. Payloads are JSON, `availability`
 * alone is plain text. Times are milliseconds since 1970.
 */
import { z } from 'zod'
import { CameraStatusSchema, DriftAlarmSchema, ModeSchema, OfferSchema, PredictionSchema, ProbationRecordSchema, PromotionRecordSchema, SignedHeadSchema } from '../schemas.js'

export interface Topic {
  /** Below `<base>/<device>/`; `{name}` stands for one level. */
  topic: string
  retained: boolean
  qos: 0 | 1
  direction: 'out' | 'in'
  description: string
  payload: z.ZodType
}

const Count = z.number().int().min(0)
const TimeMs = z.number().describe('Milliseconds since 1970')

export const Info = z.strictObject({
  device: z.string(), version: z.string(), node: z.string(), platform: z.string(), startedAtMs: TimeMs,
})

const Problem = z.strictObject({ code: z.string(), message: z.string(), atMs: TimeMs })

export const Health = z.strictObject({
  state: z.enum(['ok', 'degraded']).describe('degraded: something is wrong now, or there was a problem within the last hour'),
  atMs: TimeMs,
  uptimeSeconds: Count,
  rssBytes: Count,
  collection: z.strictObject({ state: z.enum(['running', 'stopped']), reason: z.string() }),
  camerasOnline: Count,
  cameras: Count,
  frames: Count,
  frameBytes: Count,
  outbox: z.strictObject({ waiting: Count, dropped: Count }),
  wrong: z.array(z.string()).describe('What is wrong now, in words: a camera that is not online, collection that stopped, a broker that is away, a model that does not load, a registry of models that cannot be used'),
  problems: z.array(Problem).describe('The newest ones, of the last hour'),
})

export const ModelActive = z.strictObject({
  version: Count,
  createdAtMs: TimeMs,
  loadedInMs: z.number(),
  sha256: z.string(),
  method: z.string(),
  preset: z.string(),
  classes: z.array(z.string()),
  accuracy: z.number().nullable().describe('On the promotion images, 0 to 1'),
  ece: z.number().describe('Expected calibration error on the promotion images, 0 to 1; of models of earlier versions on the gate images'),
  parent: Count.nullable(),
  /** The newest entry of the signed history; null: there is none yet. */
  lineage: SignedHeadSchema.nullable(),
})

export const TrainState = z.strictObject({
  state: z.enum(['idle', 'running']),
  round: Count.nullable(),
  trigger: z.string().nullable(),
  phase: z.string().nullable(),
  fraction: z.number().describe('0 to 1 over the whole round'),
  secondsLeft: z.number().nullable(),
  imagesPerSecond: z.number().nullable(),
  gateOpen: z.boolean().nullable(),
  paused: z.string().nullable().describe('Why the round stands still; null: it does not'),
  refused: z.string().nullable().describe('Why the last round was not started'),
})

export const DriftState = z.strictObject({
  state: z.enum(['off', 'gathering', 'watching', 'alarm'])
    .describe('off: switched off, or no model serves; gathering: what the model is used to is not known yet'),
  model: Count.nullable(),
  alarm: DriftAlarmSchema.nullable(),
})

const eventBody = { id: z.string().describe('Unique: an event may come twice after a lost connection'), atMs: TimeMs }

export const ReportedEvent = z.discriminatedUnion('type', [
  z.strictObject({ ...eventBody, type: z.literal('round-started'), round: Count, trigger: z.string(), labeled: Count, unlabeled: Count, pseudoLabels: z.boolean() }),
  z.strictObject({ ...eventBody, type: z.literal('round-ended'), round: Count, decision: PromotionRecordSchema }),
  z.strictObject({ ...eventBody, type: z.literal('round-refused-to-start'), reason: z.string() }),
  z.strictObject({ ...eventBody, type: z.literal('model-active'), version: Count, loadedInMs: z.number() }),
  z.discriminatedUnion('state', [
    z.strictObject({ ...eventBody, type: z.literal('drift'), state: z.literal('alarm'), alarm: DriftAlarmSchema }),
    z.strictObject({ ...eventBody, type: z.literal('drift'), state: z.literal('over'), alarm: DriftAlarmSchema, reason: z.enum(['new-model', 'fits-again']) }),
  ]),
  z.strictObject({ ...eventBody, type: z.literal('probation'), record: ProbationRecordSchema }),
  z.strictObject({ ...eventBody, type: z.literal('mode'), mode: ModeSchema }),
  z.strictObject({ ...eventBody, type: z.literal('quarantine'), path: z.string(), reason: z.string() }),
  z.strictObject({ ...eventBody, type: z.literal('collection'), state: z.enum(['running', 'stopped']), reason: z.string() }),
  z.strictObject({ ...eventBody, type: z.literal('problem'), code: z.string(), message: z.string() }),
])

/** The answer to a command whose `data` is known. */
export const responseOf = (data: z.ZodType) => z.discriminatedUnion('status', [
  z.strictObject({ status: z.literal('ok'), data, transaction: z.string().optional() }),
  z.strictObject({
    status: z.literal('error'), error: z.strictObject({ code: z.string(), message: z.string() }), transaction: z.string().optional(),
  }),
])
export const Response = responseOf(z.unknown())

export type ReportedEvent = z.infer<typeof ReportedEvent>
export type Health = z.infer<typeof Health>
export type Info = z.infer<typeof Info>
export type DriftState = z.infer<typeof DriftState>
export type ModelActive = z.infer<typeof ModelActive>
export type TrainState = z.infer<typeof TrainState>
export type Response = z.infer<typeof Response>

export const topics = {
  availability: {
    topic: 'availability', retained: true, qos: 1, direction: 'out', payload: z.enum(['online', 'offline']),
    description: '`online` or `offline`; the broker says `offline` for an agent that is gone (last will)',
  },
  info: { topic: 'info', retained: true, qos: 1, direction: 'out', payload: Info, description: 'Device, version, platform, start' },
  health: {
    topic: 'health', retained: true, qos: 1, direction: 'out', payload: Health,
    description: 'State, cameras, frames, memory, outbox, newest problems; on change of state and every minute',
  },
  modelActive: {
    topic: 'model/active', retained: true, qos: 1, direction: 'out', payload: ModelActive, description: 'The model in service',
  },
  modelCandidate: {
    topic: 'model/candidate', retained: true, qos: 1, direction: 'out', payload: PromotionRecordSchema,
    description: 'Promotion record of the last round that learned: the whole evidence, also when the answer was no; of a model that another box made the event `round-ended` tells',
  },
  modelProbation: {
    topic: 'model/probation', retained: true, qos: 1, direction: 'out', payload: ProbationRecordSchema,
    description: 'How the newest promoted model does beside the one before it on the site\'s frames; where it fails, the former one comes back; ended: another was put in service meanwhile',
  },
  modelMode: {
    topic: 'model/mode', retained: true, qos: 1, direction: 'out', payload: ModeSchema,
    description: '`follow`: a challenger that passes the gate serves; `pin`: the named model serves whatever passes; `pause`: no round begins either',
  },
  modelOffer: {
    topic: 'model/offer', retained: true, qos: 1, direction: 'out', payload: OfferSchema,
    description: 'A model of this box that has passed its probation, for other boxes to fetch from the registry, with the signed entry of the history that says so; none: the topic is empty',
  },
  drift: {
    topic: 'drift', retained: true, qos: 1, direction: 'out', payload: DriftState,
    description: 'Whether the pictures are still what they were when the model went into service; while they are not, since when, what moved, and what to do',
  },
  trainState: {
    topic: 'train/state', retained: true, qos: 1, direction: 'out', payload: TrainState,
    description: 'Idle or running, phase, progress, why it stands still; every 2 s at most',
  },
  cameraStatus: {
    topic: 'camera/{camera}/status', retained: true, qos: 1, direction: 'out', payload: CameraStatusSchema,
    description: 'State of a camera, rate and time of its newest picture; on change of state and every minute',
  },
  cameraPrediction: {
    topic: 'camera/{camera}/prediction', retained: true, qos: 0, direction: 'out', payload: PredictionSchema,
    description: 'Newest prediction: when the class or the model changes, else every `mqtt.predictionEveryMs`',
  },
  event: {
    topic: 'event', retained: false, qos: 1, direction: 'out', payload: ReportedEvent,
    description: 'Rounds, decisions, models, drift, quarantine, problems: in order, with their own time, kept on disk while the broker is away',
  },
  request: {
    topic: 'request/{verb}', retained: false, qos: 1, direction: 'in', payload: z.looseObject({ transaction: z.string().optional() }),
    description: 'A command, as JSON or empty; retained ones are ignored',
  },
  response: {
    topic: 'response/{verb}', retained: false, qos: 1, direction: 'out', payload: Response,
    description: '`{status: "ok", data}` or `{status: "error", error: {code, message}}`, with the `transaction` of the request',
  },
} as const satisfies Record<string, Topic>

export type TopicName = keyof typeof topics

/** Two boxes of one name push each other off the broker. */
export const clientIdOf = (device: string) => `pawl-${device}`

/** A topic of one camera. */
export const ofCamera = (topic: string, camera: string) => topic.replace('{camera}', camera)

/** Everything that a box with these cameras may retain, below its prefix. `offers`: it gives models to others. */
export function retainedTopics(cameras: readonly string[], { offers }: { offers: boolean }): string[] {
  const all: Topic[] = Object.values(topics)
  return all.filter(({ retained, topic }) => retained && (offers || topic !== topics.modelOffer.topic))
    .flatMap(({ topic }) => (topic.includes('{camera}') ? cameras.map(camera => ofCamera(topic, camera)) : [topic]))
}
