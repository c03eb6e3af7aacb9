/** The ways in: each throws everything of its kind once, and looks afterwards whether the box is what it was. */
import { execFile } from 'node:child_process'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { parse } from 'yaml'
import type { Random } from '../../trainer/index.js'
import { head, part, type HttpCamera } from '../cameras/http-camera.js'
import type { Box } from '../site/box.js'
import { badConfigurations, damagedConfiguration, type BadConfiguration } from './configurations.js'
import { writePictures } from './folders.js'
import { badModels, leadAstray, registerModels } from './models.js'
import { badRequests, goodRequests, strangeTopics } from './requests.js'
import type { Target } from './target.js'
import { answers, type WireCamera } from './wires.js'

const main = join(import.meta.dirname, '..', '..', 'dist', 'agent', 'main.js')
/** Time that a picture is shown, milliseconds. */
const shownMs = 120

export interface Thrown {
  /** Damaged configurations beside one of each kind. */
  more: number
  secret: string
  /** Models that are to serve, and that `pawl eval` is given: each takes a second. */
  served: number
  evaluated: number
}

/** A class folder of the box, where a person puts labels. */
export async function labelsOf({ data }: Pick<Box, 'data'>): Promise<string> {
  const [folder = ''] = (await readdir(join(data, 'labels'))).sort()
  return join(data, 'labels', folder)
}

/** As labels of a box that runs; the round that is to learn from them begins, and goes on while more is thrown. */
export async function throwLabels(target: Target): Promise<void> {
  const { box, pictures } = target.options
  const all = pictures.all()
  await writePictures(await labelsOf(box), all.map(({ bytes }) => bytes))
  for (const { kind } of all) target.threw('labels', kind)
  // What serves now is to serve then.
  await target.answer('pin', '{}', 'nothing')
  await target.roundBegins()
}

export async function learnsLabels(target: Target): Promise<void> {
  await target.roundEnds()
}

/** Through cameras that show them, and a folder that they appear in. */
export async function throwPictures(target: Target): Promise<void> {
  const { pictures, cameras, box } = target.options
  const all = pictures.all()
  await writePictures(join(box.folder, 'watched'), all.map(({ bytes }) => bytes))
  for (const { kind, bytes } of all) {
    for (const camera of Object.values(cameras)) show(camera, bytes)
    target.threw('pictures', kind)
    await sleep(shownMs)
  }
  await target.alive('pictures')
}

/** A stream that sends it now and again, and a snapshot that is it. */
function show(camera: HttpCamera, picture: Buffer): void {
  camera.behaviour = (response, { url = '' }) => {
    if (url.includes('snapshot')) {
      response.writeHead(200, { 'content-type': 'image/png' }).end(picture)
      return
    }
    head(response)
    const timer = setInterval(() => { response.write(part(picture)) }, shownMs / 3)
    response.on('close', () => { clearInterval(timer) })
  }
  camera.cut()
}

/** Each to a camera that wants a stream and to one that wants snapshots; several pairs side by side, as a camera that failed is asked again later. */
export async function throwAnswers(target: Target): Promise<void> {
  const waiting = Object.entries(answers)
  const next = async (pair: readonly WireCamera[]): Promise<void> => {
    for (let own = waiting.pop(); own; own = waiting.pop()) {
      const [kind, answer] = own
      target.threw('answers of cameras', kind)
      const asked = await Promise.all(pair.map(wire => wire.shows(answer)))
      if (asked.includes(false)) target.problems.push(`a camera is not asked again, before it answers ${kind}`)
    }
  }
  await Promise.all(target.options.wires.map(next))
  await target.alive('answers of cameras')
}

export async function throwRequests(target: Target): Promise<void> {
  const { random, box: { onlooker } } = target.options
  for (const { kind, verb, payload } of badRequests(random)) {
    target.threw('requests', kind)
    target.isRefusal(await target.answer(verb, payload, kind), `${verb} with ${kind}`)
  }
  for (const { kind, topic, payload } of strangeTopics(random, onlooker.prefix)) {
    target.threw('requests', kind)
    await onlooker.client.publishAsync(topic, payload, { qos: 1 })
  }
  for (const { verb, transaction } of goodRequests(random)) {
    target.threw('requests', 'a transaction that looks like something else')
    const response = await target.answer(verb, JSON.stringify({ transaction }), transaction)
    if (response?.transaction !== transaction || response.status !== 'ok') target.problems.push(`${verb} in the transaction ${transaction} was answered by ${JSON.stringify(response).slice(0, 200)}`)
  }
  await target.alive('requests')
}

/** Each is refused whole, by the name of what is wrong. */
export async function throwConfigurations(target: Target, { more, secret }: Thrown): Promise<void> {
  const { random, box } = target.options
  const text = await readFile(box.config, 'utf8')
  const good = parse(text) as Record<string, unknown>
  const damaged = Array.from({ length: more }, () => damagedConfiguration(good, random)).filter(configuration => configuration !== null)
  for (const configuration of [...badConfigurations(good, secret), ...damaged]) {
    target.threw('configurations', configuration.kind)
    await refused(target, configuration)
  }
  await writeFile(box.config, text)
  await target.alive('configurations')
}

async function refused({ daemon, options: { box }, problems }: Target, { kind, text, names }: BadConfiguration): Promise<void> {
  const from = daemon.lines.length
  await writeFile(box.config, text)
  process.kill(daemon.pid, 'SIGHUP')
  await daemon.said(/; the former configuration goes on$/, { from })
  const said = daemon.lines.slice(from).join('\n')
  if (!/^CONFIG_INVALID: /m.test(said) || !names.test(said)) problems.push(`a configuration with ${kind} was refused so: ${said.slice(0, 500)}`)
}

/** The registry itself vouches for them: the box must find out, and keep what serves. Ends and starts it. */
export async function throwModels(target: Target, { served }: Pick<Thrown, 'served'>): Promise<void> {
  const { random, box, sandbox } = target.options
  const first = await target.answer('status', '{}', 'nothing')
  const champion = first?.status === 'ok' ? (first.data as { model: number }).model : 0
  await target.ends()
  const folder = (await readdir(join(box.data, 'models'))).find(name => name.startsWith(`${String(champion)}-`)) ?? ''
  const good = await readFile(join(box.data, 'models', folder, 'model.onnx'))
  const models = some(badModels(good, random, 10), served, random)
  const versions = await registerModels(box.data, [...models, { kind: 'lost', bytes: good }])
  await leadAstray(box.data, sandbox.outside)
  const daemon = target.start()
  await daemon.said(/restored from .*state\.json\.1/)
  await daemon.said(new RegExp(`^model ${String(champion)} is in service`))
  await target.serves()
  for (const [index, { kind }] of models.entries()) {
    target.threw('models', kind)
    const response = await target.answer('promote', JSON.stringify({ version: versions[index] }), kind)
    // Some damage does not show.
    if (kind === 'damaged' && response?.status === 'ok') {
      await target.answer('promote', JSON.stringify({ version: champion }), 'the champion')
      await target.serves()
    } else target.isRefusal(response, `to promote a model of ${kind}`)
  }
  await target.alive('models')
}

/** As a person would: `pawl eval` ends with 1 and says what is wrong, or measures it. */
export async function throwModelsAtEval(target: Target, { evaluated }: Pick<Thrown, 'evaluated'>): Promise<void> {
  const { random, box, sandbox } = target.options
  const [folder = ''] = await readdir(join(box.data, 'models'))
  const models = badModels(await readFile(join(box.data, 'models', folder, 'model.onnx')), random, 10)
  for (const { kind, bytes } of some(models, evaluated, random)) {
    const model = join(box.folder, 'watched', 'model.onnx')
    await writeFile(model, bytes)
    target.threw('pawl eval', kind)
    const ended = await promisify(execFile)(process.execPath, [main, 'eval', '--model', model, '--data', box.source('validation')], {
      cwd: sandbox.cwd, env: { ...process.env, ...sandbox.environment }, timeout: 60_000,
    }).catch((cause: unknown) => cause as { code?: unknown; signal?: unknown; stderr: string })
    if ('code' in ended && (ended.code !== 1 || !/^pawl: [A-Z_]+: /m.test(ended.stderr))) {
      target.problems.push(`pawl eval of a model of ${kind} ended with ${String(ended.signal ?? ended.code)}: ${ended.stderr.slice(-500)}`)
    }
  }
}

function some<T>(items: readonly T[], most: number, random: Random): T[] {
  return [...random.permutation(items.length).slice(0, most)].map(place => items[place] as T)
}
