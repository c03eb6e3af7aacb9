/** What anybody may send who is let onto the broker. */
import type { Random } from '../../trainer/index.js'
import { commands, verbs, type Verb } from '../../agent/report/commands.js'
import { bytesOf, pick, someJson, words } from './draw.js'

export interface Sent {
  kind: string
  topic: string
  payload: Buffer
}

/** Payloads that no command takes, by kind. */
const payloads: Record<string, (random: Random) => Buffer> = {
  'random bytes': random => bytesOf(random, 1 + random.below(300)),
  'JSON of another shape': random => Buffer.from(JSON.stringify(someJson(random))),
  'an unknown key': random => json({ [pick(random, words)]: 1 }),
  'another type': random => json({ transaction: someJson(random), version: someJson(random), reason: someJson(random) }),
  'a version that is none': random => json({ version: pick(random, [-1, 0, 1.5, 1e308, '1', [1], null]) }),
  'a prototype': () => Buffer.from('{"__proto__":{"version":1,"transaction":"x"},"constructor":{"prototype":{"reason":"x"}}}'),
  'a transaction of half a megabyte': () => json({ transaction: 'x'.repeat(500_000) }),
  'a transaction of 60,000 letters': () => json({ transaction: 'x'.repeat(60_000) }),
  'a key of 60,000 letters': () => json({ ['k'.repeat(60_000)]: 1 }),
  'deep arrays': () => Buffer.from('['.repeat(32_000) + ']'.repeat(32_000)),
  'deep objects': () => Buffer.from('{"transaction":'.repeat(4000) + '1' + '}'.repeat(4000)),
  'a megabyte': () => Buffer.alloc(1_000_000, 'x'),
  'twenty megabytes': () => Buffer.alloc(20_000_000, '['),
  'broken UTF-8': () => Buffer.from('7b227472616e73616374696f6e223a22c328a0a1f09028bc227d78', 'hex'),
  'half a surrogate': () => Buffer.from('{"transaction":"\\ud800","reason":"\\udfff","x":1}'),
  'a number without end': () => Buffer.from(`{"version":${'9'.repeat(60_000)}}`),
  'a key twice': () => Buffer.from('{"version":0,"version":0,"transaction":"a","transaction":5}'),
  NUL: () => Buffer.alloc(100),
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

/** Each kind, for one command or another; what a command would carry out is none of them. */
export function badRequests(random: Random): { kind: string; verb: Verb; payload: Buffer }[] {
  return Object.entries(payloads).flatMap(([kind, make]) => {
    const [verb, payload] = [pick(random, verbs), make(random)]
    return isGood(verb, payload) ? [] : [{ kind, verb, payload }]
  })
}

/** Commands that do not exist, below topics that are listened to and others. `topic` is from the broker's root. */
export function strangeTopics(random: Random, prefix: string): Sent[] {
  const names = [
    ...['../../outside/canary', '__proto__', 'constructor', 'TRAIN', 'train/', 'train/../status', ' train', 'x'.repeat(20_000), '💥', '<script>'].map(name => `${prefix}/request/${name}`),
    `${prefix}/request`, `${prefix}/x/y/z`, 'homeassistant/status',
    'spBv1.0/hostile/NCMD/box-9', 'spBv1.0/hostile/DCMD/box-9/good', 'spBv1.0/STATE/scada',
  ]
  return names.map(topic => {
    const payload = pick(random, [bytesOf(random, 1 + random.below(200)), json(someJson(random)), Buffer.from('{"online":true,"timestamp":"x"}')])
    return { kind: 'a strange topic', topic, payload }
  })
}

/** Transactions that are no file's name, of commands that are good: each is to be answered under it. */
export function goodRequests(random: Random): { verb: 'status' | 'pin'; transaction: string }[] {
  return words.filter(word => word.length <= 256 && word !== '\ud800')
    .map((word, index) => ({ verb: index % 2 ? 'status' : 'pin', transaction: `${word}${String(random.below(1e9))}` }))
}

function isGood(verb: Verb, payload: Buffer): boolean {
  try {
    const text = payload.toString('utf8').trim()
    return commands[verb].payload.safeParse(text ? JSON.parse(text) : {}).success
  } catch {
    return false
  }
}
