import { join } from 'node:path'
import { dataFolderIn, defaultConfig } from '../config.js'
import { ask } from '../control.js'
import { FrameStore } from '../frames/store.js'
import { readClassFolders } from '../frames/labels.js'
import { systemClock } from '../lib/clock.js'
import { accuracyOf, calibrationErrorOf } from '../figures.js'
import { configOf, readRegistry } from './data.js'
import type { Reply } from '../report/commands.js'
import { percent, print, type OutputOptions } from './output.js'

export async function status(options: OutputOptions & { config?: string | undefined }): Promise<void> {
  // Where the file is wrong by now, an agent that runs goes on with the former one, and is asked all the same.
  const config = await configOf(options).catch(async (cause: unknown) => {
    const data = options.config === undefined ? null : await dataFolderIn(options.config)
    if (data === null) throw cause
    process.stderr.write(`pawl: CONFIG_INVALID: ${cause instanceof Error ? cause.message : String(cause)}\n`)
    return { ...defaultConfig(), data }
  })
  const agent = await ask(config.data, 'status', {})
  const registry = await readRegistry(config)
  const frames = new FrameStore({ folder: join(config.data, 'frames'), config: config.frames, clock: systemClock })
  await frames.read()
  const labels = await readClassFolders(join(config.data, 'labels')).then(({ images }) => images.length, () => 0)
  const model = registry.active()
  const last = registry.decisions().at(-1) ?? null
  print(options, {
    data: config.data, agent, model: model?.version ?? null,
    accuracy: model ? accuracyOf(model) : null, ece: model ? calibrationErrorOf(model) : null, models: registry.list().length,
    rounds: registry.decisions().length, lastDecision: last, frames: frames.count, frameBytes: frames.totalBytes, labels,
  }, [
    `data     ${config.data}`,
    `agent    ${agent ? doing(agent) : 'does not run'}`,
    `model    ${model ? `${String(model.version)}, ${percent(accuracyOf(model))} of the promotion images of its round right, calibration error ${percent(calibrationErrorOf(model))}` : 'none yet'}`,
    `rounds   ${String(registry.decisions().length)}${last ? `, the last one ${last.promoted ? 'promoted' : 'refused'}: ${last.explanation}` : ''}`,
    `frames   ${String(frames.count)}, ${(frames.totalBytes / 1e6).toFixed(1)} MB`,
    `labels   ${String(labels)}`,
  ])
}

function doing({ serving, mode, training, probation, drift }: Reply<'status'>): string {
  const serves = serving === null ? 'no model answers yet' : `model ${String(serving)} answers${probation ? ', on probation' : ''}`
  return [
    'runs', serves, training ? 'a round is running' : 'no round is running', `mode ${mode.kind}`, ...drift ? [`drift: ${drift.message}`] : [],
  ].join('; ')
}
