/** What a round takes from the model in service: its ancestry, and weights to begin with. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ModelCard, RoundSpec } from './contract.js'
import { readLearned } from './data/learned.js'
import { sha256Of } from './data/sha256.js'
import { picturesForWords } from './dictionary.js'
import { fitTemperature, meanNll } from './evidence.js'
import { readSafetensors, safetensorsMetadata } from './export/safetensors.js'
import type { Learner } from './learner.js'
import { partOf, type ParameterSpec, type ParameterTable } from './model/parameters.js'
import { activationOf, type Recipe } from './recipe.js'
import { isClassifier } from './step.js'

export interface Champion {
  version: number
  sha256: string
  /** Null where it cannot be read. */
  card: Pick<ModelCard, 'recipe' | 'data' | 'files' | 'classes' | 'trainedShare'> | null
  /** Fingerprints of images that it and its ancestors owe themselves to. */
  learned: readonly string[]
  /** Of them those of models that were made elsewhere. */
  foreign: readonly string[]
  /** By name; none where the file is damaged: from such weights nothing would ever be learned again. */
  tensors: ReturnType<typeof readSafetensors>
}

/** What a round may begin with. */
export interface Beginning {
  /** Of the transformer [n], in the order of its table. */
  weights: Float32Array
  /** Which of the round's classes the champion knew [C]. */
  named: readonly boolean[]
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
 * The champion's transformer, of whose head each class has what the champion had for a class of its name, a new one zeros. Null where the
 * champion's model is another one, where its weights are damaged or no numbers, or where its dictionary is of fewer pictures than make a good one
 * and this round has more: the round starts from scratch.
 */
export function beginningFrom(
  { card, tensors }: Champion,
  { recipe, table: { specs, size }, classes, pictures }: { recipe: Recipe; table: ParameterTable; classes: readonly string[]; pictures: number },
): Beginning | null {
  if (!card || !sameActivation(card.recipe, recipe)) return null
  const [head, encoder] = [true, false].map(wanted => specs.filter(({ name }) => isClassifier(name) === wanted)) as [ParameterSpec[], ParameterSpec[]]
  if (!encoder.every(spec => tensors.get(spec.name)?.data.length === spec.size)) return null
  if (recipe.stem && card.data.labeled + card.data.unlabeled < Math.min(picturesForWords, pictures)) return null
  const weights = new Float32Array(size)
  for (const { name, offset } of encoder) weights.set(tensors.get(name)?.data ?? [], offset)
  const former = card.classes
  const rowsOf = (spec: ParameterSpec) => spec.size / classes.length
  const named = classes.map(label => former.includes(label))
  // The file's head is multiplied by the share already that it has beside the shortcut.
  const share = card.trainedShare ?? 1
  const fits = head.every(spec => tensors.get(spec.name)?.data.length === rowsOf(spec) * former.length)
  for (const spec of fits && share > 0 ? head : []) {
    const values = tensors.get(spec.name)?.data ?? []
    for (let row = 0; row < rowsOf(spec); row++) {
      classes.forEach((label, to) => {
        if (named[to]) weights[spec.offset + row * classes.length + to] = (values[row * former.length + former.indexOf(label)] ?? 0) / share
      })
    }
  }
  return weights.every(Number.isFinite) ? { weights, named } : null
}

/** A head that takes less than this share of the doubt about labels away knows nothing of them. */
const leastKnown = 0.1

/**
 * Starts the learner from what a champion left. Of its head no more is kept than makes the labels of this round likeliest. Where the head speaks
 * and yet knows nothing of the classes that it names (McFadden's R², of labels it may have learned from), the learner stays as it is: a champion of
 * wrong labels does not live on, but for the words that the round has taken from it. Gives whether the champion's weights are what it starts from.
 */
export async function beginFrom(
  { weights, named }: Beginning, learner: Pick<Learner, 'table' | 'adopt' | 'logitsOf' | 'result'>, labels: readonly number[],
): Promise<boolean> {
  const scratch = await learner.result()
  await learner.adopt(weights)
  const logits = await learner.logitsOf('labeled')
  const temperature = fitTemperature(logits, labels)
  const kept = weights.slice()
  const head = partOf(learner.table, kept, 'head.')
  const silent = head.every(value => value === 0)
  head.set(head.map(value => value / Math.max(1, temperature)))
  const goesOn = silent || knownShare(logits, labels, named) >= leastKnown
  await learner.adopt(goesOn ? kept : scratch)
  return goesOn
}

/** McFadden's R² of the logits [N][C] at their best temperature, on labels of the classes that are named; 1 where these are fewer than two. */
function knownShare(logits: readonly (readonly number[])[], labels: readonly number[], named: readonly boolean[]): number {
  const columns = named.flatMap((known, label) => (known && labels.includes(label) ? [label] : []))
  if (columns.length < 2) return 1
  const rows = logits.map(row => columns.map(column => row[column] ?? 0))
  const own = labels.map(label => columns.indexOf(label))
  const counts = columns.map(column => labels.filter(label => label === column).length)
  return 1 - meanNll(rows, own, fitTemperature(rows, own)) / meanNll(rows.map(() => counts.map(Math.log)), own, 1)
}

function sameActivation(former: Readonly<Record<string, unknown>>, { activation }: Recipe): boolean {
  try {
    return activationOf(former) === activation
  } catch {
    return false
  }
}
