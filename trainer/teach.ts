/** The training of a round, step by step: reconstruct ► finetune ► semi-supervised, with its looks at the gate and its checkpoints. */
import type { Engine } from './backend/choose.js'
import type { Checkpoint, Checkpoints, Progress } from './checkpoint.js'
import { RoundError, type RoundEvent, type RoundSpec, type Start } from './contract.js'
import { labelsOf } from './evidence.js'
import { closedGate, lookThroughGate } from './gate/pseudo-label-gate.js'
import type { Learner } from './learner.js'
import { emptyCurve, pointsOf, withStep } from './losses.js'
import { presets } from './model/presets.js'
import { Pace, rateAt, type Phase } from './pace.js'
import { hasFrames, type Prepared } from './prepare.js'
import type { Recipe } from './recipe.js'
import type { RoundImages, RoundOptions } from './round.js'
import type { Turns } from './turns.js'

/** Time kept back for export and evidence: a share of the minutes, and no less than these seconds. */
const reserve = { share: 0.05, seconds: 3 }
/** Looks at the gate split, the first before the transformer learns, where there is something to judge by then; evenly spread. */
export const gateLooks = 13
/** Before a first look that is taken without the transformer: with a champion's weights there is one more, before the first step. */
export const unseenGate = (warm: boolean) => closedGate(warm ? gateLooks + 1 : gateLooks)
/** Share of the semi-supervised phase over which the weight of the pseudo-labels ramps up. */
const ramp = 0.3

export interface Teaching {
  spec: RoundSpec
  recipe: Recipe
  engine: Engine
  learner: Learner
  /** It begins with a champion's weights. */
  warm: boolean
  data: RoundImages
  /** What was known before, and what the transformer began with. */
  prepared: Prepared
  start: Start
  startedAtMs: number
  checkpoints: Checkpoints
  /** Where the round was interrupted; null: it begins. */
  former: Checkpoint | null
  checkpointMs: number
  turns: Turns
  onEvent: (event: RoundEvent) => void
  onPseudoLabels: RoundOptions['onPseudoLabels']
}

/**
 * Trains through the phases of the recipe, in steps or in minutes, and keeps checkpoints. Gives what the card tells of it.
 * Errors: RangeError when a loss is no number, RoundError `out-of-time` for a round without a budget, what its turns raise.
 */
export async function teach(teaching: Teaching) {
  const { spec, recipe, engine, learner, warm, data, prepared, start, startedAtMs, checkpoints, former, checkpointMs } = teaching
  const { turns, onEvent, onPseudoLabels } = teaching
  const frames = hasFrames(data, spec.preset)
  const phases: Phase[] = [
    { name: 'reconstruct', share: frames ? recipe.phases.reconstruct : 0 },
    { name: 'finetune', share: frames ? recipe.phases.finetune : 1 },
    { name: 'semi-supervised', share: frames ? recipe.phases.semiSupervised : 0 },
  ]
  const progress: Progress = {
    steps: 0, used: 0, beforeMs: turns.nowMs() - startedAtMs, spentMs: 0, wholeMs: wholeMsOf(spec, turns.nowMs() - startedAtMs),
    nextLook: prepared.decision && !warm ? 1 / gateLooks : 0, looks: prepared.decision ? [prepared.decision.look] : [], decision: prepared.decision,
    curve: emptyCurve(),
  }
  if (former) {
    Object.assign(progress, former.progress)
    await learner.restore(former.learner)
    onEvent({ type: 'resumed', step: progress.steps })
  }
  const spentBeforeMs = former ? progress.beforeMs + progress.spentMs : 0
  const nowMs = () => turns.nowMs()
  const pace = new Pace({ budget: budgetOf(spec, progress), phases, nowMs, spentMs: progress.spentMs })
  const gateLabels = labelsOf(data.gate.items, data.classes)
  const labelsBegin = pace.plan.find(({ phase }) => phase.name !== 'reconstruct')?.begins ?? 0
  const imagesPerStep = presets[spec.preset].labeled + (data.unlabeled.items.length ? presets[spec.preset].unlabeled : 0)
  const imagesPerSecond = () => (progress.steps * imagesPerStep * 1000) / pace.spentMs
  let keptAtMs = nowMs()
  const keep = async () => {
    keptAtMs = nowMs()
    const state = { engine, progress: { ...progress, spentMs: pace.spentMs }, learner: await learner.snapshot(), prepared, start }
    await checkpoints.write(state).catch((cause: unknown) => {
      onEvent({ type: 'checkpoint-failed', step: progress.steps, reason: cause instanceof Error ? cause.message : String(cause) })
    })
  }

  // What was prepared took long, and the gate has been looked at: an interruption costs neither.
  if (!former) await keep()
  for (const { phase, begins, ends } of pace.plan) {
    if (pace.fraction(progress.steps) < ends) onEvent({ type: 'phase', phase: phase.name })
    const labels = phase.name !== 'reconstruct'
    // Labels and pseudo-labels share one schedule of the learning rate; reconstruction has its own.
    const [rateBegins, rateEnds] = labels ? [labelsBegin, 1] : [begins, ends]
    for (let done = pace.fraction(progress.steps); done < ends; done = pace.fraction(progress.steps)) {
      await turns.next().catch(async (cause: unknown) => {
        await keep()
        throw cause
      })
      const within = (done - begins) / (ends - begins)
      if (phase.name === 'semi-supervised' && recipe.gate !== 'never' && within >= progress.nextLook) {
        progress.nextLook = within + 1 / gateLooks
        progress.decision = lookThroughGate(recipe.gate, progress.decision?.next ?? closedGate(gateLooks),
          { step: progress.steps, classes: data.classes, probabilities: await learner.judge(), labels: gateLabels })
        progress.looks.push(progress.decision.look)
        onEvent({ type: 'gate', look: progress.decision.look })
      }
      const { decision } = progress
      const threshold = decision?.look.threshold ?? null
      const permission = phase.name === 'semi-supervised' && decision && threshold !== null ? { threshold, classWeights: decision.classWeights } : null
      const { pseudoLabels, ...losses } = await learner.step({
        branches: { reconstruct: recipe.reconstruction, labeled: labels },
        permission,
        unlabeledWeight: Math.min(1, within / ramp),
        learningRate: recipe.learningRate * rateAt((done - rateBegins) / (rateEnds - rateBegins)),
        layerDecay: labels ? recipe.layerDecay : 1,
      })
      progress.steps++
      progress.used += pseudoLabels.length
      progress.curve = withStep(progress.curve, progress.steps, {
        reconstruction: recipe.reconstruction && frames ? losses.reconstruction : null,
        labeled: labels ? losses.labeled : null,
        unlabeled: permission ? losses.unlabeled : null,
      })
      onPseudoLabels?.(progress.steps, pseudoLabels.map(({ image, label }) => [data.unlabeled.items[image] ?? '', data.classes[label] ?? '']))
      onEvent({
        type: 'progress', phase: phase.name, step: progress.steps, steps: pace.expectedSteps(progress.steps), fraction: pace.fraction(progress.steps),
        secondsLeft: pace.secondsLeft(progress.steps), losses,
        imagesPerSecond: imagesPerSecond(),
      })
      if (nowMs() - keptAtMs >= checkpointMs) await keep()
    }
  }
  const { steps, used, looks } = progress
  const last = looks.findLast(look => look.open)
  return {
    steps,
    imagesPerSecond: imagesPerSecond(),
    /** What the round had taken before it was interrupted. */
    spentBeforeMs,
    looks,
    losses: pointsOf(progress.curve),
    pseudoLabels: {
      used,
      taught: prepared.taught,
      gateOpenings: looks.filter((look, index) => look.open && !looks[index - 1]?.open).length,
      lastThreshold: last?.threshold ?? null,
      precisionLowerBound: last?.precisionLowerBound ?? 0,
    },
  }
}

/** Milliseconds left for training in a round of minutes; null for one of steps. */
function wholeMsOf(spec: RoundSpec, beforeMs: number): number | null {
  if (spec.steps !== null) return null
  const wholeMs = (spec.minutes ?? Number.NaN) * 60_000
  if (!(wholeMs > 0)) throw new RoundError('out-of-time', 'a round needs a number of steps or of minutes above 0')
  return wholeMs - Math.max(reserve.seconds * 1000, reserve.share * wholeMs) - beforeMs
}

function budgetOf({ steps }: RoundSpec, { wholeMs }: Progress) {
  return steps === null ? { wholeMs: wholeMs ?? 0 } : { steps }
}
