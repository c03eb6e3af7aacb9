/** Which round was interrupted, by a power cut or by the end of the agent, so that the next start takes it up again. */
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { RoundSpec } from '../../trainer/contract.js'
import { writeDurably } from '../lib/durable.js'

export interface UnfinishedRound {
  round: number
  spec: RoundSpec
  /** How often it was interrupted before. */
  interruptions: number
}

/** A round that was interrupted so often may be what ends the agent: it is given up. */
const mostInterruptions = 3
const fileName = 'round.json'

/** Of the spec only what decides whether the round may go on; the rest was written by this program. */
const Stored = z.object({
  round: z.number().int().positive(),
  interruptions: z.number().int().nonnegative(),
  spec: z.looseObject({ out: z.string(), champion: z.object({ version: z.number(), folder: z.string() }).nullable() }),
})

export async function beginUnfinished(unfinished: UnfinishedRound): Promise<void> {
  await writeDurably(join(unfinished.spec.out, fileName), JSON.stringify(unfinished))
}

/** The newest round in `folder` that was begun and not ended; every other folder is cleared away. */
export async function findUnfinished(folder: string): Promise<UnfinishedRound | null> {
  let newest: UnfinishedRound | null = null
  for (const name of await readdir(folder)) {
    const found = await read(join(folder, name))
    if (found && found.round > (newest?.round ?? 0)) {
      if (newest) await rm(newest.spec.out, { recursive: true, force: true })
      newest = found
    } else {
      await rm(join(folder, name), { recursive: true, force: true })
    }
  }
  return newest
}

/** Null: no round, one that cannot be read, was moved, or was interrupted too often. */
async function read(folder: string): Promise<UnfinishedRound | null> {
  try {
    const stored = JSON.parse(await readFile(join(folder, fileName), 'utf8')) as UnfinishedRound
    const { spec, interruptions } = Stored.parse(stored)
    return spec.out === folder && interruptions < mostInterruptions ? stored : null
  } catch {
    return null
  }
}
