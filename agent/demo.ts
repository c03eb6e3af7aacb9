/**
 * The whole story in minutes, played by the real parts: a stream, the first model, predictions over MQTT, a challenger that learned
 * from wrong labels and is refused, a site that changes, and another round. A step that does not happen ends it with an error.
 */
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent } from './app.js'
import type { Drift } from './camera/simulation.js'
import type { Config } from './config.js'
import { PawlError } from './errors.js'
import type { AgentEvent, Prediction } from './events.js'
import { readClassFolders } from './frames/labels.js'
import { groupBy } from './lib/group.js'
import type { Logger } from './lib/logger.js'
import { Watcher } from './report/watcher.js'
import type { PromotionRecord } from './rounds/promotion.js'

export interface DemoOptions {
  config: Config
  logger: Logger
  signal: AbortSignal
  onEvent: (event: AgentEvent) => void
  /** A new part of the story begins. */
  tell: (text: string) => void
}

export interface DemoRound {
  round: number
  /** What the round is there to show. */
  story: 'first' | 'wrong-labels' | 'after-drift'
  /** Version of the challenger; null: the round made no model. */
  version: number | null
  promoted: boolean
  reason: string
  accuracyChampion: number | null
  accuracyChallenger: number | null
}

export interface DemoReport {
  rounds: DemoRound[]
  /** Stored frames, predictions seen over MQTT, and MQTT messages of every kind. */
  frames: number
  predictions: number
  mqttMessages: number
  /** Mean confidence of the live predictions, before and after the site changed. */
  confidence: { beforeDrift: number; afterDrift: number }
  seconds: number
}

/** The lamp ages, and the belt's feeder turns everything by a quarter of a right angle. */
const drift: Drift = { light: 0.7, turn: 22, blur: 0.8 }
/** Predictions over which confidence is measured. */
const sample = 12
/** Beyond its own minutes a round may take so long, milliseconds: start, export, evidence. */
const roundGraceMs = 60_000
const liveMs = 60_000

/** Errors: DEMO_FAILED, naming the step that did not happen; those of `Agent.start`. */
export async function playDemo({ config, logger, signal, onEvent, tell }: DemoOptions): Promise<DemoReport> {
  const startedMs = performance.now()
  const decisions: PromotionRecord[] = []
  let frames = 0
  const agent = new Agent({
    config, logger,
    onEvent: event => {
      if (event.type === 'round-ended') decisions.push(event.decision)
      if (event.type === 'frame-stored') frames++
      onEvent(event)
    },
  })
  const rounds: DemoRound[] = []
  const labels = join(config.data, 'labels')
  let watcher: Watcher | null = null
  try {
    tell('a camera, a broker, and a first round with the few labels that there are')
    const { broker } = await agent.start()
    const fleet = watcher = await Watcher.open({ url: broker, prefix: `${config.mqtt.base}/${config.device}` })
    const decided = async (story: DemoRound['story'], minutes: number): Promise<DemoRound> => {
      const index = rounds.length
      await until(() => decisions.length > index, `the ${story} round did not end`, minutes * 60_000 + roundGraceMs, signal)
      const round = roundOf(decisions[index], story)
      rounds.push(round)
      return round
    }

    const first = await decided('first', config.rounds.firstMinutes)
    demand(first.promoted, `the first model was not promoted (${first.reason})`)
    tell('live predictions over MQTT')
    const before = await predictions(fleet, signal)
    demand(before.every(({ model }) => model === first.version), 'the predictions are not of the first model')

    tell('somebody mixes up the label folders: what learns from them must not get into service')
    await rotateLabels(labels, 1)
    let wrong
    try {
      await fleet.request('train')
      wrong = await decided('wrong-labels', config.rounds.minutes)
    } finally { await rotateLabels(labels, -1) }
    demand(wrong.version !== null && !wrong.promoted, `the challenger with wrong labels was not refused on its evidence (${wrong.reason})`)
    demand(agent.models.active()?.version === first.version, 'the first model is not in service any more')

    tell('the site changes: less light, a worn lens, everything turned; the labels are right again')
    for (const simulation of agent.simulations.values()) simulation.drift = drift
    const framesBefore = frames
    const after = await predictions(fleet, signal)
    demand(frames > framesBefore, 'no frame of the changed site was stored')
    await fleet.request('train')
    const later = await decided('after-drift', config.rounds.minutes)
    demand(later.version !== null, `the round after the change made no model (${later.reason})`)
    tell(later.promoted ? 'the box has taught itself something: a better model serves' : 'not proved better, so the model in service stays')
    const serving = later.promoted ? later.version : first.version
    demand((await predictions(fleet, signal)).every(({ model }) => model === serving), `the predictions are not of model ${String(serving)}`)

    return {
      rounds, frames, predictions: fleet.predictions, mqttMessages: fleet.messages,
      confidence: { beforeDrift: meanConfidence(before), afterDrift: meanConfidence(after) },
      seconds: (performance.now() - startedMs) / 1000,
    }
  } finally {
    await watcher?.close()
    await agent.stop()
  }
}

function roundOf(decision: PromotionRecord | undefined, story: DemoRound['story']): DemoRound {
  if (!decision) throw new PawlError('DEMO_FAILED', `there is no decision of the ${story} round`)
  const { round, challenger, promoted, reason, accuracyChampion, accuracyChallenger } = decision
  return { round, story, version: challenger, promoted, reason, accuracyChampion, accuracyChallenger }
}

/** The next live predictions that arrive over MQTT. */
async function predictions(fleet: Watcher, signal: AbortSignal): Promise<Prediction[]> {
  const seen: Prediction[] = []
  const forget = fleet.onPrediction(prediction => { seen.push(prediction) })
  try {
    await until(() => seen.length >= sample, `only ${String(seen.length)} predictions arrived over MQTT`, liveMs, signal)
  } finally {
    forget()
  }
  return seen
}

/** Each class folder gets the name of the one `by` places after it. */
async function rotateLabels(folder: string, by: number): Promise<void> {
  const names = [...groupBy((await readClassFolders(folder)).images, ({ label }) => label).keys()]
  for (const name of names) await rename(join(folder, name), join(folder, `.${name}`))
  for (const [index, name] of names.entries()) {
    await rename(join(folder, `.${name}`), join(folder, names[(index + by + names.length) % names.length] ?? name))
  }
}

function meanConfidence(predictions: readonly Prediction[]): number {
  return predictions.reduce((sum, { confidence }) => sum + confidence, 0) / predictions.length
}

async function until(condition: () => boolean, otherwise: string, limitMs: number, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + limitMs
  while (!condition()) {
    signal.throwIfAborted()
    demand(performance.now() < deadlineMs, `${otherwise} within ${String(Math.round(limitMs / 1000))} s`)
    await sleep(50, undefined, { signal })
  }
}

function demand(condition: boolean, otherwise: string): void {
  if (!condition) throw new PawlError('DEMO_FAILED', otherwise)
}
