/** Configurations that are to be refused, each with what the refusal must name. */
import type { Random } from '../../trainer/index.js'
import { parseConfig } from '../../agent/config.js'
import { damaged, pick, words } from './draw.js'

export interface BadConfiguration {
  kind: string
  text: string
  names: RegExp
}

/** Lines in the place of the sections of their names; `secret` must be told nowhere. */
function lines(secret: string): [kind: string, section: string, text: string, names: RegExp][] {
  return [
    ['a path with NUL', 'data', 'data: "a\\0b"', /data is/],
    ['a path of 5000 letters', 'data', `data: ${'x/'.repeat(2500)}`, /data is/],
    ['no path', 'data', 'data: ""', /data is/],
    ['a device that is a path', 'device', 'device: ../../outside/canary', /device is/],
    ['a camera that is a path', 'cameras', 'cameras: [{id: ../../outside, source: simulation}]', /cameras\.0\.id is/],
    ['a camera twice', 'cameras', 'cameras: [{id: a, source: simulation}, {id: a, source: simulation}]', /cameras.*same id/],
    ['a thousand cameras', 'cameras', `cameras: [${Array.from({ length: 1000 }, (_, index) => `{id: c${String(index)}, source: simulation}`).join()}]`, /cameras/],
    ['a camera in a file', 'cameras', 'cameras: [{id: a, source: mjpeg, url: "file:///etc/passwd"}]', /cameras\.0\.url is/],
    ['cameras that are none', 'cameras', 'cameras: [null, 1, "x", [], {}]', /cameras\.0/],
    ['cameras that are a map', 'cameras', 'cameras: {a: b}', /cameras/],
    ['a device of V4L2 that is a file', 'cameras', 'cameras: [{id: a, source: v4l2, url: /etc/passwd}]', /cameras\.0\.url is/],
    ['a decoder that is an option', 'cameras', 'cameras: [{id: a, source: rtsp, url: "rtsp://h/x", decoder: "-i /etc/passwd"}]', /cameras\.0\.decoder is/],
    ['a million seconds of silence', 'cameras', 'cameras: [{id: a, source: simulation, silentAfterSeconds: 1e12}]', /cameras\.0\.silentAfterSeconds is/],
    ['a schedule that counts to 10^9', 'rounds', 'rounds: {schedule: "0-999999999 * * * * *"}', /rounds\.schedule is/],
    ['a schedule of 60,000 letters', 'rounds', `rounds: {schedule: "${'1,'.repeat(30_000)}1 * * * *"}`, /rounds\.schedule is/],
    ['windows of 60,000 letters', 'rounds', `rounds: {windows: ["${'mon,'.repeat(15_000)}x"]}`, /rounds\.windows\.0 is/],
    ['infinity', 'rounds', 'rounds: {minutes: .inf}', /rounds\.minutes/],
    ['no number', 'rounds', 'rounds: {alpha: .nan}', /rounds\.alpha/],
    ['a port of 10^999', 'mqtt', 'mqtt: {port: 1e999}', /mqtt\.port/],
    ['bytes beyond counting', 'frames', 'frames: {maxBytes: 99999999999999999999999999}', /frames\.maxBytes is/],
    ['a topic of 60,000 levels', 'mqtt', `mqtt: {base: "${'a/'.repeat(30_000)}b"}`, /mqtt\.base is/],
    ['a topic with NUL', 'mqtt', 'mqtt: {base: "a\\0"}', /mqtt\.base is/],
    ['a topic that hears all', 'mqtt', 'mqtt: {base: "#"}', /mqtt\.base is/],
    ['a broker in a file', 'mqtt', `mqtt: {broker: "file://u:${secret}@/etc/passwd"}`, /mqtt\.broker is/],
    ['a password where none is', 'mqtt', `mqtt: {password: ${secret}}`, /mqtt\.password/],
    ['a password of another type', 'mqtt', `mqtt: {passwordFile: [${secret}]}`, /mqtt\.passwordFile/],
    ['a password that is an alias', 'mqtt', `mqtt: {passwordFile: *${secret}}`, /pawl\.yaml:\d+:\d+: a text that begins with \*/],
    ['a password that is a tag', 'mqtt', `mqtt: {passwordFile: !${secret} x}`, /pawl\.yaml:\d+:\d+/],
    ['a prototype', 'mqtt', '__proto__: {mqtt: {broker: x}}', /__proto__/],
    ['another prototype', 'mqtt', 'constructor: {prototype: {device: x}}', /constructor/],
    ['a function', 'device', 'device: !!js/function "function () {}"', /pawl\.yaml:\d+:\d+/],
    ['bytes', 'device', 'device: !!binary aGVsbG8=', /device is/],
    ['laughs', 'drift', `drift: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefghij'.split('').map((name, index) =>
      `${name}: &${name} [${Array.from({ length: 9 }, () => `*${'abcdefghij'[index] ?? ''}`).join()}]`).join('\n')}`, /alias/],
    ['an alias of itself', 'drift', 'drift: &a [*a]', /drift/],
    ['a key that is a list', 'drift', '? [a, b]\n: 1', /pawl\.yaml:\d+:\d+: a key is a word/],
    ['20,000 keys', 'drift', Array.from({ length: 20_000 }, (_, index) => `k${String(index)}: 1`).join('\n'), /k0/],
    ['a megabyte', 'drift', `# ${'x'.repeat(1_000_000)}`, /characters/],
    ['lists in lists', 'drift', `drift: ${'['.repeat(50_000)}`, /pawl\.yaml:\d+:\d+/],
    ['two documents', 'drift', '---\ndevice: x', /pawl\.yaml:\d+:\d+/],
  ]
}

/** Of a good configuration: a section to a line, as YAML flows. */
export function badConfigurations(good: Readonly<Record<string, unknown>>, secret: string): BadConfiguration[] {
  return lines(secret).map(([kind, section, text, names]) => ({ kind, names, text: `${flow(good, section)}${text}\n` }))
}

/** One that is damaged somewhere; null where it is a good one all the same. */
export function damagedConfiguration(good: Readonly<Record<string, unknown>>, random: Random): BadConfiguration | null {
  const whole = flow(good, '')
  const word = JSON.stringify(pick(random, words))
  const at = random.below(whole.length)
  const text = random.float() < 0.5 ? damaged(random, Buffer.from(whole)).toString('latin1') : `${whole.slice(0, at)}${word}${whole.slice(at + random.below(10))}`
  try {
    parseConfig(text, 'pawl.yaml')
    return null
  } catch {
    return { kind: 'damaged', text, names: /CONFIG_INVALID/ }
  }
}

function flow(good: Readonly<Record<string, unknown>>, without: string): string {
  return Object.entries(good).filter(([section]) => section !== without).map(([section, value]) => `${section}: ${JSON.stringify(value)}\n`).join('')
}
