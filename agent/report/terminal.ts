/** Tells a person at the terminal what happens: a progress bar where there is a terminal, plain lines where there is none. */
import { styleText } from 'node:util'
import { SingleBar } from 'cli-progress'
import type { RoundEvent } from '../../trainer/contract.js'
import type { DriftEvent } from '../drift/alarm.js'
import type { AgentEvent, Prediction } from '../events.js'
import { visible, withoutPasswords } from '../lib/logger.js'
import type { Mode } from '../registry/state.js'

export interface TerminalOptions {
  stream: NodeJS.WriteStream | { write: (line: string) => unknown }
  nowMs: () => number
}

/** Between two lines of progress, and of predictions, milliseconds. */
const progressEveryMs = 10_000
const predictionsEveryMs = 5_000

type Style = 'green' | 'yellow' | 'red' | 'cyan' | 'dim' | 'bold'

export class Terminal {
  private readonly stream: TerminalOptions['stream']
  private readonly nowMs: () => number
  /** The stream as a terminal; null: lines go to a file or a pipe. */
  private readonly screen: NodeJS.WriteStream | null
  private bar: SingleBar | null = null
  private lastProgressMs = -Infinity
  private lastPredictionsMs = -Infinity
  private predictions = 0
  private frames = 0
  /** What was said of each camera last. */
  private readonly cameras = new Map<string, string>()

  constructor({ stream, nowMs }: TerminalOptions) {
    this.stream = stream
    this.nowMs = nowMs
    this.screen = 'isTTY' in stream && stream.isTTY ? stream : null
  }

  /** One line, above the bar where there is one. */
  say(text: string, style?: Style): void {
    const line = style ? this.styled(style, visible(text)) : visible(text)
    if (this.bar && this.screen) {
      this.screen.clearLine(0)
      this.screen.cursorTo(0)
    }
    this.stream.write(`${line}\n`)
    if (this.bar) this.bar.render()
  }

  accept(event: AgentEvent): void {
    switch (event.type) {
      case 'camera': {
        const { camera, state, reason } = event.status
        const line = `camera ${camera} is ${state}${reason ? `: ${withoutPasswords(reason)}` : ''}`
        if (state !== 'connecting' && line !== this.cameras.get(camera)) this.say(line, state === 'online' ? undefined : 'yellow')
        this.cameras.set(camera, line)
        return
      }
      case 'frame-stored':
        this.frames = event.frames
        return
      case 'prediction': return this.predicted(event.prediction)
      case 'round-started':
        if (event.trigger === 'offer') this.say(`round ${String(event.round)} (offer): a model of another box is judged`, 'bold')
        else this.say(`round ${String(event.round)} (${event.trigger}): ${String(event.labeled)} labels, ${String(event.unlabeled)} frames that nobody labeled${event.pseudoLabels ? '' : '; no pseudo-labels, as the pictures have changed'}`, 'bold')
        return
      case 'round-event': return this.roundEvent(event.round, event.event)
      case 'round-ended': {
        this.endBar()
        const { decision } = event
        const outcome = decision.promoted ? 'promoted' : decision.reason === 'stopped' ? 'stopped' : `refused (${decision.reason})`
        // Where it was stopped, the explanation names it.
        const whose = decision.from && decision.reason !== 'stopped' ? `model ${String(decision.from.version)} of ${decision.from.box}: ` : ''
        this.say(`round ${String(decision.round)}: ${outcome}: ${whose}${decision.explanation}`, decision.promoted ? 'green' : 'yellow')
        return
      }
      case 'round-refused-to-start':
        this.say(`no round: ${event.reason}`, 'yellow')
        return
      case 'model-active': {
        const { version, card } = event.model
        this.say(`model ${String(version)} is in service: ${(100 * card.validation.accuracy).toFixed(1)} % of the gate images right, loaded in ${String(Math.round(event.loadedInMs))} ms`, 'green')
        return
      }
      case 'probation':
        this.say(event.record.explanation, event.record.state === 'failed' ? 'red' : undefined)
        return
      case 'offer':
        if (event.offer) this.say(`model ${String(event.offer.signed.entry.version)} is offered to other boxes as ${event.offer.reference}`)
        return
      case 'mode':
        this.say(modeText(event.mode))
        return
      case 'drift': return this.drift(event)
      case 'quarantine':
        this.say(`put aside ${event.path}: ${event.reason}`, 'yellow')
        return
      case 'broker':
        if (event.state === 'connected') this.say(`broker ${event.url}: connected`)
        else this.say(`broker ${event.url}: away, and tried again (${event.reason})`, 'yellow')
        return
      case 'collection':
        this.say(event.state === 'running' ? 'collecting frames' : `collection stopped: ${event.reason}`, event.state === 'running' ? undefined : 'red')
        return
      case 'problem':
        this.say(`${event.code}: ${event.message}`, 'red')
        return
    }
  }

  stop(): void {
    this.endBar()
  }

  private drift(event: DriftEvent): void {
    switch (event.state) {
      case 'gathering': return
      case 'watching':
        this.say(`known by now: what model ${String(event.model)} is used to see; changes will be told`)
        return
      case 'alarm':
      case 'still':
        this.say(event.alarm.message, 'yellow')
        return
      case 'over':
        this.say(event.reason === 'fits-again' ? 'the pictures are again what they were' : 'a new model serves: what it sees from now on is what it is used to', 'green')
        return
    }
  }

  private predicted({ camera, label, confidence, model, latencyMs }: Prediction): void {
    this.predictions++
    if (this.nowMs() - this.lastPredictionsMs < predictionsEveryMs) return
    this.lastPredictionsMs = this.nowMs()
    this.say(`${camera}: ${label} ${(100 * confidence).toFixed(0)} %  (model ${String(model)}, ${latencyMs.toFixed(1)} ms; ${String(this.predictions)} predictions, ${String(this.frames)} frames kept)`)
  }

  private roundEvent(round: number, event: RoundEvent): void {
    switch (event.type) {
      case 'phase':
        if (!this.screen) this.say(`round ${String(round)}: ${event.phase}`)
        if (event.phase === 'export') this.endBar()
        return
      case 'engine':
        this.say(`trains with ${event.backend} on ${event.device} (${event.reason})`)
        return
      case 'gate': {
        const { open, threshold, accepted, correct, precisionLowerBound, accuracy } = event.look
        if (!open) return
        this.say(`pseudo-labels above ${String(threshold)}: ${String(correct)} of ${String(accepted)} right on the gate split, surely over ${(100 * precisionLowerBound).toFixed(1)} %; teacher ${(100 * accuracy).toFixed(1)} %`, 'cyan')
        return
      }
      case 'progress': return this.progress(round, event)
      case 'resumed':
        this.say(`round ${String(round)} was interrupted: it goes on after step ${String(event.step)}`, 'yellow')
        return
      case 'checkpoint-failed':
        this.say(`round ${String(round)}: the state after step ${String(event.step)} could not be kept (${event.reason}); an interruption would cost the round`, 'yellow')
        return
      case 'pause':
        this.say(event.reason === null ? `round ${String(round)} goes on` : `round ${String(round)} stands still: ${event.reason}`, 'yellow')
        return
      case 'quarantine':
      case 'leaked': return
    }
  }

  private progress(round: number, event: Extract<RoundEvent, { type: 'progress' }>): void {
    const { phase, step, steps, fraction, secondsLeft, losses, imagesPerSecond } = event
    const loss = `transformer: reconstruction ${losses.reconstruction.toFixed(2)}, labels ${losses.labeled.toFixed(2)}, pseudo-labels ${losses.unlabeled.toFixed(2)}`
    const left = Number.isFinite(secondsLeft) ? `${String(Math.ceil(secondsLeft))} s left` : ''
    if (this.screen) {
      if (!this.bar) {
        this.bar = new SingleBar({
          stream: this.screen, format: `round {round} {bar} {percentage} % {left}  {phase}  {loss}`, hideCursor: true, linewrap: false,
          barsize: 24, clearOnComplete: true, gracefulExit: false, noTTYOutput: false,
        })
        this.bar.start(100, 0, { round, left, phase, loss })
      }
      this.bar.update(Math.round(fraction * 100), { round, left, phase, loss })
      return
    }
    if (this.nowMs() - this.lastProgressMs < progressEveryMs) return
    this.lastProgressMs = this.nowMs()
    this.say(`round ${String(round)}: ${String(Math.round(fraction * 100))} %, ${phase}, step ${String(step)} of about ${String(steps)}, ${imagesPerSecond.toFixed(0)} images/s, ${loss}${left && `, ${left}`}`)
  }

  private endBar(): void {
    const { bar } = this
    this.bar = null
    bar?.stop()
  }

  private styled(style: Style, text: string): string {
    return this.screen && !process.env.NO_COLOR ? styleText(style, text) : text
  }
}

function modeText(mode: Mode): string {
  switch (mode.kind) {
    case 'follow': return 'a challenger that passes the gate serves'
    case 'pin': return `model ${String(mode.version)} is pinned: it serves, whatever passes the gate`
    case 'pause': return 'learning is paused: no round begins'
  }
}
