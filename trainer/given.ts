/**
 * A round that learns nothing: a model that was made elsewhere is built from its weights and compared with the one in service.
 *
 * INVARIANT: of what comes from elsewhere only numbers and names are used. The ONNX file that will serve is exported here, so that no graph of
 * anybody else's ever reaches ONNX Runtime.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { compare } from './compare.js'
import { RoundError, type ModelCard, type RoundResult, type RoundSpec } from './contract.js'
import { readLearned } from './data/learned.js'
import { sha256Of } from './data/sha256.js'
import { readSafetensors, safetensorsMetadata } from './export/safetensors.js'
import { rebuiltModel } from './export/rebuild.js'
import { presets } from './model/presets.js'
import type { RoundOptions } from './round.js'
import type { Turns } from './turns.js'

/**
 * `given`: a folder with weights.safetensors and card.json, the card of the published shape. Leaves in `spec.out` the model with a card that is true
 * to it here. Errors: RoundError `unfit`, what its turns raise.
 */
export async function judgeGiven(
  spec: RoundSpec, given: string, { turns, onEvent }: Pick<RoundOptions, 'onEvent'> & { turns: Turns },
): Promise<RoundResult> {
  onEvent({ type: 'phase', phase: 'load' })
  const weights = await readFile(join(given, 'weights.safetensors'))
  const told = JSON.parse(await readFile(join(given, 'card.json'), 'utf8')) as ModelCard
  // They were checked as they came: what has happened to them since is the disk's fault, not the model's.
  if (sha256Of([weights]) !== told.files['weights.safetensors']) throw new Error(`${given}: the weights are not those that were fetched`)
  const { model, learned } = await built(told, weights)
  await turns.next()
  onEvent({ type: 'phase', phase: 'export' })
  const card: ModelCard = {
    // Versions of the box that made it mean other models here.
    ...told, parent: null,
    files: { 'model.onnx': sha256Of([model]), 'weights.safetensors': sha256Of([weights]) },
  }
  await writeFile(join(spec.out, 'model.onnx'), model, { flush: true })
  await writeFile(join(spec.out, 'weights.safetensors'), weights, { flush: true })
  await writeFile(join(spec.out, 'card.json'), `${JSON.stringify(card, null, 2)}\n`, { flush: true })
  onEvent({ type: 'phase', phase: 'evidence' })
  const { evidence, paths, unreadable } = await compare({
    ...spec, challenger: { folder: spec.out, size: presets[card.preset].size }, known: new Set(learned), turns,
    // What this box is to tell apart, not what the other one does.
    classes: [...new Set([...spec.labeled, ...spec.gate].map(({ label }) => label))],
  })
  for (const { path, reason } of unreadable) onEvent({ type: 'quarantine', path, reason })
  const { nll, confidence } = evidence.challenger
  if (![...nll, ...confidence].every(Number.isFinite)) throw new RoundError('unfit', 'it answers what is no number')
  return { card, evidence, paths, losses: [], quarantined: unreadable }
}

/** Errors: RoundError `unfit`. */
async function built(card: ModelCard, weights: Uint8Array): Promise<{ model: Uint8Array; learned: string[] }> {
  try {
    const tensors = readSafetensors(weights)
    for (const [name, { data }] of tensors) if (!data.every(Number.isFinite)) throw new Error(`the weight "${name}" holds what is no number`)
    if (!(Math.fround(card.temperature) > 0 && Number.isFinite(Math.fround(card.temperature)))) throw new Error(`its temperature is ${String(card.temperature)}`)
    const learned = readLearned(safetensorsMetadata(weights).learned)
    if (!learned) throw new Error('it does not tell which images it learned from; a model of this version does')
    return { model: await rebuiltModel({ card, weights, int8: false }), learned }
  } catch (cause) {
    throw new RoundError('unfit', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}
