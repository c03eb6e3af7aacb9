/** When the power goes: moments of everything that a box does, each a place in its work and a random while after it. */
import { existsSync } from 'node:fs'
import { readdir, watch } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../../trainer/index.js'
import type { Daemon } from '../site/daemon.js'

export interface Watched {
  daemon: Daemon
  data: string
  random: Random
  /** Ends the wait. */
  signal: AbortSignal
}

interface Moment {
  /** How often it is chosen, against the others. */
  weight: number
  /** Resolves when it is there. */
  comes: (watched: Watched) => Promise<void>
}

/** Phases of a round that one may be killed in. */
const phases = 6

export const moments = {
  starting: {
    weight: 3,
    comes: watched => within(1500, watched),
  },
  collecting: {
    weight: 2,
    comes: async watched => {
      await watched.daemon.said(/^camera belt is online/)
      await within(3000, watched)
    },
  },
  training: {
    weight: 4,
    comes: async watched => {
      for (let phase = watched.random.below(phases), from = 0; phase >= 0; phase--) {
        await watched.daemon.said(/^round \d+: [a-z-]+$/, { from })
        from = watched.daemon.lines.length
      }
      await within(1000, watched)
    },
  },
  promotion: {
    weight: 4,
    comes: async watched => {
      await watched.daemon.said(/^round \d+: evidence$/)
      await within(1200, watched)
    },
  },
  'a model moves in': {
    weight: 3,
    comes: async watched => {
      await changed('models', /^\d+-/, watched)
      await within(30, watched)
    },
  },
  swap: {
    weight: 3,
    comes: async watched => {
      await changed('models', /^\d+-/, watched)
      await within(700, watched)
    },
  },
  'the registry is written': {
    weight: 3,
    comes: async watched => {
      for (let write = watched.random.below(40); write >= 0; write--) await changed('.', /^state\.json/, watched)
      await within(2, watched)
    },
  },
  'the outbox is written': {
    weight: 3,
    comes: async watched => {
      for (let write = watched.random.below(12); write >= 0; write--) await changed('outbox', /./, watched)
      await within(5, watched)
    },
  },
  'a checkpoint is written': {
    weight: 2,
    comes: async watched => {
      // Of this start: a round that goes on has one already.
      await watched.daemon.said(/^round \d+: prepare$/)
      while (!(await readdir(join(watched.data, 'rounds'), { recursive: true })).some(name => name.includes('checkpoint'))) await within(20, watched)
      await within(watched.random.float() < 0.5 ? 20 : 1500, watched)
    },
  },
} as const satisfies Record<string, Moment>

export type MomentName = keyof typeof moments

export function drawMoment(random: Random): MomentName {
  const all = Object.entries(moments).flatMap(([name, { weight }]) => Array.from({ length: weight }, () => name as MomentName))
  return all[random.below(all.length)] ?? 'starting'
}

async function within(ms: number, { random, signal }: Watched): Promise<void> {
  await sleep(random.float() * ms, undefined, { signal })
}

/** The next change in a folder of the data folder, which may not be there yet, to a file of such a name. */
async function changed(folder: string, name: RegExp, { data, signal }: Watched): Promise<void> {
  const path = join(data, folder)
  while (!existsSync(path)) await sleep(5, undefined, { signal })
  for await (const { filename } of watch(path, { signal })) if (filename !== null && name.test(filename)) return
}
