/** Two hundred steps of the real model at nano, on a few images a step, beside tfjs's own cpu backend: how far the losses drift apart. */
import '@tensorflow/tfjs-backend-cpu'
import { registerOnnxRuntimeBackend } from '../../trainer/backend/backend.js'
import { presets } from '../../trainer/model/presets.js'
import { trainOn, worstDifference, type Training } from '../training.js'
import type { Options, Result } from './measure.js'

const steps = 200
/** tfjs's cpu backend takes a second for each image and step. */
const preset = { ...presets.nano, labeled: 2, unlabeled: 2 }

export async function run({ say }: Options): Promise<Result> {
  registerOnnxRuntimeBackend()
  say('nano on pawl')
  const ours = await trainOn('shared', preset, steps)
  const again = await trainOn('shared', preset, steps)
  say('nano on tfjs\'s cpu backend')
  const reference = await trainOn('cpu', preset, steps)
  const until = (training: Training, step: number) => training.losses.slice(0, step).flat()
  const rows = [1, 50, 100, 150, steps].map(step => ({
    steps: step,
    'largest difference of a loss, relative to 1 + loss': worstDifference(until(reference, step), until(ours, step)),
  }))
  const same = Buffer.from(ours.weights.buffer).equals(Buffer.from(again.weights.buffer))
  return {
    rows,
    notes: [
      `nano, ${String(preset.labeled)} labeled and ${String(preset.unlabeled)} unlabeled images a step, seed 4, the same for both`,
      `the weights of two runs on pawl are ${same ? 'the same' : 'not the same'}, bit for bit`,
    ],
  }
}
