/** What becomes of a frame: the model in service answers it, its prediction goes out, and what teaches most is stored. */
import type { Answer, ClassifierPool } from './classifier/pool.js'
import type { AgentEvent, Frame } from './events.js'
import type { Answered, Selection } from './frames/selection.js'
import type { FrameStore } from './frames/store.js'

export interface IntakeOptions {
  classifier: ClassifierPool
  selection: Selection
  frames: FrameStore
  publish: (event: AgentEvent) => void
  /** Hears of every answer. */
  onAnswer: (frame: Frame, answer: Answer) => void
  onStored: () => void
  /** A frame that could not be answered, or not be stored. */
  onUnanswered: (camera: string, reason: string) => void
  onUnstored: (camera: string, reason: string) => void
}

export class Intake {
  private readonly options: IntakeOptions
  /** Of each camera: answered again when the model changes. */
  private readonly newest = new Map<string, Frame>()
  /** Why nothing is stored; null: something is. */
  private stopped: string | null = null

  constructor(options: IntakeOptions) {
    this.options = options
  }

  async accept(frame: Frame): Promise<void> {
    this.newest.set(frame.camera, frame)
    const answer = await this.answer(frame)
    await this.store(frame, answer && { model: answer.version, confidence: answer.confidence, embedding: answer.embedding })
  }

  /** Another model serves: what is seen now is answered by it. */
  async answerAgain(): Promise<void> {
    for (const frame of this.newest.values()) await this.answer(frame)
  }

  private async answer(frame: Frame): Promise<Answer | null> {
    const { classifier, publish, onAnswer, onUnanswered } = this.options
    if (classifier.version === null) return null
    const { camera, capturedAtMs, jpeg } = frame
    try {
      const answer = await classifier.classify(jpeg)
      const { label, confidence, probabilities, latencyMs, version: model } = answer
      publish({ type: 'prediction', prediction: { camera, capturedAtMs, label, confidence, probabilities, latencyMs, model } })
      onAnswer(frame, answer)
      return answer
    } catch (cause) {
      onUnanswered(camera, messageOf(cause))
      return null
    }
  }

  private async store(frame: Frame, answered: Answered | null): Promise<void> {
    const { frames, selection, publish, onStored, onUnstored } = this.options
    const full = await frames.full()
    if (full !== this.stopped) {
      this.stopped = full
      publish({ type: 'collection', state: full === null ? 'running' : 'stopped', reason: full ?? '' })
    }
    if (full !== null) return
    const kept = selection.choose(frame, answered, frames.count)
    if (!kept) return
    try {
      await frames.add(frame)
    } catch (cause) {
      onUnstored(frame.camera, messageOf(cause))
      return
    }
    publish({ type: 'frame-stored', camera: frame.camera, reason: kept.reason, frames: frames.count, bytes: frames.totalBytes })
    onStored()
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
