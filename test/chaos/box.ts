/** A box in service, for everything that may happen to it while it runs. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Box } from '../site/box.js'
import type { Daemon } from '../site/daemon.js'
import { mosquitto } from '../site/mosquitto.js'
import { giveModel } from '../site/trained.js'

/** For the name of a test: why it is skipped, if it is. CI never skips. */
export const lacks = mosquitto === '' ? ' (skipped: mosquitto missing)' : ''

export const soon = { timeout: 60_000, interval: 50 }

export interface InService {
  box: Box
  /** The model in service. */
  version: number
  /** The one that runs: a test that starts another puts it here. */
  daemon: Daemon
  close: () => Promise<void>
}

/** Runs, with a model in service that it has not had to learn first. */
export async function inService(changes: Record<string, object> = {}): Promise<InService> {
  const folder = await mkdtemp(join(tmpdir(), 'pawl-chaos-'))
  const box = await Box.in(folder, changes)
  await giveModel(box.data)
  const daemon = box.start()
  const site: InService = {
    box, daemon, version: await modelInService(box, daemon),
    close: async () => {
      await site.daemon.cut()
      await box.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
  return site
}

/** The first model that serves. */
export async function modelInService(box: Box, daemon: Daemon): Promise<number> {
  for (let tries = 1; tries <= 900; tries++) {
    const served = /^model (\d+) is in service/m.exec(daemon.text)
    if (served) return Number(served[1])
    await sleep(200)
    // On a busy machine the first round may have come to too little. One that was promoted is about to serve.
    const ended = box.onlooker.ofType('round-ended')
    const idle = box.onlooker.ofType('round-started').length === ended.length && !ended.at(-1)?.decision.promoted
    if (idle && tries % 25 === 0) await box.onlooker.ask('train')
  }
  throw new Error(`no model came into service:\n${daemon.text}`)
}

/** The process of the classifier or of the trainer, as soon as there is one. */
export async function processOf(daemon: Daemon, part: 'classifier' | 'trainer', other = 0): Promise<number> {
  for (let tries = 0; tries < 6000; tries++) {
    const found = (await daemon.children()).find(({ pid, program }) => program.includes(`${part}/process`) && pid !== other)
    if (found) return found.pid
    await sleep(5)
  }
  throw new Error(`there is no ${part}:\n${daemon.text}`)
}
