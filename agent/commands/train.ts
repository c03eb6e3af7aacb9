import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { presetNames } from '../../trainer/contract.js'
import { checkpointFile, gateOptions, imageName, presets, train as trainRound, wilsonInterval, type RoundEvent } from '../../trainer/index.js'
import { PawlError } from '../errors.js'
import { readLabels } from '../frames/labels.js'
import { Terminal } from '../report/terminal.js'
import { Method } from '../schemas.js'
import { ownEngines } from './data.js'
import { percent, print } from './output.js'

const Options = z.object({
  labeled: z.string(),
  unlabeled: z.string().optional(),
  validation: z.string().optional(),
  out: z.string(),
  preset: z.enum(presetNames),
  method: Method,
  steps: z.number().optional(),
  minutes: z.number().optional(),
  seed: z.number(),
  backend: z.enum(['auto', 'onnxruntime', 'tensorflow']),
  device: z.enum(['auto', 'cpu', 'webgpu', 'cuda']),
  lanes: z.number().optional(),
  json: z.boolean().optional(),
})

const defaultMinutes = 10

export async function train(given: unknown, signal: AbortSignal): Promise<void> {
  const options = Options.parse(given)
  const terminal = new Terminal({ stream: process.stderr, nowMs: () => performance.now() })
  const warn = (text: string) => { terminal.say(text, 'yellow') }
  const out = resolve(options.out)
  if (existsSync(join(out, checkpointFile))) warn(`an interrupted training lies in ${options.out}: the same command goes on with it, any other takes its place`)
  else if (existsSync(join(out, 'model.onnx'))) warn(`a model lies in ${options.out}: this one takes its place once it is finished`)
  const onEvent = (event: RoundEvent) => {
    if (event.type === 'quarantine') warn(`left out ${event.path}: ${event.reason}`)
    else if (event.type === 'leaked') warn(event.message)
    else terminal.accept({ type: 'round-event', round: 1, event })
  }
  const labels = await readLabels(resolve(options.labeled), options.validation === undefined ? null : resolve(options.validation), warn)
  const frames = options.unlabeled === undefined ? [] : await imagesBelow(resolve(options.unlabeled))
  const hopeless = options.method === 'pawl' && frames.length > 0 ? whyFramesCannotTeach(options, frames.length, labels.gate.length) : null
  if (hopeless !== null) warn(`unlabeled images will teach no class: ${hopeless}`)
  if (options.method === 'supervised' && frames.length > 0) warn(`supervised learns from labels alone: ${String(frames.length)} unlabeled images are not looked at`)
  const result = await trainRound({
    ...labels,
    unlabeled: frames,
    out,
    preset: options.preset,
    method: options.method,
    seed: options.seed,
    steps: options.steps ?? null,
    minutes: options.steps === undefined ? options.minutes ?? defaultMinutes : null,
    backend: options.backend,
    device: options.device,
    engines: ownEngines(),
    champion: null,
    lanes: options.lanes ?? null,
    switches: {},
  }, { signal, onEvent }).finally(() => { terminal.stop() })
  const { card, evidence } = result
  const [images, right] = [evidence.labels.length, evidence.challenger.predicted.filter((label, index) => label === evidence.labels[index]).length]
  const unseen = images === 0
    ? 'no validation image that nothing saw before can be read'
    : `${percent(right / images)} of ${String(images)} validation images right that nothing saw before (95 %: ${wilsonInterval(right, images).map(percent).join(' to ')})`
  print(options, {
    model: join(resolve(options.out), 'model.onnx'), method: card.method, preset: card.preset, seed: card.seed, steps: card.steps,
    seconds: card.seconds, backend: card.backend, device: card.device, imagesPerSecond: card.imagesPerSecond,
    validation: card.validation, promotion: { images, correct: right }, temperature: card.temperature,
    pseudoLabels: card.pseudoLabels, gate: card.gate, data: card.data, quarantined: result.quarantined,
  }, [
    `${join(options.out, 'model.onnx')}: ${unseen}; ${percent(card.validation.accuracy)} of the ${String(card.validation.images)} that it was adjusted by`,
    `${String(card.steps)} steps in ${card.seconds.toFixed(0)} s (${card.imagesPerSecond.toFixed(0)} images/s) on ${card.backend}, ${card.device};`
    + ` ${String(card.pseudoLabels.used)} pseudo-labels used`,
    ...hopeless === null && card.gate.length > 0 && card.gate.every(({ open }) => !open)
      ? ['no unlabeled image taught a class: the gate never had proof that the teacher is right about them'] : [],
  ])
}

/** Why the gate cannot open, whatever is learned; null: it can. */
function whyFramesCannotTeach({ preset, validation }: z.infer<typeof Options>, frames: number, judges: number): string | null {
  if (frames < presets[preset].labeled) return `there are ${String(frames)}, and ${String(presets[preset].labeled)} at least are needed`
  if (judges >= gateOptions.leastAccepted) return null
  return `${String(judges)} images judge what they are taken for, where ${String(gateOptions.leastAccepted)} at least are needed; give more ${validation === undefined ? 'labels, or --validation' : 'validation images'}`
}

async function imagesBelow(folder: string): Promise<string[]> {
  const fix = '--unlabeled takes a folder of JPEG, PNG or WebP images'
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((cause: unknown) => {
    throw new PawlError('IMAGE_UNREADABLE', `${folder}: the folder cannot be read; ${fix}`, { cause })
  })
  const images = entries.filter(entry => entry.isFile() && imageName.test(entry.name))
  if (images.length === 0) throw new PawlError('IMAGE_UNREADABLE', `${folder}: there are no images; ${fix}`)
  return images.map(entry => join(entry.parentPath, entry.name)).sort()
}
