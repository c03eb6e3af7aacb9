/** What becomes of a model on a site that changes, by the way it is kept up to date: round after round of `story`. */
import { appendFile, mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { reservoir, type Stamped } from '../../agent/frames/reservoir.js'
import { decide } from '../../agent/rounds/promotion.js'
import { mcnemar, ModelFile, type LabeledImage, type MethodName, type RoundSpec } from '../../trainer/index.js'
import { loadImages } from '../../trainer/data/load.js'
import { Random } from '../../trainer/data/random.js'
import { argMax, probabilitiesOf } from '../../trainer/evidence.js'
import { streamOf, type Scene } from './stream.js'
import { ordinary, undisturbed } from '../ordinary.js'
import { checkedPseudoLabels, trained, type PseudoLabels } from './run.js'
import { linesOf } from './script.js'

interface Upkeep {
  /** Trains at every round; else only at the first. */
  retrains: boolean
  method: MethodName
  /** Learns from unlabeled frames too. */
  frames: boolean
  /** Labels kept, balanced by class; null: all. */
  memory: number | null
  /** A challenger serves only when the promotion gate lets it. */
  gated: boolean
}

/** GDumb: Prabhu et al., *GDumb: A Simple Approach that Questions Our Progress in Continual Learning*, 2020. */
export const upkeeps = {
  none: { retrains: false, method: 'pawl', frames: true, memory: null, gated: false },
  labels: { retrains: true, method: 'pawl', frames: false, memory: null, gated: false },
  gdumb: { retrains: true, method: 'pawl', frames: false, memory: 100, gated: false },
  ungated: { retrains: true, method: 'ungated', frames: true, memory: null, gated: false },
  pawl: { retrains: true, method: 'pawl', frames: true, memory: null, gated: true },
} as const satisfies Record<string, Upkeep>

export type UpkeepName = keyof typeof upkeeps
export const upkeepNames = Object.keys(upkeeps) as UpkeepName[]

export interface ContinualKey {
  upkeep: UpkeepName
  seed: number
  /** Of each round. */
  steps: number
  /** Frames that a camera stores from one round to the next, and the most that a round learns from. */
  frames: number
  maxFrames: number
  tests: number
  choose: boolean
}

export interface ContinualRound {
  round: number
  domain: string
  labels: number
  /** Of the model in service after the round, on pictures of this time, and on pictures of the first. */
  accuracy: number
  first: number
  /** Of the model that was in service before, on pictures of this time; null at the first round. */
  before: number | null
  trained: boolean
  promoted: boolean
  reason: string
  /** Chance of losing so many more pictures of this time if the new model in service were as good as the one before. */
  worseP: number
  /** Empty in lines without a commit too, which did not check them. */
  pseudoLabels: PseudoLabels[]
}

export interface ContinualResult extends ContinualKey {
  rounds: ContinualRound[]
}

/** α of the promotion gate, the agent's own. */
const alpha = 0.05
const hourMs = 3_600_000

/** Plays the story; `folder` keeps the rounds that are done, and an interrupted one goes on from there. */
export async function play(key: ContinualKey, folder: string, say: (text: string) => void): Promise<ContinualResult> {
  const upkeep: Upkeep = upkeeps[key.upkeep]
  const scenes = await streamOf({ ...key, folder: join(folder, '..', `stream-${String(key.seed)}-${String(key.frames)}-${String(key.tests)}${key.choose ? '-choose' : ''}`) })
  await mkdir(folder, { recursive: true })
  const journal = join(folder, 'rounds.jsonl')
  const rounds = await linesOf<ContinualRound>(journal)
  const folderOf = (round: number) => join(folder, `model-${String(round)}`)
  let serving = rounds.findLast(({ promoted }) => promoted)?.round ?? null
  let attempt = 1
  for (const [index, scene] of scenes.entries()) {
    const round = index + 1
    if (scene.labeled.length) attempt = 1
    if (rounds.length >= round) {
      if (rounds[index]?.trained && round > 1) attempt++
      continue
    }
    const past = scenes.slice(0, round)
    const before = serving
    let verdict = { promoted: false, reason: 'not trained' }
    const { pseudoLabels, take } = checkedPseudoLabels(past.flatMap(({ frames }) => frames))
    if (round === 1 || upkeep.retrains) {
      const champion = before === null ? null : { version: before, folder: folderOf(before) }
      const spec = specOf(key, upkeep, past, { out: folderOf(round), champion })
      await rm(spec.out, { recursive: true, force: true })
      const { evidence } = await trained(spec, take)
      const random = Random.of(key.seed, 30, round)
      verdict = upkeep.gated && before !== null ? decide(evidence, { alpha, refreshMargin: 0, attempt: attempt++, random: () => random.float() }) : { promoted: true, reason: 'always' }
      if (verdict.promoted) serving = round
    }
    const [own, former] = [await rightOf(folderOf(serving ?? 1), scene.test), before === null ? null : await rightOf(folderOf(before), scene.test)]
    const lost = former ? own.filter((right, at) => !right && former[at]).length : 0
    const won = former ? own.filter((right, at) => right && !former[at]).length : 0
    const told: ContinualRound = {
      round, domain: scene.domain.name, labels: past.reduce((sum, { labeled }) => sum + labeled.length, 0),
      accuracy: shareOf(own), first: shareOf(await rightOf(folderOf(serving ?? 1), scenes[0]?.test ?? [])), before: former && shareOf(former),
      trained: round === 1 || upkeep.retrains, promoted: verdict.promoted, reason: verdict.reason, worseP: mcnemar(lost, won), pseudoLabels,
    }
    rounds.push(told)
    await appendFile(journal, `${JSON.stringify(told)}\n`)
    say(`  ${String(round)} ${told.domain}: ${percent(told.before)} ► ${percent(told.accuracy)} (${told.reason}), first domain ${percent(told.first)}`)
  }
  return { ...key, rounds }
}

function specOf(key: ContinualKey, { method, frames, memory, gated }: Upkeep, past: readonly Scene[], { out, champion }: Pick<RoundSpec, 'out' | 'champion'>): RoundSpec {
  const random = Random.of(key.seed, 31, past.length)
  const all = past.flatMap(({ labeled }) => labeled)
  const stored = past.flatMap((scene, index) => scene.frames.map(({ path }): Stamped & { path: string } => ({ path, camera: 'site', capturedAtMs: index * hourMs })))
  return {
    ...ordinary, labeled: memory === null ? all : remembered(all, memory, random),
    gate: past.flatMap(({ gate }) => gate), promotion: past.flatMap(({ promotion }) => promotion),
    unlabeled: frames ? reservoir(stored, key.maxFrames, () => random.float()).map(({ path }) => path) : [],
    out, method, seed: key.seed * 100 + past.length, steps: key.steps, minutes: null,
    // Only what is to be better than its champion is compared with it; from scratch is what retraining means elsewhere.
    champion: gated || method === 'ungated' ? champion : null,
  }
}

/** GDumb's sampler: labels as they come, and when the memory is full the largest class gives one up. */
export function remembered(stream: readonly LabeledImage[], memory: number, random: Random): LabeledImage[] {
  const kept: LabeledImage[] = []
  for (const image of stream) {
    const sizeOf = (label: string) => kept.filter(other => other.label === label).length
    if (kept.length >= memory) {
      const [largest = ''] = [...new Set(kept.map(({ label }) => label))].sort((a, b) => sizeOf(b) - sizeOf(a))
      if (sizeOf(image.label) >= sizeOf(largest)) continue
      const places = kept.flatMap(({ label }, place) => (label === largest ? [place] : []))
      kept.splice(places[random.below(places.length)] ?? 0, 1)
    }
    kept.push(image)
  }
  return kept
}

/** Which images a model has right. */
async function rightOf(folder: string, images: readonly LabeledImage[]): Promise<boolean[]> {
  const model = await ModelFile.open(await readFile(join(folder, 'model.onnx')))
  const { pixels } = await loadImages(images, ({ path }) => path, model.metadata.size, undisturbed)
  const rows = await probabilitiesOf(model, pixels)
  await model.release()
  return images.map(({ label }, index) => model.metadata.classes[argMax(rows[index] ?? [])] === label)
}

export function shareOf(right: readonly boolean[]): number {
  return right.length ? right.filter(Boolean).length / right.length : 0
}

function percent(share: number | null): string {
  return share === null ? '-' : `${(100 * share).toFixed(1)} %`
}
