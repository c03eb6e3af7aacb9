import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv, type AnySchema } from 'ajv'
import { connectAsync } from 'mqtt'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ended } from '../agent/lib/child.js'
import { verbs } from '../agent/report/commands.js'
import { topics, type Topic } from '../agent/report/topics.js'
import { freePort } from './free-port.js'
import { copyLabels } from './site/labels.js'
import { mosquitto, startMosquitto } from './site/mosquitto.js'
import { SparkplugHost } from './sparkplug-host.js'

const waiting = { timeout: 150_000, interval: 50 }
const main = join(import.meta.dirname, '..', 'dist', 'agent', 'main.js')
const cleanups: (() => Promise<unknown>)[] = []
let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pawl-asyncapi-'))
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(folder, { recursive: true, force: true })
})

interface Reference { $ref: string }
interface Operation {
  action: 'send' | 'receive'
  channel: Reference
  messages: Reference[]
  reply?: { channel: Reference; messages: Reference[] }
  bindings: { mqtt: { qos: number; retain: boolean } }
}
interface Document {
  asyncapi: string
  servers?: Record<string, { host: string; protocol: string; bindings: { mqtt: { clientId: string; lastWill: { topic: string } } } }>
  channels: Record<string, { address: string; messages: Record<string, Reference>; parameters?: Record<string, { enum?: string[] }> }>
  operations: Record<string, Operation>
  components: { messages: Record<string, { payload: Reference; contentType?: string }> }
}

async function printed(...args: string[]): Promise<string> {
  const child = spawn(process.execPath, [main, 'mqtt', 'schema', ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (part: string) => { text += part })
  expect(await new Promise(resolve => child.once('close', resolve))).toBe(0)
  return text
}

async function documentOf(config: string): Promise<Document> {
  const file = join(folder, 'pawl.yaml')
  await writeFile(file, config)
  return JSON.parse(await printed('--config', file)) as Document
}

/** Checks a document against the schema that AsyncAPI publishes of its own format. */
function checked(document: unknown): void {
  const require = createRequire(import.meta.url)
  const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false, meta: false, validateSchema: false })
  const valid = ajv.compile(require('@asyncapi/specs/schemas/3.0.0.json') as AnySchema)
  expect(valid(document), JSON.stringify(valid.errors?.slice(0, 5), null, 1)).toBe(true)
  for (const wrong of [{ info: {} }, { operations: { x: { action: 'shout' } } }]) expect(valid({ ...document as object, ...wrong })).toBe(false)
}

describe('the AsyncAPI document', () => {
  it('is valid, is the one in the repository (else: npx vitest run test/asyncapi.test.ts -u), and names every topic and command as it is', async () => {
    const text = await printed()
    await expect(text).toMatchFileSnapshot('../agent/report/asyncapi.json')
    const document = JSON.parse(text) as Document
    checked(document)

    const sent = Object.values(document.operations).filter(({ action }) => action === 'send')
    const seen = sent.map(({ channel, bindings: { mqtt } }) => ({ address: at(document, channel).address, qos: mqtt.qos, retained: mqtt.retain }))
    const all: Topic[] = Object.values(topics)
    const stated = all.filter(({ topic }) => !topic.includes('{verb}'))
    expect(seen).toEqual(stated.map(({ topic, qos, retained }) => ({ address: `pawl/{device}/${topic}`, qos, retained })))

    const taken = Object.values(document.operations).filter(({ action }) => action === 'receive')
    expect(taken.map(({ channel, reply }) => [at(document, channel).address, reply && at(document, reply.channel).address]))
      .toEqual(verbs.map(verb => [`pawl/{device}/request/${verb}`, `pawl/{device}/response/${verb}`]))
    for (const { address, parameters = {} } of Object.values(document.channels)) {
      expect([...address.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)).toEqual(Object.keys(parameters))
    }
  })

  it('is that of a box where a configuration is given: its names, its broker without the password, its commands', async () => {
    const document = await documentOf(`{device: box-3, cameras: [{id: door, source: simulation}, {id: gate, source: simulation}],
      mqtt: {broker: 'mqtts://user:hush@broker.example:8883', base: site/north, protocol: '5', commands: [status]}}`)
    checked(document)
    expect(JSON.stringify(document)).not.toContain('hush')
    expect(document.servers?.broker).toMatchObject({
      host: 'broker.example:8883', protocol: 'secure-mqtt', bindings: { mqtt: { clientId: 'pawl-box-3', lastWill: { topic: 'site/north/box-3/availability' } } },
    })
    expect(Object.values(document.channels).every(({ address }) => address.startsWith('site/north/box-3/'))).toBe(true)
    expect(document.channels.cameraStatus?.parameters?.camera?.enum).toEqual(['door', 'gate'])
    expect(Object.keys(document.operations).filter(name => name.startsWith('take-'))).toEqual(['take-status'])
  })

  // Trains a first model: some of a minute on two cores. Sparkplug is listened to beside it.
  it.skipIf(!mosquitto)('describes every message of a real agent, from its start over a first model to its end', async () => {
    const { url, stop } = await startMosquitto({ folder, port: await freePort() })
    cleanups.push(stop)
    for (const part of ['labeled', 'validation'] as const) await copyLabels(part, part === 'labeled' ? 10 : 20, join(folder, part))
    const document = await documentOf(`{device: box-3, data: data, monitoring: {port: 0}, labels: {import: labeled, importValidation: validation},
      rounds: {firstMinutes: 0.15, minutes: 0.15, priority: low, backend: onnxruntime, lanes: 1},
      mqtt: {broker: '${url}', predictionEveryMs: 200, commands: [train, status], sparkplug: {group: plant}}}`)
    const verdict = judge(document)
    const client = await connectAsync(url, { reconnectPeriod: 0 })
    cleanups.push(() => client.endAsync(true))
    const seen = new Map<string, number>()
    const times = (channel: string) => seen.get(channel) ?? 0
    const last = { promoted: false }
    const wrong: string[] = []
    const host = new SparkplugHost({ group: 'plant', edgeNode: 'box-3' })
    client.on('message', (topic, payload, { qos, retain }) => {
      if (topic.startsWith('spBv1.0/')) { host.take({ topic, payload, qos, retain }); return }
      if (topic.includes('/request/')) return
      const { channel, problem } = verdict(topic, payload.toString(), qos)
      seen.set(channel, times(channel) + 1)
      if (channel === 'modelCandidate') Object.assign(last, JSON.parse(payload.toString()))
      if (problem !== null || retain) wrong.push(`${topic}: ${problem ?? 'retained'}: ${payload.toString().slice(0, 300)}`)
    })
    await client.subscribeAsync(['pawl/#', 'spBv1.0/#'], { qos: 1 })
    const agent = spawn(process.execPath, [main, 'run', '--config', join(folder, 'pawl.yaml')], { stdio: ['ignore', 'ignore', 'inherit'] })
    cleanups.push(async () => {
      agent.kill('SIGKILL')
      await ended(agent)
    })
    const ask = (verb: string, payload: string) => client.publishAsync(`pawl/box-3/request/${verb}`, payload, { qos: 1 })
    // On a slow machine the first round may come to too little.
    for (let rounds = 0; !last.promoted; rounds++) {
      if (rounds > 0) await ask('train', '{"transaction":"0"}')
      await vi.waitFor(() => { expect(times('modelCandidate')).toBeGreaterThan(rounds) }, waiting)
    }
    await vi.waitFor(() => { expect(times('modelActive')).toBeGreaterThan(0) }, waiting)
    const [rounds, asked] = [times('modelCandidate'), times('response-train')]
    await ask('status', '{"transaction":"1"}')
    await ask('train', '{"transaction":"2","reason":"test"}')
    await ask('train', '{"transaction":"3"}')
    await ask('train', '{"nonsense":true}')
    await vi.waitFor(() => { expect([times('response-status'), times('response-train')]).toEqual([1, asked + 3]) }, waiting)
    await vi.waitFor(() => { expect(times('modelCandidate')).toBe(rounds + 1) }, waiting)
    await vi.waitFor(() => { expect(host.device('belt').values.get('Prediction/Class')).toBeTypeOf('string') }, waiting)
    expect(host.node.values.get('Decision/Round')).toBe(rounds + 1)
    expect(host.node.values.get('Model/Accuracy')).toBeGreaterThan(0)
    agent.kill('SIGTERM')
    await ended(agent)
    await vi.waitFor(() => { expect(host.node.online).toBe(false) }, waiting)
    expect(host.violations).toEqual([])
    await vi.waitFor(() => { expect(times('availability')).toBe(2) }, waiting)
    expect(wrong).toEqual([])
    // A first model has no predecessor that it is compared with, and without a registry nothing is offered.
    expect([...seen.keys(), 'modelProbation', 'modelOffer'].sort()).toEqual(Object.keys(document.channels).filter(name => !name.startsWith('request-')).sort())
  }, 300_000)
})

/** A component that is referred to. */
function at(document: Document, { $ref }: Reference): Document['channels'][string] {
  const [, name = ''] = /^#\/channels\/([\w-]+)$/.exec($ref) ?? []
  const channel = document.channels[name]
  if (!channel) throw new Error(`there is no ${$ref}`)
  return channel
}

interface Verdict { channel: string; problem: string | null }

/** Judges messages by the document alone. */
function judge(document: Document): (topic: string, text: string, qos: number) => Verdict {
  const ajv = new Ajv({ strict: false })
  ajv.addSchema(document, 'document')
  const rows = Object.entries(document.channels).map(([name, { address, messages }]) => {
    const [message = ''] = Object.keys(messages)
    const { payload, contentType = 'application/json' } = document.components.messages[message]!
    return {
      name, plain: contentType === 'text/plain', valid: ajv.compile({ $ref: `document${payload.$ref}` }),
      topic: new RegExp(`^${address.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
      qos: Object.values(document.operations).find(({ action, channel }) => action === 'send' && channel.$ref === `#/channels/${name}`)?.bindings.mqtt.qos ?? 1,
    }
  })
  return (topic, text, qos) => {
    const row = rows.find(one => one.topic.test(topic))
    if (!row) return { channel: topic, problem: 'no channel of the document' }
    if (qos !== row.qos) return { channel: row.name, problem: `QoS ${String(qos)}` }
    const value: unknown = row.plain ? text : JSON.parse(text)
    return { channel: row.name, problem: row.valid(value) ? null : ajv.errorsText(row.valid.errors) }
  }
}
