/**
 * What masked reconstruction learns before there is any label: the error on the hidden patches of photographs held out from training, beside
 * rules that learn nothing. The test images are not opened.
 */
import { embedded, useEngine } from '../../trainer/backend/choose.js'
import type { LabeledImage } from '../../trainer/contract.js'
import { loadImages } from '../../trainer/data/load.js'
import { Random } from '../../trainer/data/random.js'
import { lanesOn } from '../../trainer/lanes/lanes.js'
import { learnDictionary } from '../../trainer/dictionary.js'
import { Learner } from '../../trainer/learner.js'
import { presets, type Preset } from '../../trainer/model/presets.js'
import { Pace, rateAt, type Budget } from '../../trainer/pace.js'
import { recipes } from '../../trainer/recipe.js'
import { undisturbed } from '../ordinary.js'
import { divided } from './data.js'
import { fills, meanOf, type FillName } from './fills.js'
import { drawMask, patchesOf } from '../../trainer/pictures/masking.js'
import { rowsOf } from '../../trainer/pictures/rows.js'
import { firstOfEach } from '../../trainer/pictures/reconstruction.js'
import { meanError, Reconstructor, type Example } from '../../trainer/pictures/reconstructor.js'

export interface ReconstructionOptions {
  seed: number
  /** One of the two is null. */
  steps: number | null
  minutes: number | null
  /** Photographs that are kept back to measure on; even. */
  heldOut: number
  say: (text: string) => void
}

export interface ReconstructionResult extends Omit<ReconstructionOptions, 'say'> {
  section: 'reconstruction'
  /** Photographs that it learned from. */
  learned: number
  imagesPerStep: number
  maskRatio: number
  seconds: number
  /** Mean squared errors on hidden patches, pixels between 0 and 1. */
  fills: Record<FillName, number>
  looks: { step: number; error: number }[]
}

/** Of this recipe only the reconstruction takes place, with nothing beside it that labels would be needed for. */
const recipe = recipes['mae-finetune']
/** A step has as many images as one of a round, all of them without a label. */
const preset: Preset = { ...presets.nano, labeled: 0, unlabeled: presets.nano.labeled + presets.nano.unlabeled }
/** The first look after a step; the others double. */
const firstLook = 250
const pictured = 12

/** Trains, with looks at steps 0, 250, 500, 1000 and so on, and gives the rows of a picture beside the figures. */
export async function reconstruction(
  images: readonly LabeledImage[], { seed, steps, minutes, heldOut, say }: ReconstructionOptions,
): Promise<{ result: ReconstructionResult; rows: Uint8Array[][] }> {
  const { gate, promotion, unlabeled } = divided(images, { seed, perClass: 0, validation: heldOut })
  const kept = [...gate, ...promotion]
  const frames = await decoded(unlabeled)
  const examples = (await decoded(kept)).map((image, index): Example => ({
    patches: patchesOf(image, preset), mask: drawMask(preset, recipe.maskRatio, Random.of(seed, 8, index)),
  }))
  say(`${String(frames.length)} photographs to learn from, ${String(examples.length)} to measure on`)
  const simple = fillErrors(examples, frames)

  const startedAtMs = performance.now()
  const dictionary = await learnDictionary({ images: frames, preset, seed, turns: undisturbed })
  const learner = new Learner({
    preset, recipe, seed, engine: embedded, lanes: lanesOn(embedded, presets.nano, null),
    classCount: 1, labeled: [], labels: [], gate: [], unlabeled: frames, beliefs: new Float32Array(), dictionary,
  })
  const reconstructor = new Reconstructor({ preset, recipe, table: learner.table })
  const looks: ReconstructionResult['looks'] = []
  const look = async (step: number) => {
    const guesses = await reconstructor.guesses(await learner.result(), examples)
    const error = meanError(examples, (_, index) => guesses[index] ?? new Float32Array(), preset)
    looks.push({ step, error })
    say(`step ${String(step)}: ${error.toFixed(4)}`)
    return guesses
  }
  try {
    await useEngine(embedded)
    await learner.start()
    await look(0)
    const guesses = await look(await learn(learner, steps === null ? { wholeMs: (minutes ?? 0) * 60_000 } : { steps }, look))
    const shown = firstOfEach(kept).slice(0, pictured).map(index => ({ ...examples[index] as Example, guess: guesses[index] ?? new Float32Array() }))
    const result: ReconstructionResult = {
      section: 'reconstruction', seed, steps, minutes, heldOut, learned: frames.length, imagesPerStep: preset.unlabeled, maskRatio: recipe.maskRatio,
      seconds: (performance.now() - startedAtMs) / 1000, fills: simple, looks,
    }
    return { result, rows: rowsOf(shown, preset) }
  } finally {
    await reconstructor.release()
    await learner.stop()
  }
}

/** Reconstruction alone to the end of the budget, one schedule of the learning rate; gives the steps taken. */
async function learn(learner: Learner, budget: Budget, look: (step: number) => Promise<unknown>): Promise<number> {
  const pace = new Pace({ budget, phases: [{ name: 'reconstruct', share: 1 }], nowMs: () => performance.now(), spentMs: 0 })
  let [step, nextLook] = [0, firstLook]
  for (let done = 0; done < 1; done = pace.fraction(step)) {
    await learner.step({
      branches: { reconstruct: true, labeled: false }, permission: null, unlabeledWeight: 0,
      learningRate: recipe.learningRate * rateAt(done), layerDecay: 1,
    })
    step++
    // The last look is the caller's.
    if (step !== nextLook || pace.fraction(step) >= 1) continue
    await look(step)
    nextLook *= 2
  }
  return step
}

/** uint8 [S, S, 3] each. */
async function decoded(images: readonly LabeledImage[]): Promise<Uint8Array[]> {
  const { pixels } = await loadImages(images, ({ path }) => path, preset.size, undisturbed)
  return pixels
}

function fillErrors(examples: readonly Example[], frames: readonly Uint8Array[]): Record<FillName, number> {
  const meanImage = meanOf(frames, preset)
  const entries = Object.entries(fills).map(([name, fill]) => [name, meanError(examples, example => fill({ ...example, preset, meanImage }), preset)])
  return Object.fromEntries(entries) as Record<FillName, number>
}
