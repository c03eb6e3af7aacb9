/** What can be asked for over MQTT. A new command is a row here and one in handlers.ts. */
import { z } from 'zod'
import { DriftAlarmSchema, ModeSchema, PromotionRecordSchema } from '../schemas.js'

interface Command {
  description: string
  /** Then its answer is kept over a restart, so that no transaction is carried out twice. */
  changes: boolean
  /** With an optional `transaction`. */
  payload: z.ZodType
  /** `data` of the answer. */
  reply: z.ZodType
}

const common = {
  transaction: z.string().max(256).optional().describe('Chosen by who asks, new for each request: one that comes again is answered again, not carried out twice'),
}
const Count = z.number().int().min(0)
const served = z.strictObject({ model: Count })
const moded = z.strictObject({ mode: ModeSchema })

export const commands = {
  train: {
    description: 'Starts a round now; answers when it has started',
    changes: true,
    payload: z.strictObject({ ...common, reason: z.string().max(256).default('command') }),
    reply: z.strictObject({ started: z.literal(true) }),
  },
  status: {
    description: 'Answers with the state of the agent',
    changes: false,
    payload: z.strictObject(common),
    reply: z.strictObject({
      device: z.string(),
      model: Count.nullable().describe('The one that the registry has in service'),
      serving: Count.nullable().describe('The one that answers: another one while a model is loaded'),
      mode: ModeSchema,
      probation: z.boolean().describe('Whether the model in service may still fall back by itself'),
      training: z.boolean(),
      frames: Count,
      frameBytes: Count,
      drift: DriftAlarmSchema.nullable(),
      decisions: z.array(PromotionRecordSchema).describe('The newest ones'),
    }),
  },
  promote: {
    description: 'Puts a model in service, whatever was proved of it; it is not on probation',
    changes: true,
    payload: z.strictObject({ ...common, version: z.number().int().positive() }),
    reply: served,
  },
  rollback: {
    description: 'Puts the model before the one in service back',
    changes: true,
    payload: z.strictObject(common),
    reply: served,
  },
  pin: {
    description: 'Keeps a model in service, whatever passes the gate: the one that serves, unless another is named',
    changes: true,
    payload: z.strictObject({ ...common, version: z.number().int().positive().optional() }),
    reply: moded,
  },
  follow: {
    description: 'A challenger that passes the gate serves: ends `pin` and `pause`',
    changes: true,
    payload: z.strictObject(common),
    reply: moded,
  },
  pause: {
    description: 'No round begins, and what passes in one that runs does not serve',
    changes: true,
    payload: z.strictObject(common),
    reply: moded,
  },
  reload: {
    description: 'Reads the configuration anew, as SIGHUP does: what is wrong in it is the answer, and then nothing changes',
    changes: true,
    payload: z.strictObject(common),
    reply: z.strictObject({ reloading: z.literal(true) }),
  },
} as const satisfies Record<string, Command>

export type Verb = keyof typeof commands
export const verbs = Object.keys(commands) as Verb[]

export type Request<V extends Verb> = z.infer<(typeof commands)[V]['payload']>
export type Reply<V extends Verb> = z.infer<(typeof commands)[V]['reply']>

/** What a handler returns becomes `data`; what it throws becomes `error`. */
export type CommandHandlers = { [V in Verb]: (request: Request<V>) => Reply<V> | Promise<Reply<V>> }
