/** A box in the middle of everything: two models, a round that a power cut interrupted, events that wait, a known site. */
import { cp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { seldom } from '../site/labels.js'
import { Box } from '../site/box.js'

export interface Grown {
  box: Box
  /** The model in service and the one before, with their folders. */
  newest: { version: number; folder: string }
  former: { version: number; folder: string }
  /** What its configuration has of its own. */
  configuration: Record<string, object>
  /** Makes the data folder what it was. */
  restore: () => Promise<void>
}

/** In an empty folder. */
export async function grow(folder: string): Promise<Grown> {
  const configuration = { rounds: { schedule: seldom } }
  const box = await Box.in(folder, configuration)
  const first = box.start()
  const models = () => [...first.text.matchAll(/^model (\d+) is in service/gm)].map(([, version]) => Number(version))
  for (let tries = 0; models().length < 2; tries++) {
    if (tries > 1200) throw new Error(`it made no two models:\n${first.text}`)
    if (tries % 20 === 19) await box.onlooker.ask('train')
    await sleep(100)
  }
  const [former = 0, newest = 0] = models()
  await first.said(/^known by now: what model/, { withinMs: 120_000 })
  const from = first.lines.length
  await box.onlooker.ask('train')
  await first.said(/: prepare$/, { from })
  await first.cut()
  await box.broker.stop()
  const second = box.start()
  await second.said(/: finetune$/)
  await second.cut()
  const folders = await readdir(join(box.data, 'models'))
  const model = (version: number) => ({ version, folder: join(box.data, 'models', folders.find(name => name.startsWith(`${String(version)}-`)) ?? '') })
  const kept = join(folder, 'grown')
  // A socket cannot be copied.
  await cp(box.data, kept, { recursive: true, filter: path => !/\.(holder|control)$/.test(path) })
  await box.broker.start()
  return {
    box, configuration, newest: model(newest), former: model(former),
    restore: async () => {
      // The folder itself may be where a disk is mounted.
      for (const name of await readdir(box.data).catch(() => [])) await rm(join(box.data, name), { recursive: true, force: true })
      await cp(kept, box.data, { recursive: true })
    },
  }
}
