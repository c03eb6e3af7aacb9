/**
 * Everything that comes from outside and is not what it should be, thrown at one box, in one process, beside a camera that is good: it goes on, its
 * classifier is the same one, nothing around it is touched, and no secret is told.
 */
import { randomBytes } from 'node:crypto'
import { lstat, mkdir, readFile, writeFile } from 'node:fs/promises'
import type { Server } from 'node:net'
import { join } from 'node:path'
import { Random } from '../../trainer/index.js'
import { modelInService } from '../chaos/box.js'
import { filesBelow } from '../crash/truth.js'
import { HttpCamera, sends } from '../cameras/http-camera.js'
import { Box } from '../site/box.js'
import { seldom } from '../site/labels.js'
import { makeStrange, renameClasses, writePictures } from './folders.js'
import { Pictures } from './pictures.js'
import { differences, Sandbox } from './sandbox.js'
import { Target } from './target.js'
import {
  labelsOf, learnsLabels, throwAnswers, throwConfigurations, throwLabels, throwModels, throwModelsAtEval, throwPictures, throwRequests, type Thrown,
} from './throw.js'
import { WireCamera } from './wires.js'

export interface HostileOptions {
  /** For so long; 0: everything once. */
  minutes: number
  seed: number
  /** An empty folder. */
  folder: string
  say: (line: string) => void
}

export type HostileReport = Pick<Target, 'problems' | 'thrown' | 'peakMb'>

/** Most memory of the agent and of the classifier, MB. */
const boundsMb: Record<string, number> = { agent: 800, classifier: 500 }

export async function hostile({ minutes, seed, folder, say }: HostileOptions): Promise<HostileReport> {
  const { target, secret, unusual, close } = await siteOf(folder, Random.of(seed))
  const { box, sandbox } = target.options
  const servers: Server[] = []
  for (const part of ['labels', 'validation'] as const) {
    const [first = '', second = ''] = await renameClasses(box.source(part))
    servers.push(await makeStrange(join(box.source(part), first), sandbox.outside))
    // What can be read of them may not teach and judge.
    if (part === 'labels') await writePictures(join(box.source(part), second), unusual)
  }
  const before = await sandbox.look()
  try {
    await box.onlooker.client.publishAsync(`${box.onlooker.prefix}/request/pause`, '{}', { retain: true, qos: 1 })
    await modelInService(box, target.start())
    await target.serves()
    servers.push(await makeStrange(await labelsOf(box), sandbox.outside))
    const untilMs = performance.now() + minutes * 60_000
    for (let time = 1; time === 1 || performance.now() < untilMs; time++) {
      await everything(target, { secret, ...minutes ? { more: 60, served: 12, evaluated: 4 } : { more: 4, served: 3, evaluated: 1 } }, say)
    }
    await target.ends()
  } catch (cause) {
    target.problems.push(cause instanceof Error ? cause.message : String(cause))
  }
  await target.cut()
  await close()
  for (const server of servers) server.close()
  await judge(target, before, unusual.length)
  return target
}

interface Site {
  target: Target
  /** Written where it does not belong; no file holds it that the box should read. */
  secret: string
  /** What some labels are from the beginning. */
  unusual: readonly Buffer[]
  close: () => Promise<void>
}

/** A box, not started yet, with a good camera, four that show what they are told, and sixteen that do not speak well. */
async function siteOf(folder: string, random: Random): Promise<Site> {
  const preparing = Pictures.prepare(random)
  const [camera = '', broker = '', secret = ''] = Array.from({ length: 3 }, () => `secret${randomBytes(12).toString('hex')}`)
  const unseen = () => new HttpCamera(() => undefined)
  const [good, shown, passing, snapshot] = [unseen(), unseen(), unseen(), unseen()]
  const wires = Array.from({ length: 8 }, () => [new WireCamera(), new WireCamera()])
  const sandbox = await Sandbox.in(folder, { PAWL_MQTT_PASSWORD: broker })
  await mkdir(join(folder, 'watched'))
  await writeFile(join(folder, 'camera-secret'), camera)
  const plain = { crop: 'whole', maxPerSecond: 20, uselessAfterSeconds: 0 } as const
  const box = await Box.in(folder, {
    cameras: [
      { id: 'good', source: 'mjpeg', url: await good.start(), ...plain, maxPerSecond: 5 },
      { id: 'shown', source: 'mjpeg', url: await shown.start(), ...plain, uselessAfterSeconds: 60 },
      { id: 'passing', source: 'mjpeg', url: await passing.start(), ...plain, crop: 'passing', rotate: 90, masks: [{ x: 2, y: 2, width: 20, height: 20 }] },
      { id: 'snapshot', source: 'snapshot', url: `${await snapshot.start()}?snapshot`, ...plain },
      { id: 'watched', source: 'folder', url: 'watched', ...plain },
      ...await Promise.all(wires.flat().map(async (wire, index) => ({
        id: `wire-${String(index)}`, source: index % 2 ? 'snapshot' : 'mjpeg', url: await wire.start(), ...plain, username: 'root', passwordFile: 'camera-secret', silentAfterSeconds: 2,
      }))),
    ],
    rounds: { schedule: seldom },
    mqtt: { predictionEveryMs: 200, username: 'box', homeAssistant: 'homeassistant', sparkplug: { group: 'hostile', primaryHost: 'scada' } },
  })
  const pictures = await preparing
  let count = 0
  good.behaviour = sends(() => pictures.photographs[count++ % pictures.photographs.length] ?? Buffer.alloc(0), 200)
  const secrets = [camera, broker, secret, Buffer.from(`root:${camera}`).toString('base64')]
  return {
    secret,
    unusual: pictures.all().map(({ bytes }) => bytes),
    target: new Target({ box, sandbox, pictures, cameras: { shown, passing, snapshot }, wires, random, secrets }),
    close: async () => {
      await box.close()
      for (const source of [good, shown, passing, snapshot, ...wires.flat()]) await source.stop()
    },
  }
}

async function everything(target: Target, thrown: Thrown, say: HostileOptions['say']): Promise<void> {
  for (const work of [throwLabels, throwPictures, throwAnswers, throwRequests, throwConfigurations, learnsLabels, throwModels, throwModelsAtEval]) {
    const beganAtMs = performance.now()
    const known = target.problems.length
    await work(target, thrown)
    for (const problem of target.problems.slice(known)) say(`PROBLEM: ${problem}`)
    say(`${work.name}: ${((performance.now() - beganAtMs) / 1000).toFixed(1)} s; at most ${JSON.stringify(target.peakMb)} MB; problems: ${String(target.problems.length)}`)
  }
}

async function judge(target: Target, before: ReadonlyMap<string, string>, unusual: number): Promise<void> {
  const { options: { sandbox, box, secrets }, problems, peakMb } = target
  problems.push(...differences(before, await sandbox.look()))
  target.judgeWords()
  if (target.text.includes('learning is paused')) problems.push('a retained command was carried out')
  const aside = (await filesBelow(join(box.data, 'quarantine'))).filter(path => path.endsWith('.reason.txt'))
  if (aside.length < unusual / 3) problems.push(`of ${String(unusual)} unusual labels ${String(aside.length)} were put aside`)
  for (const path of await filesBelow(box.data)) {
    // Some are pipes by now, and some have names that are no text.
    const bytes = (await lstat(path).catch(() => null))?.isFile() ? await readFile(path) : Buffer.alloc(0)
    for (const secret of secrets) if (bytes.includes(secret)) problems.push(`${path} holds the secret ${secret}`)
  }
  for (const [name, boundMb] of Object.entries(boundsMb)) {
    if ((peakMb[name] ?? 0) > boundMb) problems.push(`the ${name} had ${String(peakMb[name])} MB, more than ${String(boundMb)}`)
  }
}
