/** One round, from top to bottom: load ► prepare ► reconstruct ► finetune ► semi-supervised ► export ► evidence. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { balance } from './balance.js'
import { beginFrom, beginningFrom, championOf, type Champion } from './champion.js'
import { compare } from './compare.js'
import { RoundError, type LabeledImage, type ModelCard, type RoundEvent, type RoundFailure, type RoundPhase, type RoundResult, type RoundSpec } from './contract.js'
import { judgesOf, withoutJudges } from './data/leaks.js'
import { fingerprintOf, split, writeLearned } from './data/learned.js'
import { loadImages } from './data/load.js'
import { sha256Of } from './data/sha256.js'
import { checkpointFormat, Checkpoints } from './checkpoint.js'
import { chooseEngine, onTrial } from './engines.js'
import { fitTemperature, labelsOf, metricsOf, softmax } from './evidence.js'
import { exportChecked } from './export/checked.js'
import { judgeGiven } from './given.js'
import { Learner } from './learner.js'
import { lanesOn } from './lanes/lanes.js'
import { modelTable, parameterTable, partOf, type ParameterTable } from './model/parameters.js'
import { presets } from './model/presets.js'
import { Ssmae } from './model/ssmae.js'
import { recipeOf, type Recipe } from './recipe.js'
import { pictureReconstruction } from './pictures/reconstruction.js'
import { prepare, remaining } from './prepare.js'
import { teach, unseenGate } from './teach.js'
import { Turns } from './turns.js'

export interface RoundOptions {
  signal: AbortSignal
  /** How it shares the machine; absent: it takes what it can get. */
  turns?: Turns
  onEvent: (event: RoundEvent) => void
  /** Milliseconds from one checkpoint to the next; what lies between is learned again after an interruption. */
  checkpointMs?: number
  /** Hears, step by step, which frames counted as which class: for whoever knows better. */
  onPseudoLabels?: ((step: number, labels: readonly (readonly [path: string, label: string])[]) => void) | undefined
}

/** Share of the minutes that the self-check of one engine may take, where it is not remembered. */
const verificationShare = 0.1
/** Share of the minutes that the fit of the shortcut may take. */
const fitShare = 0.2
/** How far from 0 the logarithm of a temperature is expected: a handful of gate images, all right, must not make a model sure of everything. */
const temperatureSpread = 1

/**
 * A round that was interrupted goes on from its last checkpoint in `spec.out`, to the same weights where frames, engine and lanes are the
 * same. Errors: `RoundError`, whose reason says why there is no model.
 */
export async function runRound(spec: RoundSpec, options: RoundOptions): Promise<RoundResult> {
  const { signal, turns = new Turns({ signal }), onEvent, onPseudoLabels, checkpointMs = 60_000 } = options
  const startedAtMs = turns.nowMs()
  const recipe = recipeOf(spec.method, spec.switches)
  const enter = (phase: RoundPhase) => { onEvent({ type: 'phase', phase }) }
  try {
    await mkdir(spec.out, { recursive: true })
    if (spec.given !== undefined) return await judgeGiven(spec, spec.given, { turns, onEvent })
    enter('load')
    const champion = await championOf(spec.champion)
    const foreign = new Set(champion?.foreign)
    const found = await load(spec, recipe, { foreign, turns, onEvent })
    const limit = spec.minutes === null ? {} : { limitMs: verificationShare * spec.minutes * 60_000 }
    const { backend, device, preset, engines: memory } = spec
    const transformer = parameterTable(presets[preset], found.classes.length, recipe)
    const table = modelTable(presets[preset], found.classes.length, recipe)
    const checkpoints = new Checkpoints({ folder: spec.out, round: identityOf(spec, { recipe, data: found, champion, table }) })
    const former = await checkpoints.read()
    const { engine, reason } = former
      ? { engine: former.engine, reason: 'it trained this round before it was interrupted' }
      : await chooseEngine({ backend, device, preset, memory, signal, ...limit })
    onEvent({ type: 'engine', ...engine, reason })
    enter('prepare')
    const like = { recipe, table: transformer, classes: found.classes, pictures: picturesOf(found) }
    const warm = champion && recipe.warmStart ? beginningFrom(champion, like) : null
    const dictionary = warm && recipe.stem ? partOf(transformer, warm.weights, 'dictionary.') : null
    const limitMs = spec.minutes === null ? null : fitShare * spec.minutes * 60_000
    const { prepared, data } = former
      ? remaining(former.prepared, found)
      : {
          prepared: {
            ...await prepare(found, {
              recipe, preset, seed: spec.seed, gate: unseenGate(warm !== null), dictionary, limitMs, turns, onEvent, onPseudoLabels,
            }),
            learned: writeLearned(found.fingerprints, warm && champion ? champion.learned : []),
          },
          data: found,
        }
    const learner = new Learner({
      preset: presets[spec.preset], recipe, seed: spec.seed, engine, lanes: lanesOn(engine, presets[spec.preset], spec.lanes),
      classCount: data.classes.length,
      labeled: data.labeled.pixels, labels: labelsOf(data.labeled.items, data.classes), gate: data.gate.pixels, unlabeled: data.unlabeled.pixels,
      beliefs: prepared.beliefs, dictionary: recipe.stem ? prepared.dictionary : new Float32Array(),
    })
    // Only the engine's own failures count against it: not a full disk, an unreadable file, or a round that was stopped.
    const blames = (cause: unknown) => !signal.aborted
      && (cause instanceof RoundError ? cause.reason === 'export-mismatch' : !(cause instanceof RangeError) && !(cause instanceof Error && 'code' in cause))
    const round = async () => {
      await learner.start()
      const goesOn = !former && warm !== null && await beginFrom(warm, learner, labelsOf(data.labeled.items, data.classes))
      const start = former?.start ?? (goesOn ? 'champion' : dictionary ? 'words' : 'scratch')
      const trained = await teach({
        spec, recipe, engine, learner, warm: warm !== null, data, prepared, start, startedAtMs, checkpoints, former,
        checkpointMs, turns, onEvent, onPseudoLabels,
      })

      enter('export')
      const { trainedShare, weights, logits } = await balance(learner, { table, data, preset: spec.preset, prepared, turns })
      const gateLabels = labelsOf(data.gate.items, data.classes)
      const temperature = fitTemperature(logits, gateLabels, temperatureSpread)
      const files = await exportChecked({
        folder: spec.out, ssmae: new Ssmae(presets[spec.preset], recipe), table, weights,
        classes: data.classes, temperature, examples: data.labeled.pixels.slice(0, 8), engine,
        learned: prepared.learned, foreign: warm && foreign.size > 0 ? writeLearned([...foreign], []) : null,
      })
      const card: ModelCard = {
        format: 'pawl-model-card/1',
        createdAt: new Date().toISOString(),
        method: spec.method,
        preset: spec.preset,
        recipe: { ...recipe },
        seed: spec.seed,
        classes: data.classes,
        parameters: table.size,
        steps: trained.steps,
        seconds: (turns.nowMs() - startedAtMs + trained.spentBeforeMs) / 1000,
        imagesPerSecond: trained.imagesPerSecond,
        ...engine,
        data: {
          labeled: data.labeled.items.length, unlabeled: data.unlabeled.items.length, gate: data.gate.items.length,
          promotion: spec.promotion.length, quarantined: data.unreadable.length, leaked: data.leaked.length,
          sha256: sha256Of([...data.labeled.pixels, ...data.unlabeled.pixels]),
        },
        validation: metricsOf(logits.map(row => softmax(row, temperature)), gateLabels),
        temperature,
        trainedShare,
        pseudoLabels: trained.pseudoLabels,
        gate: trained.looks,
        parent: champion && { version: champion.version, sha256: champion.sha256 },
        start,
        files,
      }
      await writeFile(join(spec.out, 'card.json'), JSON.stringify(card, null, 2) + '\n')

      enter('evidence')
      if (recipe.reconstruction && data.unlabeled.items.length > 0) {
        await turns.next()
        // For people to look at: without it the round is whole, and the engine has done its part.
        await pictureReconstruction({ folder: spec.out, preset: presets[spec.preset], recipe, table, weights, ...data.gate, seed: spec.seed })
          .catch(() => undefined)
      }
      const { evidence, paths, unreadable } = await compare({
        ...spec, challenger: { folder: spec.out, size: presets[spec.preset].size }, classes: data.classes, known: foreign, turns,
      })
      for (const { path, reason } of unreadable) onEvent({ type: 'quarantine', path, reason })
      await checkpoints.remove()
      return { card, evidence, paths, losses: trained.losses, quarantined: [...data.unreadable, ...data.leaked, ...unreadable] }
    }
    return await onTrial({ memory, preset, engine, blames }, async () => {
      try { return await round() } finally { await learner.stop() }
    })
  } catch (cause) {
    throw asRoundError(cause, signal, spec.device)
  }
}

/** The decoded images of a round, with those that could not be read. */
export type RoundImages = Omit<Awaited<ReturnType<typeof load>>, 'fingerprints'>

function picturesOf({ labeled, unlabeled }: RoundImages): number {
  return labeled.items.length + unlabeled.items.length
}

/** `foreign`: fingerprints of images that do not judge, for models of other boxes that the champion comes from owe themselves to them. */
async function load(
  spec: RoundSpec, recipe: Recipe, { foreign, turns, onEvent }: Pick<RoundOptions, 'onEvent'> & { foreign: ReadonlySet<string>; turns: Turns },
) {
  const { size } = presets[spec.preset]
  const pathOf = ({ path }: LabeledImage) => path
  const labels = await loadImages(spec.labeled, pathOf, size, turns)
  const validation = await loadImages(spec.gate, pathOf, size, turns)
  const { unknown, known } = split(validation, foreign)
  const gate = { ...validation, ...unknown }
  const wanted = recipe.reconstruction || recipe.gate !== 'never' ? spec.unlabeled : []
  // Of the promotion split no more is looked at here than whether an image of it is to be learned from.
  const promotion = await loadImages(spec.promotion, pathOf, size, turns)
  const judges = judgesOf(validation, promotion)
  const { apart: labeled, copies } = withoutJudges(labels, judges)
  const { apart: unlabeled } = withoutJudges(await loadImages(wanted, path => path, size, turns), judges)
  const unreadable = [labeled, gate, unlabeled].flatMap(part => part.unreadable)
  for (const { path, reason } of unreadable) onEvent({ type: 'quarantine', path, reason })
  const leaked = copies.map(({ item: { path }, judge }) => ({ path, reason: `it is the same picture as ${judge}, which judges` }))
  if (copies.length > 0) onEvent({ type: 'leaked', labels: copies.length, message: leakage(copies) })
  const classes = [...new Set(labeled.items.map(({ label }) => label))].sort()
  const lost = copies.find(({ item }) => !classes.includes(item.label))
  if (lost) throw new RoundError('labels', `of ${lost.item.label}, no label is left that can be read and does not judge as well, as ${lost.item.path} does, the same picture as ${lost.judge}; add others`)
  if (classes.length < 2) {
    const found = classes.length ? `only "${classes.join()}"` : 'none'
    throw new RoundError('labels', `a classifier needs labeled images of at least two classes; found ${found}`)
  }
  if (gate.items.length === 0) {
    const why = known.length > 0 ? 'every validation image has taught or judged the model of another box, from which the one in service comes: add others' : 'no readable validation image'
    throw new RoundError('labels', `${why}; without them neither the gate nor the temperature can be trusted`)
  }
  const fingerprints = [labeled, validation, promotion, unlabeled].flatMap(({ pixels }) => pixels.map(fingerprintOf))
  return { classes, labeled, gate, unlabeled, unreadable, leaked, fingerprints }
}

/** Copies that are named in a message at most. */
const mostNamed = 10

/** What people are to do about labels that judge as well. */
function leakage(copies: readonly { item: LabeledImage; judge: string }[]): string {
  const pairs = copies.slice(0, mostNamed).map(({ item, judge }) => `${item.path} (${judge})`)
  const more = copies.length > mostNamed ? ` and ${String(copies.length - mostNamed)} more` : ''
  return `labels are left out that are the same picture as one that judges: ${pairs.join(', ')}${more}; what was learned from proves nothing: remove one of each two`
}

/**
 * What tells this round from every other: only its own checkpoint is of use to it. Frames may have gone from the store since, and the box may
 * have other cores; labels and validation must be the same, lest one that was learned from judges.
 */
function identityOf(
  { method, preset, seed, steps, minutes, backend, device }: RoundSpec,
  { recipe, data, champion, table }: { recipe: Recipe; data: RoundImages; champion: Champion | null; table: ParameterTable },
): string {
  const labels = [data.labeled, data.gate].map(({ items }) => labelsOf(items, data.classes))
  const decides = {
    checkpointFormat, method, recipe, preset, seed, steps, minutes, backend, device, labels,
    classes: data.classes, weights: table.specs, champion: champion?.sha256 ?? null,
  }
  return sha256Of([JSON.stringify(decides), sha256Of([...data.labeled.pixels, ...data.gate.pixels])])
}

function asRoundError(cause: unknown, signal: AbortSignal, device: RoundSpec['device']): RoundError {
  if (cause instanceof RoundError) return cause
  if (signal.aborted) return new RoundError('stopped', 'the round was stopped; started again with the same data and settings it goes on from its last checkpoint', { cause })
  const message = cause instanceof Error ? cause.message : String(cause)
  // A failed allocation is a RangeError too.
  const reason: RoundFailure = /alloc|memory/i.test(message) ? 'out-of-memory' : cause instanceof RangeError ? 'diverged' : 'crashed'
  if (reason !== 'crashed' || device === 'auto' || device === 'cpu') return new RoundError(reason, message, { cause })
  const [first = ''] = message.split('\n')
  return new RoundError(reason, `training on ${device}, as was asked for, fails here; "pawl doctor --verify-device" tells which devices work: ${first}`, { cause })
}
