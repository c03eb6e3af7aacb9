/** What a round takes from the model in service: its ancestry, and weights to begin with. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ModelCard, RoundSpec } from './contract.js'
import { readLearned } from './data/learned.js'
import { sha256Of } from './data/sha256.js'
import { picturesForWords } from './dictionary.js'
import { fitTemperature, meanNll, priorOf } from './evidence.js'
import { readSafetensors, safetensorsMetadata } from './export/safetensors.js'
import type { Learner } from './learner.js'
import { partOf, type ParameterTable } from './model/parameters.js'
import type { Recipe } from './recipe.js'
import { isClassifier } from './step.js'

export interface Champion {
  version: number
  sha256: string
  /** Null where the card cannot be read. */
  card: Pick<ModelCard, 'recipe' | 'data' | 'files' | 'classes' | 'trainedShare'> | null
  /** Fingerprints of images that it and its ancestors owe themselves to. */
  learned: readonly string[]
  /** Of them those of models that were made elsewhere. */
  foreign: readonly string[]
  /** By name; none where they are damaged: nothing would ever be learned from those again. */
  tensors: ReturnType<typeof readSafetensors>
}

/** Reads the champion of a round, if it has one. Errors: the file system's for `model.onnx`; other files may lack. */
export async function championOf(champion: RoundSpec['champion']): Promise<Champion | null> {
  if (!champion) return null
  const { version, folder, given = false } = champion
  const sha256 = sha256Of([await readFile(join(folder, 'model.onnx'))])
  const card = await readFile(join(folder, 'card.json'), 'utf8').then(text => JSON.parse(text) as NonNullable<Champion['card']>).catch(() => null)
  const weights = await readFile(join(folder, 'weights.safetensors')).catch(() => null)
  const intact = weights !== null && sha256Of([weights]) === card?.files['weights.safetensors']
  const metadata = intact ? safetensorsMetadata(weights) : {}
  const learned = readLearned(metadata.learned) ?? []
  return {
    version, sha256, card, learned,
    foreign: given ? learned : readLearned(metadata.foreign) ?? [],
    tensors: intact ? readSafetensors(weights) : new Map<string, never>(),
  }
}

/**
 * Weights [n] to start from: the champion's transformer, of whose head each class has what the champion had for a class of its name, a new one
 * zeros. Null where the champion's model is another one or its weights are damaged, or where its dictionary is of fewer pictures than make a
 * good one and this round has more: the round starts from scratch.
 */
export function weightsFrom(
  { card, tensors }: Champion,
  { recipe, table: { specs, size }, classes, pictures }: { recipe: Recipe; table: ParameterTable; classes: readonly string[]; pictures: number },
): Float32Array | null {
  const encoder = specs.filter(({ name }) => !isClassifier(name))
  const same = card?.recipe.activation === recipe.activation && encoder.every(spec => tensors.get(spec.name)?.data.length === spec.size)
  if (!same || (recipe.stem && card.data.labeled + card.data.unlabeled < Math.min(picturesForWords, pictures))) return null
  const flat = new Float32Array(size)
  for (const { name, offset } of encoder) flat.set(tensors.get(name)?.data ?? [], offset)
  // In the champion's files the head counts no more than beside its shortcut.
  const share = card.trainedShare ?? 1
  for (const { name, offset, size: length } of share > 0 ? specs.filter(spec => isClassifier(spec.name)) : []) {
    const former = tensors.get(name)?.data
    const rows = length / classes.length
    if (former?.length !== rows * card.classes.length) continue
    classes.forEach((label, to) => {
      const from = card.classes.indexOf(label)
      for (let row = 0; from >= 0 && row < rows; row++) {
        flat[offset + row * classes.length + to] = (former[row * card.classes.length + from] ?? 0) / share
      }
    })
  }
  return flat
}

/** A head that takes less than this share of the doubt about labels away knows nothing of them. */
const leastKnown = 0.1

/**
 * Starts the learner from `weights`, of whose head only so much is kept as makes the labels of this round likeliest, and not at all where the
 * head knows nothing of them (McFadden's R²): what a champion had wrong does not live on.
 */
export async function adopt(learner: Pick<Learner, 'table' | 'adopt' | 'logitsOf' | 'result'>, weights: Float32Array, labels: readonly number[]): Promise<void> {
  const scratch = await learner.result()
  await learner.adopt(weights)
  const logits = await learner.logitsOf('labeled')
  const temperature = fitTemperature(logits, labels)
  const known = 1 - meanNll(logits, labels, temperature) / entropyOf(priorOf(labels, logits[0]?.length ?? 0))
  const kept = weights.slice()
  const head = partOf(learner.table, kept, 'head.')
  const silent = head.every(value => value === 0)
  head.set(head.map(value => value / Math.max(1, temperature)))
  await learner.adopt(silent || known >= leastKnown ? kept : scratch)
}

/** In nats. */
function entropyOf(shares: readonly number[]): number {
  return -shares.reduce((sum, share) => sum + share * Math.log(share), 0)
}
