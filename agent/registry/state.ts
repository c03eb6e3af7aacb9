/** What the registry remembers. Times are milliseconds since 1970. */
import { z } from 'zod'
import { HeadSchema, ModeSchema, ModelCardSchema, PromotionRecordSchema } from '../schemas.js'

/** 2: with mode, probation and the place in the history. */
export const stateSchemaVersion = 2

const VersionRecord = z.strictObject({
  version: z.number().int().positive(),
  folder: z.string().regex(/^\d+-[0-9a-f]{8}$/),
  createdAtMs: z.number(),
  card: ModelCardSchema,
  decision: PromotionRecordSchema,
})

export type Mode = z.infer<typeof ModeSchema>

export const RegistryState = z.strictObject({
  /** Version of the next model; never used twice. */
  nextVersion: z.number().int().positive(),
  nextRound: z.number().int().positive(),
  active: z.number().int().positive().nullable(),
  /** Proved, but not in service yet: a power cut in between is made up for at the next start. */
  pending: z.number().int().positive().nullable().default(null),
  mode: ModeSchema.default({ kind: 'follow' }),
  /** The active model is on probation: so long it can fall back to the former one by itself. */
  probation: z.strictObject({ version: z.number().int().positive(), former: z.number().int().positive() }).nullable().default(null),
  /** Where the history (`lineage.jsonl`) stands; null: there is none yet. */
  lineage: HeadSchema.nullable().default(null),
  /** Versions that were in service, oldest first; the last one is the active one. */
  served: z.array(z.number().int().positive()),
  versions: z.array(VersionRecord),
  /** Newest last, bounded. */
  decisions: z.array(PromotionRecordSchema),
  /** Challengers judged so far on each promotion set, by its hash. */
  attempts: z.record(z.string(), z.number().int().min(0)),
  /** When each named job last ran. */
  lastRunAtMs: z.record(z.string(), z.number()),
}).refine(({ active, versions }) => active === null || versions.some(({ version }) => version === active), 'the active model is not among the versions')

export type RegistryState = z.infer<typeof RegistryState>
export type VersionRecord = z.infer<typeof VersionRecord>

export const emptyState: RegistryState = {
  nextVersion: 1, nextRound: 1, active: null, pending: null, mode: { kind: 'follow' }, probation: null, lineage: null, served: [], versions: [], decisions: [], attempts: {}, lastRunAtMs: {},
}
