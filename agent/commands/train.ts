import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { presetNames } from '../../trainer/contract.js'
import { checkpointFile, gateOptions, imageName, train as trainRound, wilsonInterval, type RoundEvent } from '../../trainer/index.js'
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
  if (existsSync(join(out, 'model.onnx'))) warn(`${options.out} holds a model already: this one replaces it once it is finished`)
  let interrupted = existsSync(join(out, checkpointFile))
  const onEvent = (event: RoundEvent) => {
    if (event.type === 'quarantine') warn(`left out ${event.path}: ${event.reason}`)
    else if (event.type === 'leaked') warn(event.message)
    else terminal.accept({ type: 'round-event', round: 1, event })
    if (interrupted && event.type === 'progress') warn(`what was interrupted in ${options.out} is of another command, other labels or another version: this one began anew`)
    if (event.type === 'resumed' || event.type === 'progress') interrupted = false
  }
  const labels = await readLabels(resolve(options.labeled), options.validation === undefined ? null : resolve(options.validation), warn)
  const frames = options.unlabeled === undefined ? [] : await imagesBelow(resolve(options.unlabeled))
  const gated = frames.length > 0 && options.method === 'pawl'
  if (options.method === 'supervised' && frames.length > 0) warn(`supervised learns from labels alone: ${String(frames.length)} unlabeled images are not looked at`)
  if (gated && labels.gate.length < gateOptions.leastAccepted) {
    warn(`${String(labels.gate.length)} images judge pseudo-labels, where ${String(gateOptions.leastAccepted)} at least are needed: unlabeled images will teach no class; give more labels, or --validation`)
  }
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
  const right = evidence.challenger.predicted.filter((label, index) => label === evidence.labels[index]).length
  print(options, {
    model: join(resolve(options.out), 'model.onnx'), method: card.method, preset: card.preset, seed: card.seed, steps: card.steps,
    seconds: card.seconds, backend: card.backend, device: card.device, imagesPerSecond: card.imagesPerSecond,
    validation: card.validation, promotion: { images: evidence.labels.length, correct: right }, temperature: card.temperature,
    pseudoLabels: card.pseudoLabels, gate: card.gate, data: card.data, quarantined: result.quarantined,
  }, [
    `${join(options.out, 'model.onnx')}: ${percent(right / evidence.labels.length)} of ${String(evidence.labels.length)} validation images right that nothing`
    + ` saw before (95 %: ${wilsonInterval(right, evidence.labels.length).map(percent).join(' to ')}); ${percent(card.validation.accuracy)} of`
    + ` the ${String(card.validation.images)} that judged while it learned`,
    `${String(card.steps)} steps in ${card.seconds.toFixed(0)} s (${card.imagesPerSecond.toFixed(0)} images/s) on ${card.backend}, ${card.device};`
    + ` ${String(card.pseudoLabels.used)} pseudo-labels used`,
    ...gated && card.gate.every(({ open }) => !open) ? ['no unlabeled image taught a class: the gate never had proof that the teacher is right about them'] : [],
  ])
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
