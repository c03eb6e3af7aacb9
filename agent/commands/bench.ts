import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import sharp from 'sharp'
import { z } from 'zod'
import { presetNames } from '../../trainer/contract.js'
import { benchTrain, ModelFile, presets, trainerEnvironment, untrainedModel } from '../../trainer/index.js'
import { openModel, timeInference } from '../classifier/evaluate.js'
import { ownEngines } from './data.js'
import { percent, print, type OutputOptions } from './output.js'

const TrainOptions = z.object({
  preset: z.enum(presetNames),
  backend: z.enum(['auto', 'onnxruntime', 'tensorflow']),
  device: z.enum(['auto', 'cpu', 'webgpu', 'cuda']),
  lanes: z.number().optional(),
  repeats: z.number().optional(),
  plain: z.boolean().optional(),
  json: z.boolean().optional(),
})

const defaultRepeats = { nano: 20, micro: 10, tiny: 6 } as const

/** Runs in a process like a round's, with the environment that trainers are started with. */
export async function benchTrainCommand(given: unknown): Promise<void> {
  const options = TrainOptions.parse(given)
  if (Object.entries(trainerEnvironment).some(([name, value]) => process.env[name] !== value)) {
    const env = { ...process.env, ...trainerEnvironment }
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], { stdio: 'inherit', env })
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => { child.kill(signal) })
    const [code] = await once(child, 'exit') as [number | null]
    process.exitCode = code ?? 1
    return
  }
  const { preset, backend, device } = options
  const { lanes = null, repeats = defaultRepeats[preset], plain = false } = options
  const report = await benchTrain({ preset, backend, device, memory: ownEngines(), lanes, repeats, plain })
  print(options, report, [
    `${preset} on ${report.backend}, ${report.device}, ${String(report.lanes)} lanes: ${report.imagesPerSecond.toFixed(1)} images/s`,
    `one step ${report.secondsPerStep.toFixed(3)} s (${report.minSeconds.toFixed(3)} to ${report.maxSeconds.toFixed(3)});`
    + ` ${report.gflops.toFixed(1)} of ${report.rooflineGflops.toFixed(1)} GFLOP/s (${percent(report.rooflineFraction)});`
    + ` ${percent(report.overheadFraction)} outside the session, ${percent(report.updateFraction)} optimiser; peak ${String(Math.round(report.peakRssBytes / 1e6))} MB`,
  ])
}

/** Longer side of the JPEGs that are timed: what the bundled camera's crops measure. */
const jpegSide = 112

export async function benchInferCommand(options: OutputOptions & { model?: string | undefined; preset: string; repeats: number }): Promise<void> {
  const preset = z.enum(presetNames).parse(options.preset)
  const model = options.model === undefined ? await ModelFile.open(await untrainedModel(preset)) : await openModel(resolve(options.model))
  const side = Math.max(jpegSide, presets[preset].size)
  const jpegs = await Promise.all(Array.from({ length: 16 }, (_, index) => sharp({
    create: { width: side, height: side, channels: 3, background: '#444', noise: { type: 'gaussian', mean: 100 + index * 5, sigma: 30 } },
  }).jpeg().toBuffer()))
  const times = await timeInference(model, jpegs, options.repeats)
  print(options, { ...times, size: model.metadata.size, jpegSide: side }, [
    `JPEG (${String(side)} px) to prediction (${String(model.metadata.size)} px): p50 ${times.p50Ms.toFixed(2)} ms, p99 ${times.p99Ms.toFixed(2)} ms`
    + ` (session p50 ${times.sessionP50Ms.toFixed(2)} ms); ${times.framesPerSecond.toFixed(0)} frames/s`,
  ])
}
