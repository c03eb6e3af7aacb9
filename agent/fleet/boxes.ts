/**
 * The boxes of a broker, from what they retain there and nothing else. Pure.
 *
 * INVARIANTS
 * - Of each topic the newest text that made sense is kept; anything else is counted and passed over, and changes nothing.
 * - Memory is bounded: boxes, cameras of a box, bytes of a text, bytes of all.
 */
import { z } from 'zod'
import type { CameraStatus } from '../events.js'
import { CameraStatusSchema, ModeSchema } from '../schemas.js'
import { DriftState, Health, ModelActive, topics, TrainState } from '../report/topics.js'
import type { Row } from './row.js'

/** As in the configuration of a box. */
const namePattern = /^[a-zA-Z0-9_-]{1,64}$/
const [mostBoxes, mostCameras] = [20_000, 256]
const [mostTextBytes, mostBytes] = [256 * 1024, 256 * 2 ** 20]

/** Shown at a glance. */
const Line = z.string().transform(text => text.slice(0, 200))
const mostWrong = 5

/** What is read of each topic; the rest may differ: boxes of several versions are in one fleet. */
const read = {
  availability: topics.availability.payload,
  info: z.object({ version: Line }),
  health: z.object({
    ...Health.pick({ state: true, atMs: true, rssBytes: true, camerasOnline: true, cameras: true, frames: true, frameBytes: true }).shape,
    wrong: z.array(Line).transform(all => all.slice(0, mostWrong)),
    collection: Health.shape.collection.pick({ state: true }).strip().optional(),
    outbox: z.object({ waiting: z.number(), dropped: z.number().optional() }),
  }),
  'model/active': ModelActive.pick({ version: true, accuracy: true, createdAtMs: true }).strip(),
  'model/candidate': z.object({ round: z.number(), promoted: z.boolean(), reason: Line, decidedAtMs: z.number(), accuracyChallenger: z.number().nullish() }),
  'model/mode': ModeSchema,
  drift: DriftState.pick({ state: true }).strip(),
  'train/state': TrainState.pick({ state: true, round: true, phase: true, fraction: true }).extend({ phase: Line.nullable() }).strip(),
} as const
const Camera = z.object({ state: z.enum(['connecting', 'online', 'offline']) })

type Read = typeof read
type Topic = keyof Read
/** Below `<base>/<device>/`. */
export const followed = [...Object.keys(read), 'camera/+/status']
type Values = { [T in Topic]?: z.infer<Read[T]> }

/** What of a topic is kept apart from the row. */
interface Told {
  text: string
  bytes: number
  generation: number
}

export interface Box {
  device: string
  values: Values
  cameras: Map<string, z.infer<typeof Camera>>
  /** By topic below the box. */
  told: Map<string, Told>
}

export type Heard = 'changed' | 'same' | 'passed over'

export class Boxes {
  private readonly boxes = new Map<string, Box>()
  private generation = 0
  private bytes = 0
  /** Messages that were passed over, by why. */
  readonly passedOver = { foreign: 0, malformed: 0, tooMuch: 0 }

  get size(): number {
    return this.boxes.size
  }

  all(): IterableIterator<Box> {
    return this.boxes.values()
  }

  box(device: string): Box | undefined {
    return this.boxes.get(device)
  }

  /** A message: `topic` below the base, an empty text where the topic was cleared. */
  accept(topic: string, payload: Uint8Array): { device: string; heard: Heard } {
    const [device = '', ...levels] = topic.split('/')
    const below = levels.join('/')
    const camera = /^camera\/([^/]+)\/status$/.exec(below)?.[1] ?? null
    const pass = (why: keyof typeof this.passedOver) => {
      this.passedOver[why]++
      return { device, heard: 'passed over' as const }
    }
    if (!namePattern.test(device) || (camera === null ? !(below in read) : !namePattern.test(camera))) return pass('foreign')
    if (payload.length === 0) return { device, heard: this.clear(device, below, camera) }
    const known = this.boxes.get(device)
    const former = known?.told.get(below)
    const tooMany = known ? camera !== null && !former && known.cameras.size >= mostCameras : this.boxes.size >= mostBoxes
    if (tooMany || payload.length > mostTextBytes || this.bytes + payload.length > mostBytes) return pass('tooMuch')
    const text = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('utf8')
    if (former?.text === text) {
      former.generation = this.generation
      return { device, heard: 'same' }
    }
    const parsed = (camera === null ? read[below as Topic] : Camera).safeParse(below === 'availability' ? text : parse(text))
    if (!parsed.success) return pass('malformed')
    const box = known ?? { device, values: {}, cameras: new Map<string, z.infer<typeof Camera>>(), told: new Map<string, Told>() }
    if (!known) this.boxes.set(device, box)
    this.bytes += payload.length - (former?.bytes ?? 0)
    box.told.set(below, { text, bytes: payload.length, generation: this.generation })
    if (camera === null) box.values = { ...box.values, [below]: parsed.data }
    else box.cameras.set(camera, parsed.data as z.infer<typeof Camera>)
    return { device, heard: 'changed' }
  }

  /** From now on everything is heard anew: the connection is a new one. */
  begin(): void {
    this.generation++
  }

  /** All that is retained was heard: what was not, is no more. Gives the boxes that have changed. */
  sweep(): Set<string> {
    const changed = new Set<string>()
    for (const { device, told } of this.boxes.values()) {
      for (const [below, { generation }] of told) {
        if (generation === this.generation) continue
        this.clear(device, below, /^camera\/([^/]+)\//.exec(below)?.[1] ?? null)
        changed.add(device)
      }
    }
    return changed
  }

  private clear(device: string, below: string, camera: string | null): Heard {
    const box = this.boxes.get(device)
    const former = box?.told.get(below)
    if (!box || !former) return 'same'
    this.bytes -= former.bytes
    box.told.delete(below)
    if (camera === null) box.values = Object.fromEntries(Object.entries(box.values).filter(([topic]) => topic !== below))
    else box.cameras.delete(camera)
    if (box.told.size === 0) this.boxes.delete(device)
    return 'changed'
  }
}

export function rowOf({ device, values, cameras }: Box): Row {
  const { availability, info, health, drift } = values
  const here = availability === 'online'
  const [active, decision, mode, train] = [values['model/active'], values['model/candidate'], values['model/mode'], values['train/state']]
  return {
    device,
    online: availability === undefined ? null : availability === 'online',
    heardAtMs: availability === 'online' ? null : health?.atMs ?? null,
    version: info?.version ?? null,
    health: health?.state ?? null,
    wrong: health?.wrong ?? [],
    cameras: Math.max(cameras.size, health?.cameras ?? 0),
    camerasDown: here ? [...cameras].filter(([, { state }]) => state !== 'online').map(([camera]) => camera).sort() : [],
    model: active?.version ?? null,
    accuracy: active?.accuracy ?? null,
    mode: mode?.kind ?? null,
    round: decision ? { round: decision.round, promoted: decision.promoted, reason: decision.reason, decidedAtMs: decision.decidedAtMs } : null,
    running: here && train?.state === 'running' ? { round: train.round, phase: train.phase, fraction: train.fraction } : null,
    drift: drift?.state ?? null,
    frames: health?.frames ?? null,
    frameBytes: health?.frameBytes ?? null,
  }
}

/** What a box retains, by topic, set out in lines. */
export function retainedBy({ told }: Box): Record<string, string> {
  return Object.fromEntries([...told].map(([topic, { text }]) => [topic, topic === 'availability' ? text : JSON.stringify(parse(text), null, 2)] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** All that it says of each of these; null: nothing, or not in the shape that this version knows. */
export function toldBy({ told }: Box) {
  const of = <N extends 'info' | 'health' | 'modelActive' | 'modelCandidate' | 'drift' | 'trainState'>(name: N): z.infer<(typeof topics)[N]['payload']> | null => {
    const { topic, payload } = topics[name]
    return (payload.safeParse(parse(told.get(topic)?.text ?? '')).data ?? null) as z.infer<(typeof topics)[N]['payload']> | null
  }
  return {
    info: of('info'), health: of('health'), modelActive: of('modelActive'), modelCandidate: of('modelCandidate'), drift: of('drift'), trainState: of('trainState'),
  }
}

export function camerasOf({ told }: Box): CameraStatus[] {
  return [...told].filter(([topic]) => topic.startsWith('camera/')).map(([, { text }]) => CameraStatusSchema.safeParse(parse(text)).data)
    .filter(status => status !== undefined)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
