/** What becomes of a frame: the model in service answers it, its prediction goes out, and what teaches most is stored. */
import type { Answer, ClassifierPool } from './classifier/pool.js'
import type { AgentEvent, Frame } from './events.js'
import type { Answered, Selection } from './frames/selection.js'
import type { FrameStore } from './frames/store.js'
import type { Clock } from './lib/clock.js'

export interface IntakeOptions {
  classifier: ClassifierPool
  selection: Selection
  frames: FrameStore
  publish: (event: AgentEvent) => void
  /** Hears of every answer. */
  onAnswer: (frame: Frame, answer: Answer) => void
  onStored: () => void
  /** A frame that could not be answered. */
  onUnanswered: (camera: string, reason: string) => void
  /** A frame that could not be stored for another reason than the disk's, which is told as an event. */
  onUnstored: (camera: string, reason: string) => void
  /** Hears how long each frame waited for its answer, or in vain. */
  onLatency: (ms: number) => void
  clock: Clock
}

/** Frames that are being written at most; beyond, cameras wait. */
const mostWriting = 16

export class Intake {
  private readonly options: IntakeOptions
  /** Of each camera: answered again when the model changes. */
  private readonly newest = new Map<string, Frame>()
  private readonly writing = new Set<Promise<void>>()
  /** Of each camera, what was taken last: its frames are chosen and written in their order. */
  private readonly lastOf = new Map<string, Promise<void>>()
  private collecting = true

  constructor(options: IntakeOptions) {
    this.options = options
  }

  /** Resolves when the frame is answered; it may be written later: the next one does not wait for the disk. */
  async accept(frame: Frame): Promise<void> {
    this.newest.set(frame.camera, frame)
    const { clock } = this.options
    const answer = await this.answer(frame, clock.nowMs() - frame.capturedAtMs)
    while (this.writing.size >= mostWriting) await Promise.race(this.writing)
    const answered = answer && { model: answer.version, confidence: answer.confidence, embedding: answer.embedding }
    const writing = (this.lastOf.get(frame.camera) ?? Promise.resolve()).then(() => this.store(frame, answered))
      .catch((cause: unknown) => { this.options.onUnstored(frame.camera, cause instanceof Error ? cause.message : String(cause)) })
      .finally(() => { this.writing.delete(writing) })
    this.writing.add(writing)
    this.lastOf.set(frame.camera, writing)
  }

  /** What was taken is written. */
  async stop(): Promise<void> {
    await Promise.all(this.writing)
  }

  /** The newest frame of a camera; null: none yet. */
  newestOf(camera: string): Frame | null {
    return this.newest.get(camera) ?? null
  }

  /** Another model serves: what is seen now is answered by it. */
  async answerAgain(): Promise<void> {
    for (const frame of this.newest.values()) await this.answer(frame, 0)
  }

  /** `ageMs`: how long the frame has been waiting. */
  private async answer(frame: Frame, ageMs: number): Promise<Answer | null> {
    const { classifier, publish, onAnswer, onUnanswered, onLatency, clock } = this.options
    if (classifier.version === null) return null
    const { camera, capturedAtMs, jpeg, fitted } = frame
    const beganMs = clock.monotonicMs()
    const waitedMs = () => Math.max(0, ageMs) + clock.monotonicMs() - beganMs
    try {
      const answer = await classifier.classify(jpeg, fitted)
      const { label, confidence, probabilities, version: model } = answer
      publish({ type: 'prediction', prediction: { camera, capturedAtMs, label, confidence, probabilities, latencyMs: waitedMs(), model } })
      onAnswer(frame, answer)
      return answer
    } catch (cause) {
      onUnanswered(camera, cause instanceof Error ? cause.message : String(cause))
      return null
    } finally {
      onLatency(waitedMs())
    }
  }

  private async store(frame: Frame, answered: Answered | null): Promise<void> {
    const { frames, selection, publish, onStored } = this.options
    if (!this.collects(await frames.full())) return
    const kept = selection.choose(frame, answered, frames.count)
    if (!kept) return
    const { stored, full } = await frames.add(frame, kept)
    if (!this.collects(full) || !stored) return
    publish({ type: 'frame-stored', camera: frame.camera, id: frames.idOf(stored), reason: kept.reason, frames: frames.count, bytes: frames.totalBytes })
    onStored()
  }

  /** Tells when collection stops, and when it goes on. */
  private collects(full: string | null): boolean {
    const collecting = full === null
    if (collecting !== this.collecting) this.options.publish({ type: 'collection', state: collecting ? 'running' : 'stopped', reason: full ?? '' })
    this.collecting = collecting
    return collecting
  }
}
