import { readdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { presetNames } from '../../trainer/contract.js'
import { imageName, train as trainRound, type RoundEvent } from '../../trainer/index.js'
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
  const onEvent = (event: RoundEvent) => {
    if (event.type === 'quarantine') terminal.say(`left out ${event.path}: ${event.reason}`, 'yellow')
    else if (event.type === 'leaked') terminal.say(event.message, 'yellow')
    else terminal.accept({ type: 'round-event', round: 1, event })
  }
  const labels = await readLabels(resolve(options.labeled), options.validation === undefined ? null : resolve(options.validation))
  const result = await trainRound({
    ...labels,
    unlabeled: options.unlabeled === undefined ? [] : await imagesBelow(resolve(options.unlabeled)),
    out: resolve(options.out),
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
    `${join(options.out, 'model.onnx')}: ${percent(card.validation.accuracy)} of ${String(card.validation.images)} validation images right`
    + ` (95 %: ${card.validation.interval.map(percent).join(' to ')})`,
    `${String(card.steps)} steps in ${card.seconds.toFixed(0)} s (${card.imagesPerSecond.toFixed(0)} images/s) on ${card.backend}, ${card.device};`
    + ` ${String(card.pseudoLabels.used)} pseudo-labels used`,
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
