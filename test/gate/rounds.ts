/** Simulated rounds of the pseudo-label gate: all looks of a round at one gate split, in counts, which is all that the gate decides on. */
import type { Random } from '../../trainer/data/random.js'
import { closedGate, gateOptions, prove, thresholds } from '../../trainer/gate/pseudo-label-gate.js'
import { gateLooks } from '../../trainer/teach.js'

/** Images in 64 at or above each threshold but below the one before it; the last are below all: a teacher that is mostly sure. */
const bands = [24, 8, 6, 5, 4, 3, 2, 12] as const

/** True precision in each of the bands above a threshold, at a look (from 0), given whether the gate has ever been open before. */
export type Teacher = (look: number, opened: boolean) => readonly number[]

export interface SimulatedRounds {
  rounds: number
  images: number
  /** Chance that the teacher says of an image at a look what it said at the look before. */
  kept: number
  teacher: Teacher
  random: Random
  /** Looks at first at which the teacher is sure of nothing. */
  unsure?: number
  /** Each look takes itself for the only one of the round and spends all of alpha: to see that it matters. */
  spendthrift?: boolean
}

/** Counts of rounds, but for `openLooks`. */
export interface RoundsSeen {
  opened: number
  /** Opened at the first look at which it is sure of something. */
  openedAtOnce: number
  /** Went from closed to open below `openAt`, or was open below `closeBelow`. */
  openedWrongly: number
  openWrongly: number
  openLooks: number
}

export function simulate({ rounds, images, kept, teacher, random, unsure = 0, spendthrift = false }: SimulatedRounds): RoundsSeen {
  const seen: RoundsSeen = { opened: 0, openedAtOnce: 0, openedWrongly: 0, openWrongly: 0, openLooks: 0 }
  const split = new Split(images, kept, random)
  for (let round = 0; round < rounds; round++) {
    let state = closedGate(gateLooks)
    let [opened, openedWrongly, openWrongly] = [false, false, false]
    for (let look = 0; look < gateLooks; look++) {
      const precisions = teacher(look, opened)
      split.look(look === 0, precisions)
      let [accepted, correct] = [0, 0]
      const tallies = thresholds.map((_, level) => {
        if (look < unsure) return { accepted, correct }
        accepted += split.accepted[level] ?? 0
        correct += split.correct[level] ?? 0
        return { accepted, correct }
      })
      const { level, next } = prove(spendthrift ? { ...state, taken: 0, looks: 1 } : state, tallies)
      if (level !== null) {
        const precision = precisionAt(precisions, level)
        if (!state.open && precision < gateOptions.openAt) openedWrongly = true
        if (precision < gateOptions.closeBelow) openWrongly = true
        if (look === unsure) seen.openedAtOnce++
        seen.openLooks++
        opened = true
      }
      state = next
    }
    if (opened) seen.opened++
    if (openedWrongly) seen.openedWrongly++
    if (openWrongly) seen.openWrongly++
  }
  return seen
}

/** Images drawn by chance, counted by band; only what changes from look to look is drawn and counted anew. */
class Split {
  readonly accepted = new Int32Array(bands.length)
  readonly correct = new Int32Array(bands.length)
  private readonly bandOf = Uint8Array.from(bands.flatMap((share, band) => new Array<number>(share).fill(band)))
  private readonly band: Uint8Array
  /** An image is right where its luck is below the precision: what was named wrongly is the first to be so again. */
  private readonly luck: Float64Array
  private readonly kept: number
  private readonly random: Random
  private precisions: readonly number[] = []

  constructor(images: number, kept: number, random: Random) {
    this.band = new Uint8Array(images)
    this.luck = new Float64Array(images)
    this.kept = kept
    this.random = random
  }

  look(anew: boolean, precisions: readonly number[]): void {
    const recount = anew || precisions !== this.precisions
    this.precisions = precisions
    for (let image = anew ? 0 : this.skipped(); image < this.band.length; image += 1 + (anew ? 0 : this.skipped())) {
      if (!recount) this.count(image, -1)
      this.band[image] = this.bandOf[this.random.below(this.bandOf.length)] ?? 0
      this.luck[image] = this.random.float()
      if (!recount) this.count(image, 1)
    }
    if (!recount) return
    this.accepted.fill(0)
    this.correct.fill(0)
    for (let image = 0; image < this.band.length; image++) this.count(image, 1)
  }

  private count(image: number, by: number): void {
    const band = this.band[image] ?? 0
    this.accepted[band] = (this.accepted[band] ?? 0) + by
    if ((this.luck[image] ?? 0) < (this.precisions[band] ?? 0)) this.correct[band] = (this.correct[band] ?? 0) + by
  }

  /** Images that stay as they are before the next one that does not: geometric. */
  private skipped(): number {
    return this.kept === 0 ? 0 : Math.floor(Math.log(1 - this.random.float()) / Math.log(this.kept))
  }
}

/** True precision of all that is at or above a threshold. */
function precisionAt(precisions: readonly number[], level: number): number {
  const shares = bands.slice(0, level + 1)
  return sum(shares.map((share, band) => share * (precisions[band] ?? 0))) / sum(shares)
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
