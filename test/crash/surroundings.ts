/** What happens around a box: the clock jumps, folders cannot be written, the disk is full. It goes on, and nothing is lost. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import { chmod, chown, mkdir, open, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { withClock } from '../site/clock.js'
import type { Grown } from './grown.js'
import { Trial } from './trial.js'

export interface Surrounding {
  /** Why it cannot be had here; null: it can. */
  missing: () => string | null
  /** Gives what was not as it should be. */
  run: (grown: Grown) => Promise<string[]>
}

const dayMs = 86_400_000

/** A clock that begins at another time, by so much, and jumps. */
function clock({ offsetMs = 0, jumpMs }: { offsetMs?: number; jumpMs: number }): Surrounding {
  return {
    missing: () => null,
    run: grown => Trial.run(grown, async trial => {
      const { box, truth } = trial
      await grown.restore()
      await truth.look()
      // Nothing but their age is a reason for frames to go.
      await box.configure({ rounds: { schedule: '*/3 * * * * *' }, frames: { maxBytes: 1_000_000_000 } })
      const frames = await framesOf(box.data)
      const daemon = await trial.serving(grown.newest.version, { environment: withClock({ offsetMs, jumpMs }) })
      await daemon.said(/^round \d+: (promoted|refused)/)
      const from = daemon.lines.length
      process.kill(-daemon.pid, 'SIGUSR2')
      // Neither rounds nor predictions wait for the time of before.
      await daemon.said(/^round \d+ \(schedule\)/, { from })
      await daemon.said(/^round \d+: (promoted|refused \((?!crashed))/, { from })
      await daemon.said(/^belt: /, { from })
      await trial.ends(daemon)
      const more = await framesOf(box.data)
      // The next start has the time of before again.
      const later = await trial.serving(await truth.look())
      await later.said(/^round \d+: (promoted|refused \((?!crashed))/)
      await trial.ends(later)
      await truth.look()
      const there = new Set(await framesOf(box.data))
      const gone = [...new Set([...frames, ...more])].filter(frame => !there.has(frame))
      if (frames.length === 0 || more.length <= frames.length) trial.problems.push(`no frames came: ${String(frames.length)}, then ${String(more.length)}`)
      if (gone.length) trial.problems.push(`${String(gone.length)} of ${String(more.length)} frames are gone`)
      await box.configure(grown.configuration)
    }),
  }
}

/** Who must obey permissions: root need not. */
const nobody = 65_534
const user = process.getuid?.() === 0 ? nobody : undefined

/** `refuses`: what it says where it cannot even start; null: it goes on. */
function readOnly(folder: string, refuses: RegExp | null): Surrounding {
  return {
    missing: () => null,
    run: grown => Trial.run(grown, async trial => {
      const { box, truth } = trial
      await grown.restore()
      await truth.look()
      if (user !== undefined) for (const path of [box.folder, box.config, box.data, ...await allBelow(box.data)]) await chown(path, user, user)
      const path = join(box.data, folder)
      await chmod(path, 0o555)
      if (refuses) await trial.refuses(trial.start({ user }), refuses)
      else {
        const daemon = await trial.serving(grown.newest.version, { user })
        await box.onlooker.ask('train')
        await daemon.said(/^round \d+: (promoted|refused)|^no round|^(TRAINING_FAILED|DISK_FULL): /)
        await daemon.said(/^belt: /, { from: daemon.lines.length })
        await trial.ends(daemon)
      }
      await chmod(path, 0o755)
      await goesOn(trial, { user })
    }),
  }
}

/** Beside what was grown: for a round and some models more. */
const roomBytes = 90_000_000

function fullDisk(when: 'before the start' | 'in a round'): Surrounding {
  return {
    missing: noMount,
    run: grown => Trial.run(grown, async trial => {
      const { box, truth } = trial
      await rm(box.data, { recursive: true, force: true })
      await mkdir(box.data)
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${String(grown.bytes + roomBytes)}`, 'tmpfs', box.data])
      try {
        await grown.restore()
        await truth.look()
        const filler = join(box.folder, 'data', 'filler')
        if (when === 'before the start') await fill(filler)
        const daemon = await trial.serving(grown.newest.version)
        if (when === 'in a round') {
          await box.onlooker.ask('train')
          await daemon.said(/: (finetune|export)$/)
          await fill(filler)
        }
        await daemon.said(/^collection stopped: /)
        await daemon.said(/^round \d+: (promoted|refused)|^TRAINING_FAILED: /)
        await daemon.said(/^belt: /, { from: daemon.lines.length })
        await trial.ends(daemon)
        await truth.look()
        await rm(filler)
        await goesOn(trial)
      } finally {
        for (const daemon of trial.started) await daemon.cut()
        execFileSync('umount', [box.data])
      }
    }),
  }
}

export const surroundings = {
  'the clock jumps 400 days ahead': clock({ jumpMs: 400 * dayMs }),
  'the clock jumps an hour back': clock({ jumpMs: -3_600_000 }),
  'the clock jumps to 1970': clock({ jumpMs: -Date.now() }),
  'the clock begins in 1970 and is put right': clock({ offsetMs: -Date.now(), jumpMs: Date.now() }),
  'the data folder is read-only': readOnly('.', /DATA_UNWRITABLE/),
  'the frames are read-only': readOnly('frames', null),
  'the outbox is read-only': readOnly('outbox', null),
  'the models are read-only': readOnly('models', null),
  'the rounds are read-only': readOnly('rounds', null),
  'the labels are read-only': readOnly('labels', null),
  'the drift memory is read-only': readOnly('drift', null),
  'the disk is full before the start': fullDisk('before the start'),
  'the disk fills up in a round': fullDisk('in a round'),
} as const satisfies Record<string, Surrounding>

export type SurroundingName = keyof typeof surroundings

/** Once all is well again so is the box: the same model, a round, and nothing was lost. */
async function goesOn(trial: Trial, options?: { user?: number | undefined }): Promise<void> {
  const daemon = await trial.serving(await trial.truth.look(), options)
  await trial.trains(daemon)
  await trial.ends(daemon)
  await trial.truth.look()
}

async function framesOf(data: string): Promise<string[]> {
  return (await allBelow(join(data, 'frames'))).filter(path => path.endsWith('.jpg'))
}

async function allBelow(folder: string): Promise<string[]> {
  return (await readdir(folder, { recursive: true })).map(name => join(folder, name))
}

/** To the last byte. */
async function fill(path: string): Promise<void> {
  const file = await open(path, 'w')
  for (let bytes = 1_000_000; bytes >= 1;) {
    const written = await file.write(Buffer.alloc(bytes, 1)).then(({ bytesWritten }) => bytesWritten, () => 0)
    if (written < bytes) bytes = Math.floor(bytes / 4)
  }
  await file.close()
}

/** Why no small disk can be had. */
function noMount(): string | null {
  const place = mkdtempSync(join(tmpdir(), 'pawl-mount-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', place], { stdio: 'ignore' })
    execFileSync('umount', [place])
    return null
  } catch {
    return 'no small disk can be mounted here; root may, outside most containers'
  } finally {
    rmdirSync(place)
  }
}
