/**
 * What a person at the page labels: the frames that teach most, with what the model in service says of them, and their way into a class folder
 * and back. A frame with a label is one of the class folder's images under the name that it had, so whatever is edited there by hand is seen here
 * at once, and what was done here can be undone after a restart too.
 */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { PawlError } from '../errors.js'
import { KeptFile } from '../lib/kept-file.js'
import { z } from 'zod'
import type { Disagreement } from './disagreement.js'
import type { LabelStore } from './label-store.js'
import { nextToLabel } from './queue.js'
import type { FrameStore, StoredFrame } from './store.js'

/** What the model in service makes of a frame. */
export interface Opinion {
  label: string
  confidence: number
  embedding: Float32Array
}

export interface QueuedFrame {
  id: string
  camera: string
  capturedAtMs: number
  /** Why it was kept, or `disagreeing`: the model in service and the one before it take it for different things. */
  reason: string
  /** Null: no model serves, or the frame cannot be read. */
  suggestion: { label: string; confidence: number } | null
  /** Frames of this page that the model takes for the same and that show much the same by its embedding, nearest first. */
  alike: string[]
}

/** Of all cameras, and kept for any reason, where neither is named. */
export interface Wanted {
  count: number
  camera?: string | undefined
  reason?: string | undefined
}

export interface LabelingOptions {
  frames: FrameStore
  labels: LabelStore
  /** Remembers what was passed over. */
  file: string
  judge: (jpeg: Uint8Array) => Promise<Opinion | null>
  /** Where the model in service and the one before it differ. */
  disagreement: Disagreement
  onProblem: (message: string) => void
}

/** Frames that were passed over and are remembered; beyond, the first of them come again. */
const mostSkipped = 5000
/** Least cosine of two embeddings of frames that are alike, less what all frames of the page have in common. */
const alike = 0.6

export class Labeling {
  private readonly options: LabelingOptions
  private readonly file: KeptFile<string[]>
  private skipped = new Set<string>()

  constructor(options: LabelingOptions) {
    this.options = options
    this.file = new KeptFile({ path: options.file, schema: z.array(z.string()), onProblem: options.onProblem })
  }

  async start(): Promise<void> {
    this.skipped = new Set(await this.file.read())
  }

  async stop(): Promise<void> {
    await this.file.stop()
  }

  /** The frames to label next, at most `count`; of one camera, or kept for one reason, where that is asked for. */
  async queue({ count, camera, reason }: Wanted): Promise<{ waiting: number; frames: QueuedFrame[] }> {
    const { frames, disagreement } = this.options
    // What comes of it is for a later page: nobody waits for two models.
    void disagreement.look(frames.list())
    const waiting = frames.list().filter(frame => (camera === undefined || frame.camera === camera) && !this.skipped.has(frames.idOf(frame))).map(frame => (disagreement.on(frame) ? { ...frame, reason: 'disagreeing', worth: 1 } : frame))
      .filter(frame => reason === undefined || frame.reason === reason)
    const chosen = nextToLabel(waiting, count)
    const there: StoredFrame[] = []
    const opinions: (Opinion | null)[] = []
    // One after the other: what the cameras see comes first.
    for (const frame of chosen) {
      const jpeg = await readFile(frame.path).catch(() => null)
      // Somebody has labeled it meanwhile, or it made room.
      if (!jpeg && !existsSync(frame.path)) continue
      there.push(frame)
      opinions.push(jpeg && await this.options.judge(jpeg).catch(() => null))
    }
    const likeness = likenessOf(opinions.map(opinion => opinion?.embedding ?? null))
    const same = (one: number, other: number) => one !== other && opinions[one]?.label === opinions[other]?.label
    return {
      waiting: waiting.length,
      frames: there.map((frame, at) => ({
        id: frames.idOf(frame), camera: frame.camera, capturedAtMs: frame.capturedAtMs, reason: frame.reason,
        suggestion: suggestionOf(opinions[at]),
        alike: there.map((other, index) => ({ id: frames.idOf(other), cosine: same(at, index) ? likeness(at, index) : -1 }))
          .filter(({ cosine }) => cosine >= alike).sort((a, b) => b.cosine - a.cosine).map(({ id }) => id),
      })),
    }
  }

  /** Gives the class by its name in the folders. Errors: FRAME_GONE, COMMAND_INVALID for a name that no class can have. */
  async label(id: string, label: string): Promise<string> {
    const { frames, labels } = this.options
    const name = await labels.nameOf(label)
    if (!await frames.moveOut(id, labels.pathOf(name, basename(id)))) throw await this.gone(id)
    return name
  }

  /** Makes it a frame that nobody labeled, as before. Errors: FRAME_GONE, COMMAND_INVALID. */
  async undo(id: string, label: string): Promise<void> {
    const { frames, labels } = this.options
    if (!await frames.moveIn(id, labels.pathOf(await labels.nameOf(label), basename(id)))) throw await this.gone(id)
  }

  /** It comes no more, until many others were passed over too. */
  skip(id: string): void {
    this.skipped.add(id)
    for (const first of [...this.skipped].slice(0, -mostSkipped)) this.skipped.delete(first)
    void this.file.write([...this.skipped])
  }

  unskip(id: string): void {
    if (this.skipped.delete(id)) void this.file.write([...this.skipped])
  }

  private async gone(id: string): Promise<PawlError> {
    const { labels } = this.options
    const classes = await labels.classes()
    const found = classes.find(({ label }) => existsSync(labels.pathOf(label, basename(id))))
    return new PawlError('FRAME_GONE', found ? `this frame has been labeled "${found.label}" meanwhile` : 'this frame is not there any more: it made room for others, or a person took it away')
  }
}

function suggestionOf(opinion: Opinion | null | undefined): QueuedFrame['suggestion'] {
  return opinion ? { label: opinion.label, confidence: opinion.confidence } : null
}

/** Gives the cosine of two of the embeddings, less the mean of all; −1 where one is missing, or another model's. */
function likenessOf(embeddings: readonly (Float32Array | null)[]): (one: number, other: number) => number {
  const length = embeddings.find(embedding => embedding !== null)?.length ?? 0
  const known = embeddings.map(embedding => (embedding?.length === length ? embedding : null))
  const there = known.filter(embedding => embedding !== null)
  const mean = Float32Array.from({ length }, (_, at) => there.reduce((sum, embedding) => sum + (embedding[at] ?? 0), 0) / there.length)
  const centred = known.map(embedding => embedding?.map((value, at) => value - (mean[at] ?? 0)) ?? null)
  return (one, other) => {
    const [a, b] = [centred[one], centred[other]]
    return a && b ? cosineOf(a, b) : -1
  }
}

function cosineOf(a: Float32Array, b: Float32Array): number {
  let [product, left, right] = [0, 1e-12, 1e-12]
  for (let at = 0; at < a.length; at++) {
    const [one, other] = [a[at] ?? 0, b[at] ?? 0]
    product += one * other
    left += one * one
    right += other * other
  }
  return product / Math.sqrt(left * right)
}
