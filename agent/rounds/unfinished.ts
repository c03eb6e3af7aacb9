/** Which round was interrupted, by a power cut or by the end of the agent, so that the next start takes it up again. */
import { access, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { RoundSpec } from '../../trainer/contract.js'
import { writeDurably } from '../lib/durable.js'

export interface UnfinishedRound {
  round: number
  spec: RoundSpec
  /** How often it was begun and not stopped in an orderly way. */
  attempts: number
}

export interface Found {
  unfinished: UnfinishedRound | null
  /** Why a round that was begun is not taken up; null: there is none. */
  givenUp: { round: number; reason: string } | null
}

/** A round that was begun so often and never ended may be what ends the agent. */
const mostAttempts = 3
const fileName = 'round.json'

const Images = z.array(z.object({ path: z.string(), label: z.string() }))
/** Of the spec what is read before it is compared with one made anew. */
const Stored = z.object({
  round: z.number().int().positive(),
  attempts: z.number().int().nonnegative(),
  spec: z.looseObject({ labeled: Images, gate: Images, promotion: Images, unlabeled: z.array(z.string()), out: z.string() }),
})

export async function beginUnfinished(unfinished: UnfinishedRound): Promise<void> {
  await writeDurably(join(unfinished.spec.out, fileName), JSON.stringify(unfinished))
}

/** What is registered is no unfinished round. */
export async function endUnfinished({ out }: RoundSpec): Promise<void> {
  await rm(join(out, fileName), { force: true })
}

/** The newest round in `folder` that was begun and not ended, if it may go on; every other folder is cleared away. */
export async function findUnfinished(folder: string): Promise<Found> {
  const stored = (await Promise.all((await readdir(folder)).map(name => read(join(folder, name))))).filter(round => round !== null)
  const newest = stored.toSorted((a, b) => b.round - a.round)[0] ?? null
  const reason = newest && await objectionTo(newest)
  const unfinished = reason === null ? newest : null
  for (const name of await readdir(folder)) {
    if (join(folder, name) !== unfinished?.spec.out) await rm(join(folder, name), { recursive: true, force: true })
  }
  return { unfinished, givenUp: newest && reason !== null ? { round: newest.round, reason } : null }
}

/** Null: no round, or one that cannot be read or was moved. */
async function read(folder: string): Promise<UnfinishedRound | null> {
  try {
    const stored = JSON.parse(await readFile(join(folder, fileName), 'utf8')) as UnfinishedRound
    if (Stored.parse(stored).spec.out !== folder) return null
    // Rounds of before there were switches had none.
    return { ...stored, spec: { ...stored.spec, switches: stored.spec.switches ?? {} } }
  } catch {
    return null
  }
}

async function objectionTo({ attempts, spec }: UnfinishedRound): Promise<string | null> {
  if (attempts >= mostAttempts) return `it was begun ${String(attempts)} times, and each time the agent ended before it did, as by a power cut or for want of memory`
  // Frames come and go; a label that was moved or removed is one that should not be learned.
  for (const { path } of [...spec.labeled, ...spec.gate, ...spec.promotion]) {
    if (!await access(path).then(() => true, () => false)) return `${path}, which it learns or judges by, is gone`
  }
  return null
}
