/**
 * Watches whether what the model in service sees, and makes of it, is still what it was when it came into service.
 *
 * INVARIANTS
 * - The promise: while nothing changes, at most `falseAlarmsPerMonth` alarms are to be expected in 30 days. Each test may spend its part of
 *   that for the time since the test before; the two detectors share it evenly. The parts add up whatever depends on what: windows overlap, and
 *   all of them stand beside one reference (union bound; the expectation is over references too).
 * - It holds for independent pictures. So of each camera only one in `everySeconds` counts, what the sampler calls a near-duplicate never gets
 *   here, and what still resembles its neighbours in time counts for less (`inertiaOf`).
 * - Memory: (reference + window) × (embedding + classes + 1) numbers, and the buckets of ADWIN. No picture.
 * - An alarm is raised once, and stands until a new model serves or the window fits the reference again.
 */
import type { Config } from '../config.js'
import type { Clock } from '../lib/clock.js'
import { Adwin, type Change } from './adwin.js'
import { explain, type DriftAlarm, type DriftEvent } from './alarm.js'
import { compare, makeReference, type Comparison, type Dimension, type Gathered, type Move, type Reference } from './reference.js'
import { partingPlace, Window } from './window.js'

/** What of a prediction is watched. */
export interface Sample {
  camera: string
  capturedAtMs: number
  /** Version of the model that predicted. */
  model: number
  embedding: Float32Array
  probabilities: Readonly<Record<string, number>>
  confidence: number
}

/** What is known from before a restart. */
export interface DriftPast {
  gathered: Gathered | null
  alarm: DriftAlarm | null
}

export interface DriftMonitorOptions {
  config: Config['drift']
  clock: Clock
  onEvent: (event: DriftEvent) => void
  /** The reference of the model in service is complete. */
  onGathered: (gathered: Gathered) => void
}

/** What the model in service is watched with. */
interface Watched {
  reference: Reference
  window: Window
  adwin: Adwin
  /** Monotonic. */
  testedAtMs: number
}

const monthMs = 30 * 86_400_000
/** A window is tested so often while it passes once. */
const testsPerWindow = 4
/** No single test may spend more, however slowly pictures come. */
const mostAlpha = 0.01
/** A window fits again when something as far away is no rarity: far from what raises an alarm, so that it does not come and go. */
const noRarity = 0.2
/** Of the classes with the confidence, and of the embedding, so many are named in an alarm. */
const named = { own: 4, embedding: 1 }

export class DriftMonitor {
  private readonly options: DriftMonitorOptions
  private past: DriftPast = { gathered: null, alarm: null }
  private model: number | null = null
  private standing: DriftAlarm | null = null
  private readonly sampledAtMs = new Map<string, number>()
  private gathering: Window | null = null
  private watched: Watched | null = null
  /** Pictures since the alarm was raised. */
  private since = 0

  constructor(options: DriftMonitorOptions) {
    this.options = options
  }

  /** The alarm that stands; null: none. */
  get alarm(): DriftAlarm | null {
    return this.standing
  }

  /** Before the first model begins: what was known of it before a restart. */
  recall(past: DriftPast): void {
    this.past = past
  }

  /** A model serves from now on: what it is used to is gathered anew. The same one again changes nothing. */
  begin(model: number): void {
    const { config, onEvent } = this.options
    if (!config.enabled || model === this.model) return
    const { gathered, alarm } = this.past
    this.past = { gathered: null, alarm: null }
    this.end('new-model')
    this.model = model
    this.gathering = null
    this.watched = null
    if (gathered?.model !== model) {
      onEvent({ type: 'drift', state: 'gathering', model })
      return
    }
    this.watchFrom(gathered)
    if (alarm?.model !== model) return
    this.standing = alarm
    this.since = 0
    onEvent({ type: 'drift', state: 'still', alarm })
  }

  /** Copies some hundred numbers; four times a window it takes some milliseconds more (`npm run bench:drift` measures both). */
  observe(sample: Sample): void {
    if (sample.model !== this.model || !this.counts(sample)) return
    const row = Float32Array.from([...sample.embedding, ...Object.values(sample.probabilities), sample.confidence])
    if (!row.every(Number.isFinite)) return
    if (this.watched) this.watch(this.watched, row, sample)
    else this.gather(row, sample)
  }

  /** One picture of a camera in a while; a clock that was set back does not stop it. */
  private counts({ camera, capturedAtMs }: Sample): boolean {
    const former = this.sampledAtMs.get(camera)
    if (former !== undefined && Math.abs(capturedAtMs - former) < this.options.config.everySeconds * 1000) return false
    this.sampledAtMs.set(camera, capturedAtMs)
    return true
  }

  private gather(row: Float32Array, { embedding, probabilities, capturedAtMs, model }: Sample): void {
    this.gathering ??= new Window({ size: this.options.config.reference, width: row.length })
    this.gathering.add(row, capturedAtMs)
    if (!this.gathering.full) return
    const dimensions: Dimension[] = [
      ...Array.from(embedding, (_, index) => ({ kind: 'embedding' as const, name: String(index) })),
      ...Object.keys(probabilities).map(name => ({ kind: 'class' as const, name })),
      { kind: 'confidence', name: 'confidence' },
    ]
    const gathered = { model, dimensions, columns: this.gathering.columns(), timesMs: this.gathering.timesMs() }
    this.gathering = null
    this.watchFrom(gathered)
    this.options.onGathered(gathered)
  }

  private watchFrom(gathered: Gathered): void {
    const { config, clock, onEvent } = this.options
    const reference = makeReference(gathered)
    const adwin = adwinFor(reference)
    gathered.columns.at(-1)?.forEach((confidence, index) => { adwin.add(confidence, gathered.timesMs[index] ?? 0) })
    const window = new Window({ size: config.window, width: reference.length })
    this.watched = { reference, window, adwin, testedAtMs: clock.monotonicMs() }
    onEvent({ type: 'drift', state: 'watching', model: gathered.model })
  }

  private watch(watched: Watched, row: Float32Array, { capturedAtMs, confidence }: Sample): void {
    const { reference, window, adwin } = watched
    window.add(row, capturedAtMs)
    adwin.add(confidence, capturedAtMs)
    this.since++
    if (!window.full || window.count % Math.ceil(window.size / testsPerWindow) !== 0) return
    const columns = window.columns()
    const comparison = compare(reference, columns)
    const alpha = this.spend(watched)
    const change = adwin.check(alpha)
    if (this.standing) {
      // Only pictures from after the alarm say whether they fit.
      if (this.since >= window.size && fitsAgain(this.standing, comparison, change)) this.end('fits-again')
    } else if (comparison.p <= alpha) {
      const { p, farthest } = comparison
      const place = partingPlace(columns[farthest] ?? new Float32Array(), comparison.moves[farthest]?.from ?? 0)
      this.raise({ detector: 'two-sample', p, alpha, sinceMs: window.timesMs()[place] ?? capturedAtMs, moved: mostMoved(comparison) })
    } else if (change) {
      this.raise({ detector: 'adwin', p: change.p, alpha, sinceMs: change.sinceMs, moved: confidenceMove(change, comparison) })
    }
  }

  /** What each detector may spend on a test now. */
  private spend(watched: Watched): number {
    const { config: { falseAlarmsPerMonth }, clock } = this.options
    const nowMs = clock.monotonicMs()
    const months = (nowMs - watched.testedAtMs) / monthMs
    watched.testedAtMs = nowMs
    return Math.min(mostAlpha, (falseAlarmsPerMonth * months) / 2)
  }

  private raise(found: Omit<DriftAlarm, 'model' | 'raisedAtMs' | 'message'>): void {
    if (this.model === null) return
    this.since = 0
    this.standing = { ...found, model: this.model, raisedAtMs: this.options.clock.nowMs(), message: explain(found) }
    this.options.onEvent({ type: 'drift', state: 'alarm', alarm: this.standing })
  }

  private end(reason: 'new-model' | 'fits-again'): void {
    const alarm = this.standing
    if (!alarm) return
    this.standing = null
    // Else the way back would be one more change.
    if (this.watched) this.watched.adwin = adwinFor(this.watched.reference)
    this.options.onEvent({ type: 'drift', state: 'over', alarm, reason })
  }
}

/** A window too small to show what ADWIN found proves nothing by not showing it: there, ADWIN must find the way back too. */
function fitsAgain({ detector, moved: [move] }: DriftAlarm, { p }: Comparison, change: Change | null): boolean {
  if (detector === 'two-sample' || !move) return p > noRarity
  return change !== null && Math.abs(change.to - move.from) < Math.abs(change.to - move.to)
}

function adwinFor(reference: Reference): Adwin {
  return new Adwin({ inertia: reference.at(-1)?.inertia ?? 1 })
}

/** Classes first: they mean something to whoever reads it. */
function mostMoved({ moves }: Comparison): Move[] {
  const ranked = moves.toSorted((a, b) => b.distance - a.distance)
  return [
    ...ranked.filter(({ kind }) => kind !== 'embedding').slice(0, named.own),
    ...ranked.filter(({ kind }) => kind === 'embedding').slice(0, named.embedding),
  ]
}

/** The confidence alone, by ADWIN's own means. */
function confidenceMove({ from, to }: Change, { moves }: Comparison): Move[] {
  return moves.slice(-1).map(move => ({ ...move, from, to }))
}
