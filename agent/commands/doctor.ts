import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, readFile, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { z } from 'zod'
import { knownEngines, verifyTraining, type Verification } from '../../trainer/index.js'
import { ffmpegOf } from '../camera/ffmpeg.js'
import { sourceOf } from '../camera/index.js'
import type { CameraConfig, Config } from '../config.js'
import { ask } from '../control.js'
import { repositoryOf } from '../exchange/exchange.js'
import { trustedBoxes } from '../exchange/offer.js'
import { readLabels } from '../frames/labels.js'
import { certificatesIn, isOfUnknownSigner, timeOf, validityOf } from '../lib/certificates.js'
import { systemClock } from '../lib/clock.js'
import { createLogger, withoutPasswords } from '../lib/logger.js'
import { writableFolder } from '../lib/ownership.js'
import { runProgram } from '../lib/program.js'
import { Link } from '../report/link.js'
import { connectionTo } from '../report/report.js'
import { misnamed, problemsOf, readTlsFiles } from '../report/tls-files.js'
import { clientIdOf } from '../report/topics.js'
import { isOpen, openSecrets } from '../secret-files.js'
import { keysOf } from '../web/server.js'
import { configOf, readRegistry } from './data.js'
import { print, type OutputOptions } from './output.js'

interface Finding {
  what: string
  /** `note`: nothing to mend, worth knowing. */
  state: 'ok' | 'note' | 'problem'
  detail: string
}

/** Checks one thing; what it raises becomes a problem with its message. */
type Check = (config: Config) => Promise<Omit<Finding, 'what'>>

const dayMs = 86_400_000

const ok = (detail: string) => ({ state: 'ok' as const, detail })
const note = (detail: string) => ({ state: 'note' as const, detail })
const problem = (detail: string) => ({ state: 'problem' as const, detail })

const checks: Record<string, Check> = {
  node: () => Promise.resolve(ok(process.version)),
  'data folder': async ({ data }) => {
    await writableFolder(data)
    return await isOpen(data) ? note(`${data}: every user of this box may look at its pictures and labels; \`chmod o= ${data}\``) : ok(data)
  },
  disk: async ({ data, frames }) => {
    const { bavail, bsize } = await statfs(data)
    const free = bavail * bsize
    const text = `${(free / 1e9).toFixed(1)} GB free`
    return free > frames.minFreeBytes ? ok(text) : problem(`${text}, less than frames.minFreeBytes: a new frame takes the place of others, and none is stored where next to nothing is free; free some space`)
  },
  labels: async ({ data, labels }) => {
    const there = (own: string, source: string) => (existsSync(join(data, own)) ? join(data, own) : source)
    const imported = existsSync(join(data, 'labels'))
    const [folder, validation] = [there('labels', labels.import), there('validation', labels.importValidation)]
    if (folder === '') return problem(`none yet: put images into one folder for each class in ${join(data, 'labels')}, or set labels.import`)
    const split = await readLabels(folder, labels.importValidation ? validation : null)
    const told = `${imported ? '' : `imported at the first start from ${folder}: `}${String(split.labeled.length)} teach, ${String(split.gate.length)} gate, ${String(split.promotion.length)} promote`
    const judged = new Set(split.promotion.map(({ label }) => label))
    const unjudged = [...new Set(split.labeled.map(({ label }) => label))].filter(label => !judged.has(label))
    return unjudged.length === 0 ? ok(told) : note(`${told}; nothing judges ${unjudged.map(label => `"${label}"`).join(', ')}: label more of it, five or more`)
  },
  model: async config => {
    const registry = await readRegistry(config)
    const model = registry.active()
    if (!model) return note('none yet: the first round makes it')
    const check = (await registry.verify()).find(({ version }) => version === model.version)
    return check?.ok ? ok(`model ${String(model.version)}`) : problem(`model ${String(model.version)}: ${check?.problem ?? 'missing'}; run \`pawl models rollback\``)
  },
  broker: async ({ mqtt, device }) => {
    if (mqtt.broker === 'embedded') return ok(`embedded, port ${String(mqtt.port)} or the next free one`)
    return brokerCheck(mqtt, device)
  },
  certificates: async ({ mqtt: { broker, tls }, device }) => {
    if (broker === 'embedded' || (tls.ca === '' && tls.cert === '')) return note('none of its own (mqtt.tls)')
    const contents = await readTlsFiles(tls)
    const wrong = [misnamed(tls, contents, device), ...problemsOf(tls, contents, Date.now())].filter(problem => problem !== null)
    if (wrong.length) return problem(wrong.join('; '))
    const [own] = contents.cert ? certificatesIn(contents.cert.toString()) : []
    return ok(own ? `that of this box is for "${device}", until ${timeOf(validityOf(own).toMs)}` : 'that of the authority counts')
  },
  exchange: async ({ exchange, device }) => {
    if (exchange.registry === '') return note('models stay on this box (exchange.registry)')
    const { boxes, problems } = exchange.trust === '' ? { boxes: [], problems: [] } : await trustedBoxes(exchange.trust, device)
    problems.push(...(await keysOfNobody(exchange.trust)).map(path => `${path} is a key that is not named <device>.public.pem: it counts for no box`))
    if (problems.length) return problem(problems.join('; '))
    try {
      await repositoryOf(exchange).check({ push: exchange.publish }, AbortSignal.timeout(registryMs))
    } catch (cause) {
      if (!isOfUnknownSigner(cause)) throw cause
      return problem(`${cause instanceof Error ? cause.message : String(cause)}; name who signed the registry's certificate in exchange.ca`)
    }
    const trusts = boxes.map(({ name, fingerprint }) => `${name} (${fingerprint})`).join(', ') || 'no box'
    return ok(`${exchange.registry} lets this box ${exchange.publish ? 'fetch and give' : 'fetch'} models; it judges those of ${trusts}`)
  },
  page: async ({ dashboard }) => {
    if (dashboard.port === 0) return note('none: dashboard.port is 0')
    const { hash, secure } = await keysOf(dashboard)
    return ok(`${dashboard.address}, port ${String(dashboard.port)} or the next free one, ${hash === null ? 'without a password' : 'with a password'}${secure ? ' and TLS' : ''}`)
  },
  clock: async config => {
    const [now, registry] = [Date.now(), await readRegistry(config)]
    const times = [...registry.decisions().map(({ decidedAtMs }) => decidedAtMs), ...registry.list().map(({ createdAtMs }) => createdAtMs)]
    const newest = Math.max(0, ...times)
    const text = new Date(now).toISOString()
    if (newest > now) return problem(`${text} is before the last round (${new Date(newest).toISOString()}): set the clock, or let NTP do it`)
    const { mtimeMs } = await stat(import.meta.filename)
    if (mtimeMs > now + dayMs) return problem(`${text} is before this program was installed (${new Date(mtimeMs).toISOString()}): set the clock, or let NTP do it`)
    const synchronised = await runProgram('timedatectl', ['show', '--property=NTPSynchronized', '--value'])
    return synchronised === 'no\n' ? note(`${text}, and nothing keeps it right (timedatectl)`) : ok(text)
  },
  'training engines': async config => enginesFound(await knownEngines({ preset: config.rounds.preset, memory: memoryOf(config) })),
  ffmpeg: ({ ffmpeg, cameras }) => promisify(execFile)(ffmpegOf(ffmpeg), ['-version']).then(
    ({ stdout }) => {
      const [line = ''] = stdout.split('\n')
      const [, major, minor] = /version n?(\d+)\.(\d+)/.exec(line) ?? []
      const old = major !== undefined && Number(major) + Number(minor) / 100 < oldestFfmpeg.major + oldestFfmpeg.minor / 100
      return old && cameras.some(({ source }) => needsFfmpeg.has(source)) ? problem(`${line}: cameras of source rtsp, v4l2 and video need 5.1 or later`) : ok(line)
    },
    () => (cameras.some(({ source }) => needsFfmpeg.has(source))
      ? problem(`${ffmpegOf(ffmpeg)} is not there: install ffmpeg, or name it in \`ffmpeg\``) : note('not found; none of the configured cameras needs it'))),
}

/** The first that takes an RTSP camera's options from a script, and leaves the times of pictures alone when it is told so. */
const oldestFfmpeg = { major: 5, minor: 1 }
const needsFfmpeg: ReadonlySet<CameraConfig['source']> = new Set(['rtsp', 'v4l2', 'video'])
/** Milliseconds that a camera has for its first picture. */
const firstPictureMs = 15_000
/** And a registry for all of its answers. */
const registryMs = 30_000
/** And a broker for its answer. */
const brokerMs = 10_000

async function secretsCheck(config: Config, file: string | undefined): Promise<Omit<Finding, 'what'>> {
  const { files, open } = await openSecrets(config, file)
  return open.length ? note(`every user of this box may read ${open.join(', ')}; \`chmod o= …\``) : ok(`${String(files.length)} files, none of which every user of this box may read`)
}

/** Public keys in the folder of those that are trusted whose names say no box. */
async function keysOfNobody(folder: string): Promise<string[]> {
  const names = folder === '' ? [] : await readdir(folder).catch(() => [])
  const others = names.filter(name => /\.(pem|pub|key)$/.test(name) && !name.endsWith('.public.pem')).map(name => join(folder, name))
  const texts = await Promise.all(others.map(async path => await readFile(path, 'utf8').catch(() => '')))
  return others.filter((_, index) => texts[index]?.includes('BEGIN PUBLIC KEY'))
}

/** What lies in the data folder. */
const below: readonly string[] = ['disk', 'labels', 'model', 'clock']

/** Waits for a picture of a camera, and tells of it. */
async function cameraCheck(camera: CameraConfig, { ffmpeg, data }: Config): Promise<Omit<Finding, 'what'>> {
  if (camera.source === 'simulation') return ok('the bundled belt')
  const startedAtMs = performance.now()
  const ended = AbortSignal.timeout(firstPictureMs)
  try {
    for await (const picture of sourceOf(camera, ffmpeg)(ended)) {
      if (picture === null) continue
      const { width, height } = (await sharp(picture).metadata()).autoOrient
      return ok(`${String(width)} × ${String(height)}, ${String(Math.ceil(picture.length / 1024))} kB, the first after ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s`)
    }
  } catch (cause) {
    const isBusy = camera.source === 'v4l2' && cause instanceof Error && /resource busy/i.test(cause.message)
    // A device is opened once.
    if (isBusy && await ask(data, 'status', {})) return note(`the running agent uses ${camera.url}`)
    if (!ended.aborted) throw cause
  }
  return camera.source === 'folder' ? note(`${camera.url} can be read; no picture came in ${String(firstPictureMs / 1000)} s`)
    : problem(`no picture within ${String(firstPictureMs / 1000)} s: is it on, and does its address hold?`)
}

export async function doctor(options: OutputOptions & { config?: string | undefined; verifyDevice?: string | undefined }): Promise<void> {
  const config = await configOf(options)
  if (options.verifyDevice !== undefined) return verifyDevice(config, options, z.enum(['auto', 'cpu', 'webgpu', 'cuda']).parse(options.verifyDevice))
  const findings: Finding[] = []
  const cameras = config.cameras.map(camera => [`camera ${camera.id}`, () => cameraCheck(camera, config)] as const)
  const secrets = ['secrets', () => secretsCheck(config, options.config)] as const
  for (const [what, check] of [...Object.entries(checks), secrets, ...cameras]) {
    // What would only follow from it.
    const waits = below.includes(what) && findings.some(({ what: first, state }) => first === 'data folder' && state === 'problem')
    const finding = waits ? note('is looked at once the data folder is as it should be') : await check(config).catch((cause: unknown) => problem(cause instanceof Error ? cause.message : String(cause)))
    findings.push({ what, ...finding })
  }
  const signs = { ok: '✓', note: '·', problem: '✗' } as const
  print(options, { ok: findings.every(({ state }) => state !== 'problem'), findings },
    findings.map(({ what, state, detail }) => `${signs[state]} ${what.padEnd(17)} ${detail}`))
  if (findings.some(({ state }) => state === 'problem')) process.exitCode = 1
}

/** Logs in as the agent does, beside it, and asks for what the agent listens to. */
async function brokerCheck(mqtt: Config['mqtt'], device: string): Promise<Omit<Finding, 'what'>> {
  const connection = connectionTo(mqtt.broker, mqtt, device)
  const shown = withoutPasswords(mqtt.broker)
  let link: Link | null = null
  let timer: NodeJS.Timeout | undefined
  const found = await new Promise<Omit<Finding, 'what'>>(resolve => {
    const refused = (reason: string) => { resolve(problem(`${shown}: ${reason}; check mqtt, and that the broker runs`)) }
    timer = setTimeout(() => { refused(`no answer within ${String(brokerMs / 1000)} s`) }, brokerMs)
    link = new Link({
      ...connection,
      clientId: `${clientIdOf(device)}-doctor`,
      will: () => null,
      subscriptions: () => [{ filter: `${mqtt.base}/${device}/request/#`, essential: true }],
      onUp: () => { resolve(ok(`${shown} lets this box in`)) },
      onDown: () => undefined,
      onMessage: () => undefined,
      onAway: refused,
      logger: createLogger({ level: 'silent' }),
      clock: systemClock,
      random: Math.random,
    })
    link.start()
  })
  clearTimeout(timer)
  await (link as Link | null)?.stop(null)
  return found
}

/** What the daemon remembers of its engines. */
function memoryOf({ data }: Config): string {
  return join(data, 'engines.json')
}

/** One engine that passes is enough; what does not load is no fault of the box. */
function enginesFound(verifications: readonly Verification[]): Omit<Finding, 'what'> {
  if (verifications.length === 0) return note('not verified yet: the first round does it, or `pawl doctor --verify-device`')
  const text = verifications.map(verification => described(verification)).join('; ')
  if (verifications.some(({ ok: passes }) => passes)) return ok(text)
  const own = verifications.find(({ engine: { backend, device } }) => backend === 'onnxruntime' && device === 'cpu')
  return (own ? problem : note)(`none has passed yet, rounds train with onnxruntime on cpu; \`pawl doctor --verify-device\` checks all without haste. ${text}`)
}

const nameOf = ({ engine }: Verification) => `${engine.backend} on ${engine.device}`

function described(verification: Verification): string {
  const { ok: passes, reason, imagesPerSecond } = verification
  return `${nameOf(verification)}: ${passes ? `passes, ${(imagesPerSecond ?? 0).toFixed(1)} images/s` : reason ?? 'fails'}`
}

/** A table of what loads, passes, and how fast; remembered for the next rounds. Ends with 1 where nothing passes. */
async function verifyDevice(config: Config, options: OutputOptions, device: 'auto' | 'cpu' | 'webgpu' | 'cuda'): Promise<void> {
  const verifications = await verifyTraining({ preset: config.rounds.preset, memory: memoryOf(config), device })
  const shown = (value: number | null) => (value === null ? '–' : value.toExponential(1)).padStart(9)
  print(options, { ok: verifications.some(({ ok: passes }) => passes), preset: config.rounds.preset, verifications }, [
    `one step of ${config.rounds.preset} beside the embedded engine's plainest graph:`,
    `  ${'engine'.padEnd(24)}${'images/s'.padStart(9)}${'losses'.padStart(10)}${'gradient'.padStart(10)}${'slope'.padStart(10)}`,
    ...verifications.map(verification => {
      const { ok: passes, reason, imagesPerSecond, lossDifference, gradientDifference, slopeDifference } = verification
      const numbers = [lossDifference, gradientDifference, slopeDifference].map(shown).join(' ')
      return `${passes ? '✓' : '✗'} ${nameOf(verification).padEnd(24)}${(imagesPerSecond?.toFixed(1) ?? '–').padStart(9)} ${numbers}${reason === null ? '' : `  ${reason}`}`
    }),
  ])
  if (!verifications.some(({ ok: passes }) => passes)) process.exitCode = 1
}
