/** The configuration: one schema, from which types, defaults, checks and the example all come. */
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { Document, isMap, isSeq, parse, type Node, type YAMLMap } from 'yaml'
import { validate as validCron } from 'node-cron'
import { z } from 'zod'
import { PawlError } from './errors.js'
import { parseChecked, readText, type JsonSchema } from './lib/checked-yaml.js'
import { withoutPasswords } from './lib/logger.js'
import { packageRoot } from './lib/package-root.js'
import { parseYaml } from './lib/yaml.js'
import { verbs } from './report/commands.js'
import { presetNames } from '../trainer/contract.js'
import { windowOf } from './rounds/windows.js'
import { Method } from './schemas.js'

/** What a topic, an access list and a path can bear. */
export const identifier = z.string().regex(/^[a-zA-Z0-9_-]{1,64}$/, 'letters, digits, - and _ only, 64 at most: it becomes part of topics and paths')
/** Paths, addresses, names. */
const line = z.string().regex(/^[^\p{Cc}\p{Cs}]{0,1024}$/u, 'one line of at most 1024 characters, without control characters')
const topic = line.max(256)
const topicLevel = topic.regex(/^[^+#/]*$/, 'one level of a topic, without wildcards')

const Rectangle = z.strictObject({
  x: z.number().int().min(0), y: z.number().int().min(0), width: z.number().int().positive(), height: z.number().int().positive(),
})

const CameraConfig = z.strictObject({
  id: identifier.describe('Name of the camera in topics and folders'),
  source: z.enum(['simulation', 'rtsp', 'mjpeg', 'snapshot', 'v4l2', 'folder', 'video'])
    .describe('simulation: the bundled belt; rtsp: most IP cameras; mjpeg: MJPEG over HTTP; snapshot: single pictures over HTTP; v4l2: a USB or CSI camera; folder: pictures that appear in a folder; video: a file, over and over'),
  url: line.default('').describe('rtsp: rtsp(s)://host/path; mjpeg, snapshot: http(s)://host/path; v4l2: the device, such as /dev/video0; folder, video: its path; simulation: empty'),
  username: line.default('').describe('rtsp, mjpeg, snapshot: user on the camera'),
  passwordFile: line.default('').describe('File that holds the user\'s password; or set PAWL_CAMERA_<ID>_PASSWORD, the id in capitals and _ for -'),
  transport: z.enum(['tcp', 'udp']).default('tcp').describe('rtsp: what the pictures come over'),
  decoder: z.string().regex(/^[a-z0-9_]*$/, 'a name that `ffmpeg -hwaccels` lists, or ""').default('').describe('rtsp, v4l2, video: hardware that decodes, as ffmpeg names it (`ffmpeg -hwaccels`): vaapi, cuda, drm, …; "": the processor'),
  keyframesOnly: z.boolean().default(false).describe('rtsp, video: only key frames are decoded, one every second or few on most cameras: for a fraction of the processor'),
  maxWidth: z.number().int().min(32).max(8192).default(1280).describe('rtsp, v4l2, video: wider pictures are scaled down to so many pixels'),
  rotate: z.union([z.literal(0), z.literal(90), z.literal(180), z.literal(270)]).default(0).describe('Degrees clockwise that the picture is turned by before anything else'),
  masks: z.array(Rectangle).default([]).describe('Parts of the turned picture, {x, y, width, height} in pixels, that are made black: nothing moves there, nothing of them is kept'),
  crop: z.union([z.enum(['whole', 'passing']), Rectangle]).default('passing')
    .describe('whole: the picture as it is; passing: what moves past, cut out once; or a fixed {x, y, width, height} in pixels'),
  maxPerSecond: z.number().min(0.001).max(60).default(10).describe('Pictures looked at each second; snapshot: asked for each second'),
  minPerSecond: z.number().min(0).max(60).default(0).describe('A camera that sends fewer for 20 s is started again; 0: however few it sends'),
  silentAfterSeconds: z.number().positive().max(86_400).default(10).describe('A camera without a picture for so long is started again'),
  uselessAfterSeconds: z.number().min(0).default(300).describe('A camera that shows the same picture to the bit, or blackness, for so long is started again; 0: never'),
}).superRefine(({ source, url, passwordFile, username, minPerSecond, maxPerSecond }, context) => {
  const wrong = (message: string, key = 'url') => { context.addIssue({ code: 'custom', path: [key], message: `a camera of source ${source} needs ${message}` }) }
  const speaks = (protocols: RegExp) => URL.canParse(url) && protocols.test(new URL(url).protocol)
  if ((source === 'mjpeg' || source === 'snapshot') && !speaks(/^https?:$/)) wrong('a http:// or https:// URL')
  if (source === 'rtsp' && !speaks(/^rtsps?:$/)) wrong('a rtsp:// or rtsps:// URL')
  if (source === 'v4l2' && !url.startsWith('/dev/')) wrong('the path of the device, such as /dev/video0')
  if ((source === 'folder' || source === 'video') && url === '') wrong(`the path of the ${source === 'folder' ? 'folder' : 'file'}`)
  if (minPerSecond >= maxPerSecond) wrong('a minPerSecond below its maxPerSecond, which is all that is looked at', 'minPerSecond')
  if (passwordFile !== '' && username === '') wrong('a username for the password of passwordFile', 'username')
})

/** How a page is served: that of a box, and that of a fleet. */
export const pageKeys = {
  port: z.number().int().min(0).max(65_535).default(8470).describe('Port of the page; the next free one when it is taken; 0: there is none'),
  address: line.min(1).default('127.0.0.1').describe('Address that it listens on; any but loopback needs a password'),
  passwordFile: line.default('').describe('File that holds the hash of its password, as `pawl password` writes it; or set PAWL_DASHBOARD_PASSWORD_HASH; "": on loopback none is needed'),
  tls: z.strictObject({
    cert: line.default('').describe('File (PEM) of its certificate; "": plain HTTP, for loopback or behind a proxy'),
    key: line.default('').describe('File (PEM) of its key'),
  }).refine(({ cert, key }) => (cert === '') === (key === ''), 'a certificate needs its key, and a key its certificate').prefault({}),
}

/** How a broker is spoken to, and below which topic. */
export const linkKeys = {
  username: line.default('').describe('User on the broker'),
  passwordFile: line.default('').describe('File that holds the password; or set PAWL_MQTT_PASSWORD'),
  protocol: z.enum(['3.1.1', '5']).default('3.1.1').describe('Version of MQTT'),
  tls: z.strictObject({
    ca: line.default('').describe('File (PEM) of who signed the broker\'s certificate; "": who the system trusts'),
    cert: line.default('').describe('File (PEM) of the certificate that the broker knows this box by; "": none'),
    key: line.default('').describe('File (PEM) of its key'),
  }).refine(({ cert, key }) => (cert === '') === (key === ''), 'a certificate needs its key, and a key its certificate').prefault({}),
  longestWaitSeconds: z.number().min(0.1).max(3600).default(1.5).describe('Longest wait between two tries to reach a broker that is away: longer where thousands of boxes would come back at once'),
  base: topic.regex(/^[^+#/]+(\/[^+#/]+)*$/, 'a topic without wildcards and without a slash at its ends').default('pawl').describe('First level of every topic'),
}

/** A client that is given a certificate speaks TLS, whatever its URL says: to a plain port it would for ever. An authority is passed over there. */
export function checkTls({ broker, tls }: { broker: string; tls: { cert: string } }, context: z.RefinementCtx): void {
  if (tls.cert === '' || /^(mqtts|wss):/.test(broker)) return
  context.addIssue({
    code: 'custom', path: ['tls', 'cert'], message: `it is shown over TLS alone, and mqtt.broker is "${withoutPasswords(broker)}": name the broker by mqtts:// or wss://, or leave tls.cert and tls.key out`,
  })
}

/** Nothing but where it is: the rest has keys of its own. */
function isRegistry(text: string): boolean {
  if (text === '' || !URL.canParse(text)) return text === ''
  const { protocol, hostname, username, password, pathname, search, hash } = new URL(text)
  const loopback = ['localhost', '127.0.0.1', '[::1]'].includes(hostname)
  return (protocol === 'https:' || (protocol === 'http:' && loopback)) && `${username}${password}${search}${hash}` === '' && pathname === '/'
}

const isBrokerUrl = (text: string) => /^(mqtts?|wss?):\/\/[^/]/.test(text) && URL.canParse(text)
export const brokerUrl = line.refine(isBrokerUrl, 'not a mqtt://, mqtts://, ws:// or wss:// URL')

const Config = z.strictObject({
  device: identifier.default(safeHostname).describe('Name of this box on the broker, which no other box there may have; by default the name of the machine; PAWL_DEVICE in the environment goes before it, so that many boxes may have one file'),
  data: line.min(1).default('pawl-data').describe('Folder for frames, labels, models and state; relative to this file'),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info').describe('Least level that is logged; at info, where `pawl run` tells in plain lines what happens, only errors are logged beside them'),
  ffmpeg: line.default('').describe('Program that opens cameras of source rtsp, v4l2 and video; "": the one that FFMPEG_PATH names, else the one on the PATH'),
  cameras: z.array(CameraConfig).min(1).max(256).default([CameraConfig.parse({ id: 'belt', source: 'simulation' })])
    .refine(cameras => new Set(cameras.map(({ id }) => id)).size === cameras.length, 'two cameras have the same id')
    .describe('The cameras that are watched'),
  labels: z.strictObject({
    import: line.default('auto').describe('Class folders copied in at a start while there are no labels: a folder, "" for none, or auto: the bundled set when the simulation is the only camera'),
    importValidation: line.default('').describe('Class folders that only judge, never teach; "": a part of the labels is kept back for it'),
  }).prefault({}),
  frames: z.strictObject({
    maxBytes: z.number().int().positive().default(500_000_000).describe('Bytes of unlabeled frames kept; of the older half the least useful go first'),
    maxAgeDays: z.number().positive().default(30).describe('Age at which a frame goes'),
    minFreeBytes: z.number().int().min(0).default(1_000_000_000).describe('Free bytes on the disk below which a frame comes in only in the place of others; below a quarter of it, or 100 MB, none does, and frames go'),
    select: z.strictObject({
      uncertain: z.tuple([z.number().min(0).max(1), z.number().min(0).max(1)]).default([0, 0.8])
        .describe('Frames whose confidence lies within are kept'),
      novelShare: z.number().min(0).max(1).default(0.2).describe('Share of all frames that counts as new to the model, and is kept: those farthest from the frames kept last'),
      auditShare: z.number().min(0).max(1).default(0.1).describe('Share of the other frames that is kept by chance; all are, as long as there are fewer than rounds.maxFrames'),
      minIntervalSeconds: z.number().min(0).max(86_400).default(0).describe('Least time between two frames kept of one camera'),
      perHour: z.number().int().positive().default(2000).describe('Frames kept of one camera in an hour'),
      perDay: z.number().int().positive().default(10_000).describe('Frames kept of one camera in a day'),
    }).prefault({}),
  }).prefault({}),
  rounds: z.strictObject({
    schedule: z.string().default('0 */6 * * *').refine(isCron, 'not a cron expression such as "0 */6 * * *"').describe('When rounds start, as a cron expression'),
    windows: z.array(z.string().refine(text => windowOf(text) !== null, 'not a stretch of the day such as "22:00-06:00" or "mon-fri 22:00-06:00"')).default([])
      .describe('Local times at which rounds may run, as "22:00-06:00" or "sat,sun 00:00-24:00"; none: at all times. The first round, and one on command, run at any time; another is stopped at the end of a window and goes on in the next'),
    newFrames: z.number().int().min(0).default(2000).describe('Frames since the last round that start another; 0: none do'),
    newLabels: z.number().int().min(0).default(20).describe('Labels since the last round that start another, once nobody has added one for a minute; 0: none do'),
    onDrift: z.boolean().default(true).describe('Whether a drift alarm starts a round'),
    minutes: z.number().positive().max(1440).default(10).describe('Length of a round'),
    firstMinutes: z.number().positive().max(1440).default(2).describe('Length of a round while there is no model: it starts at once, so that something is in service soon'),
    maxFrames: z.number().int().positive().default(3000).describe('Unlabeled frames that a round learns from'),
    maxMemoryMb: z.number().int().min(256).default(4096).describe('Memory at which a round is ended'),
    maxGpuMemoryMb: z.number().int().min(0).default(0).describe('Memory of an NVIDIA GPU at which a round that trains on it is ended; 0: as much as it takes'),
    cpuShare: z.number().min(0.05).max(1).default(1).describe('Share of all processor cores that a round takes at most, in the mean over a few seconds'),
    pauseAboveCelsius: z.number().min(0).max(150).default(90).describe('A round stands still while the hottest place of the box is hotter, until it has cooled down by 5 degrees; 0: never'),
    pauseAboveLatency: z.number().min(0).max(100).default(2).describe('A round stands still for a while when predictions take longer, in more than one of a hundred, than this multiple of what 99 in 100 take while no round runs; 0: never'),
    preset: z.enum(presetNames).default('nano').describe('Size of the model: nano 28 px, micro 96 px, tiny 224 px'),
    method: Method.prefault('pawl').describe('How it learns'),
    backend: z.enum(['auto', 'onnxruntime', 'tensorflow']).default('auto').describe('Engine that trains'),
    lanes: z.number().int().min(0).max(64).default(0).describe('Processor cores that a round uses; 0: all'),
    alpha: z.number().gt(0).lt(0.5).default(0.05).describe('Chance of promoting a challenger that is not better, over all rounds on one validation set'),
    refreshMargin: z.number().min(0).lt(0.5).default(0).describe('Accuracy, as a share, that a challenger not proved better may cost and still be promoted, so that the model keeps up with its site; 0: none is. Each such promotion may cost that much, and the losses add up'),
    seed: z.number().int().min(0).default(1).describe('Seed of the first round; later rounds count on from it'),
    priority: z.enum(['idle', 'low']).default('idle').describe('idle: a round takes only what everything else on the box leaves of the processor; low: a little also where nothing is left'),
    probation: z.strictObject({
      frames: z.number().int().min(0).max(10_000).default(200).describe('Frames that the former model answers too, aside, after a promotion: where the new one is less sure of them, the former comes back; 0: no probation'),
      everySeconds: z.number().min(0).max(86_400).default(10).describe('Least time between two such frames of one camera'),
      alpha: z.number().gt(0).lt(0.5).default(0.01).describe('Chance that a model falls back that is no less sure than the one before it'),
    }).prefault({}),
  }).prefault({}),
  drift: z.strictObject({
    enabled: z.boolean().default(true).describe('Whether it is watched that the pictures stay what they were when the model went into service'),
    everySeconds: z.number().min(0).max(86_400).default(2).describe('Least time between two pictures of one camera that count for it: raise it so that the reference holds day and night'),
    reference: z.number().int().min(50).max(5000).default(1000).describe('The first pictures of a new model, which say what it is used to'),
    window: z.number().int().min(20).max(1000).default(200).describe('The newest pictures, which are compared with them: fewer are faster, more see smaller changes'),
    falseAlarmsPerMonth: z.number().positive().max(1000).default(1).describe('Alarms to be expected in 30 days in which nothing changes; fewer come later'),
  }).prefault({}),
  exchange: z.strictObject({
    registry: line.default('').describe('OCI registry by which boxes give models to each other, as https://registry.site:5000; "": they do not')
      .refine(isRegistry, 'neither "" nor an https:// URL of a host (http:// on loopback alone), without user, password and path'),
    repository: z.string().max(128).regex(/^[a-z0-9]+([._-][a-z0-9]+)*(\/[a-z0-9]+([._-][a-z0-9]+)*)*$/, 'small letters and digits, with . _ - between them, in parts divided by /')
      .default('pawl/models').describe('Repository there, the same for all boxes'),
    username: line.default('').describe('User on the registry'),
    passwordFile: line.default('').describe('File that holds the password; or set PAWL_REGISTRY_PASSWORD'),
    ca: line.default('').describe('File (PEM) of who signed the registry\'s certificate; "": who the system trusts'),
    publish: z.boolean().default(true).describe('Whether a model of this box that has passed its probation is given to others'),
    trust: line.default('').describe('Folder of keys, <device>.public.pem each (`pawl models key` there): the boxes whose models are judged here; "": none are'),
    maxBytes: z.number().int().min(1_000_000).max(4_000_000_000).default(200_000_000).describe('Bytes of the weights of a model that is fetched'),
  }).superRefine(({ registry, username, passwordFile, trust }, context) => {
    const wrong = (key: string, message: string) => { context.addIssue({ code: 'custom', path: [key], message }) }
    if (username !== '' && registry.startsWith('http:')) wrong('username', 'a registry over https: a password is sent over nothing else')
    if (passwordFile !== '' && username === '') wrong('username', 'a name for the password of passwordFile')
    if (registry === '' && trust !== '') wrong('registry', 'the registry that the boxes of trust give their models by')
  }).prefault({}),
  monitoring: z.strictObject({
    port: z.number().int().min(0).max(65_535).default(9464).describe('Port of /metrics for Prometheus, /healthz and /livez for probes; the next free one when it is taken; 0: none'),
    address: line.min(1).default('127.0.0.1').describe('Address that it listens on; any but loopback is for a network whose every member may read the numbers: there is no password'),
  }).prefault({}),
  dashboard: z.strictObject(pageKeys).prefault({}),
  mqtt: z.strictObject({
    broker: line.default('embedded').describe('embedded: a broker inside this process, on loopback; else mqtt://, mqtts://, ws:// or wss:// URL')
      .refine(text => text === 'embedded' || isBrokerUrl(text), 'neither "embedded" nor a mqtt://, mqtts://, ws:// or wss:// URL'),
    port: z.number().int().min(1).max(65535).default(1883).describe('Port of the embedded broker; the next free one when it is taken'),
    ...linkKeys,
    homeAssistant: topic.regex(/^[^+#]*$/, 'a topic without wildcards').default('').describe('Discovery prefix of Home Assistant, as a rule homeassistant: the box is announced there; "": it is not'),
    predictionEveryMs: z.number().int().min(0).max(86_400_000).default(1000).describe('Least time between two messages of an unchanged prediction'),
    outboxEvents: z.number().int().positive().default(10_000).describe('Events kept while the broker is away; the oldest go first'),
    eventsPerSecond: z.number().min(0.1).max(1000).default(20).describe('Events sent each second at most: those that waited for the broker do not fill a thin line'),
    commands: z.array(z.enum(verbs)).default([...verbs]).describe('Commands that are carried out; []: none is. Who may ask is for the broker to say'),
    sparkplug: z.strictObject({
      group: topicLevel.default('').describe('Group id: the box is also an edge node of Sparkplug B in this group, its cameras are devices; "": it is not'),
      primaryHost: topicLevel.default('').describe('Id of the host application without which nothing is said; "": whether one listens or not'),
    }).prefault({}),
  }).superRefine(checkTls).prefault({}),
})

export type Config = z.infer<typeof Config>

export type CameraConfig = z.infer<typeof CameraConfig>

/** Every key at its default; paths are relative to the working directory. Errors: CONFIG_INVALID, for the environment. */
export function defaultConfig(): Config {
  return withPaths(named(Config.parse({})), process.cwd())
}

/** Errors: CONFIG_INVALID, naming file, line, column, key, value and fix of everything that is wrong. */
export async function loadConfig(path: string): Promise<Config> {
  const file = resolve(path)
  return withPaths(named(parseConfig(await readText(file, 'write one with `pawl config example`'), path)), resolve(file, '..'))
}

/** What a person should know of a file that is valid; null: nothing. Errors: CONFIG_INVALID. */
export async function warningOf(path: string): Promise<string | null> {
  const given = parseYaml(await readText(resolve(path), ''), path).value ?? {}
  const isEmpty = typeof given === 'object' && Object.keys(given).length === 0
  return isEmpty ? `${path} says nothing: a box with it watches the bundled simulation and reports to a broker inside itself; write one with \`pawl config example\`` : null
}

/** Errors: CONFIG_INVALID for a name in the environment that no box can have. */
function named(config: Config): Config {
  const { PAWL_DEVICE: device } = process.env
  if (device === undefined) return config
  const { error } = identifier.safeParse(device)
  if (error) throw new PawlError('CONFIG_INVALID', `PAWL_DEVICE is ${JSON.stringify(device.slice(0, 200))}; ${error.issues[0]?.message ?? ''}; unset it, or name the box by it`)
  return { ...config, device }
}

/** The data folder that a file names, whatever else is wrong in it; null: it cannot be told. */
export async function dataFolderIn(path: string): Promise<string | null> {
  try {
    const { data } = z.object({ data: Config.shape.data }).parse(parse(await readText(resolve(path), '')) ?? {})
    return resolve(path, '..', data)
  } catch {
    return null
  }
}

export function parseConfig(text: string, file: string): Config {
  return parseChecked(Config, { text, file, hint: 'see `pawl config example`' })
}

/** Numbers that no time has would be counted to, one by one. */
function isCron(text: string): boolean {
  return text.length <= 256 && !/\d{4}/.test(text) && validCron(text)
}

export function configSchema(): unknown {
  return z.toJSONSchema(Config, { io: 'input' })
}

/** A complete file: every key at its default, with what it means. */
export function exampleConfig(): string {
  const document = new Document(Config.parse({}))
  const describe = (node: unknown, schema: JsonSchema) => {
    if (!isMap(node)) return
    for (const pair of (node as YAMLMap<Node, Node>).items) {
      const own = schema.properties?.[String(pair.key)] ?? {}
      if (own.description) pair.key.commentBefore = ` ${own.description}`
      describe(pair.value, own)
      if (own.items && isSeq(pair.value)) for (const item of pair.value.items) describe(item, own.items)
    }
  }
  describe(document.contents, configSchema() as JsonSchema)
  return document.toString({ lineWidth: 0 })
}

/** The files of `mqtt`, or of `dashboard`, relative to the folder. */
export function withSecretPaths<T extends { passwordFile: string; tls: Readonly<Record<string, string>> }>(section: T, folder: string): T {
  const absolute = (path: string) => path && resolve(folder, path)
  const tls = Object.fromEntries(Object.entries(section.tls).map(([name, path]) => [name, absolute(path)]))
  return { ...section, passwordFile: absolute(section.passwordFile), tls }
}

function withPaths(config: Config, folder: string): Config {
  const { mqtt, dashboard, exchange } = config
  const absolute = (path: string) => path && resolve(folder, path)
  return {
    ...config,
    data: resolve(folder, config.data),
    // A bare name is looked up on the PATH.
    ffmpeg: config.ffmpeg.includes('/') ? resolve(folder, config.ffmpeg) : config.ffmpeg,
    labels: labelFolders(config, folder),
    mqtt: withSecretPaths(mqtt, folder),
    dashboard: withSecretPaths(dashboard, folder),
    exchange: { ...exchange, passwordFile: absolute(exchange.passwordFile), ca: absolute(exchange.ca), trust: absolute(exchange.trust) },
    cameras: config.cameras.map(camera => ({
      ...camera,
      url: camera.source === 'folder' || camera.source === 'video' ? resolve(folder, camera.url) : camera.url,
      passwordFile: absolute(camera.passwordFile),
    })),
  }
}

function labelFolders({ labels, cameras }: Config, folder: string): Config['labels'] {
  const absolute = (path: string) => path && resolve(folder, path)
  if (labels.import !== 'auto') return { import: absolute(labels.import), importValidation: absolute(labels.importValidation) }
  const simulated = cameras.every(({ source }) => source === 'simulation')
  return {
    import: simulated ? bundled('labeled') : '',
    importValidation: absolute(labels.importValidation) || (simulated ? bundled('validation') : ''),
  }
}

/** Data that comes with the program. */
export function bundled(part: 'labeled' | 'validation' | 'unlabeled' | 'test'): string {
  return join(packageRoot(), 'fixtures', 'fashion-mnist', part)
}

function safeHostname(): string {
  return hostname().replaceAll(/[^a-zA-Z0-9_-]/g, '-').slice(0, 64) || 'box-1'
}
