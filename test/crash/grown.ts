/** A box in the middle of everything: two models, a round that a power cut interrupted, events that wait, a known site. */
import { cp, lstat, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { seldom } from '../site/labels.js'
import { Box } from '../site/box.js'
import { giveModel } from '../site/trained.js'

export interface Grown {
  box: Box
  /** The model in service and the one before, with their folders. */
  newest: { version: number; folder: string }
  former: { version: number; folder: string }
  /** What its data folder takes. */
  bytes: number
  /** What its configuration has of its own. */
  configuration: Record<string, object>
  /** Makes the data folder what it was. */
  restore: () => Promise<void>
}

/** In an empty folder. */
export async function grow(folder: string): Promise<Grown> {
  const configuration = { rounds: { schedule: seldom } }
  const box = await Box.in(folder, configuration)
  await giveModel(box.data)
  const first = box.start()
  await first.said(/^model \d+ is in service/, { withinMs: 120_000 })
  const models = () => [...first.text.matchAll(/^model (\d+) is in service/gm)].map(([, version]) => Number(version))
  while (models().length < 2) await first.said(/^round \d+: (promoted|refused)/, { from: await box.train(first) })
  const [former = 0, newest = 0] = models()
  await first.said(new RegExp(`^known by now: what model ${String(newest)}`), { withinMs: 120_000 })
  await first.said(/: prepare$/, { from: await box.train(first) })
  await first.cut()
  await box.broker.stop()
  const second = box.start()
  await second.said(/: (finetune|export)$/)
  await second.cut()
  const folders = await readdir(join(box.data, 'models'))
  const model = (version: number) => ({ version, folder: join(box.data, 'models', folders.find(name => name.startsWith(`${String(version)}-`)) ?? '') })
  const kept = join(folder, 'grown')
  // A socket cannot be copied.
  await cp(box.data, kept, { recursive: true, filter: async path => !(await lstat(path)).isSocket() })
  await box.broker.start()
  const sizes = await Promise.all((await readdir(kept, { recursive: true })).map(async name => (await lstat(join(kept, name))).size))
  return {
    box, configuration, bytes: sizes.reduce((sum, size) => sum + size, 0), newest: model(newest), former: model(former),
    restore: async () => {
      // The folder itself may be where a disk is mounted.
      for (const name of await readdir(box.data).catch(() => [])) await rm(join(box.data, name), { recursive: true, force: true })
      await cp(kept, box.data, { recursive: true })
    },
  }
}
