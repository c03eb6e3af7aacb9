/** The trainer's only door. What is light is exported as it is; the training engine loads when it is first asked for. */
import type { BenchOptions, BenchReport } from './bench.js'
import type { Device } from './backend/session.js'
import type { PresetName, RoundResult, RoundSpec, Verification } from './contract.js'
import type { RebuildOptions } from './export/rebuild.js'
import type { RoundOptions } from './round.js'

export * from './contract.js'
export type { BenchOptions, BenchReport } from './bench.js'
export { checkpointFile } from './checkpoint.js'
export { ModelFile } from './backend/model-file.js'
export { decodeImage, fitImage, headOf, imageName, readImageFile, squared, uprightImage, type FittedImage } from './data/image.js'
export { calibrationError, metricsOf } from './evidence.js'
export { gateOptions } from './gate/pseudo-label-gate.js'
export * from './gate/statistics.js'
export { presets } from './model/presets.js'
export { Random } from './data/random.js'

/** The program that runs one round in a child process, speaking `TrainerRequest` and `TrainerReply`. */
export const trainerProcess = new URL('./process.js', import.meta.url)

/** One round in this process; one that was interrupted goes on. Errors: `RoundError` with a stable reason. */
export async function train(spec: RoundSpec, options: RoundOptions): Promise<RoundResult> {
  const { runRound } = await import('./round.js')
  return runRound(spec, options)
}

/** ONNX bytes of the preset with random weights: to measure speed with. */
export async function untrainedModel(preset: PresetName): Promise<Uint8Array> {
  const bench = await import('./bench.js')
  return bench.untrainedModel(preset)
}

/** Verifies anew the engines of a device, or all, and remembers it: minutes where a device is slow. */
export async function verifyTraining(
  { device, ...options }: { preset: PresetName; memory: string; device: 'auto' | Device },
): Promise<Verification[]> {
  const { engines } = await import('./backend/choose.js')
  const { verifiedEngines } = await import('./engines.js')
  return verifiedEngines({ ...options, anew: true, wanted: engines.filter(engine => device === 'auto' || engine.device === device) })
}

/** What the memory holds of the engines of this machine; empty where nothing was verified yet. */
export async function knownEngines({ memory, preset }: { memory: string; preset: PresetName }): Promise<Verification[]> {
  const { remembered } = await import('./engines.js')
  return remembered(memory, preset)
}

/** ONNX bytes of a finished model once more, from its card and its weights. Errors: weights that are not those of the card. */
export async function rebuiltModel(options: RebuildOptions): Promise<Uint8Array> {
  const rebuild = await import('./export/rebuild.js')
  return rebuild.rebuiltModel(options)
}

/** Times the full training step beside this machine's SGEMM. */
export async function benchTrain(options: BenchOptions): Promise<BenchReport> {
  const bench = await import('./bench.js')
  return bench.benchTrain(options)
}
