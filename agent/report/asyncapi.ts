/**
 * The MQTT contract as an AsyncAPI 3.0 document, from the same tables and schemas that the agent speaks by
 * (asyncapi.com/docs/reference/specification/v3.0.0).
 */
import { z } from 'zod'
import { withoutPasswords } from '../lib/logger.js'
import { CameraStatusSchema, DriftAlarmSchema, PredictionSchema, PromotionRecordSchema } from '../schemas.js'
import { commands, type Verb } from './commands.js'
import { clientIdOf, responseOf, topics, type Topic } from './topics.js'

export interface Described {
  version: string
  base: string
  /** Null: any box; its name is then a parameter of every topic. */
  device: string | null
  /** Null: any. */
  cameras: readonly string[] | null
  accepted: readonly Verb[]
  /** URL of the broker and version of MQTT; null: not known. */
  broker: { url: string; protocol: '3.1.1' | '5' } | null
}

type Json = Record<string, unknown>
const ref = (...path: string[]) => ({ $ref: `#/${path.join('/')}` })

export function asyncApi(described: Described): Json {
  const { version, base, broker, device, accepted } = described
  const all: [string, Topic][] = Object.entries(topics)
  const stated = all.filter(([name]) => name !== 'request' && name !== 'response')
  const sent = new Schemas('output', shared)
  const taken = new Schemas('input')
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'pawl', version,
      description: 'What a box says over MQTT, and what it can be asked. Times are milliseconds since 1970. An answer carries the `transaction` of its request.',
    },
    defaultContentType: 'application/json',
    ...broker && device !== null && { servers: { broker: server(broker, device, base) } },
    channels: Object.fromEntries([
      ...stated.map(([name, { topic, description }]) => [name, channel(described, { topic, message: name, description })]),
      ...accepted.flatMap(verb => [['request', commands[verb].description], ['response', topics.response.description]].map(([way = '', description = '']) =>
        [`${way}-${verb}`, channel(described, { topic: `${way}/${verb}`, message: `${way}-${verb}`, description })])),
    ]),
    operations: Object.fromEntries([
      ...stated.map(([name, topic]) => [`send-${name}`, {
        action: 'send', ...at(name), summary: topic.description, bindings: mqtt(topic),
      }]),
      ...accepted.map(verb => [`take-${verb}`, {
        action: 'receive', ...at(`request-${verb}`), reply: at(`response-${verb}`), summary: commands[verb].description, bindings: mqtt(topics.request),
      }]),
    ]),
    components: {
      messages: Object.fromEntries<Json>([
        ...stated.map(([name, { payload, description }]): [string, Json] => [name, {
          name, summary: description, payload: sent.add(name, payload), ...name === 'availability' && { contentType: 'text/plain' },
        }]),
        ...accepted.flatMap(verb => [
          command(`request-${verb}`, `${commands[verb].description}. An empty message counts as {}`, taken.add(`request-${verb}`, commands[verb].payload)),
          command(`response-${verb}`, `The answer to ${verb}`, sent.add(`response-${verb}`, responseOf(commands[verb].reply))),
        ]),
      ]),
      schemas: { ...sent.all(), ...taken.all() },
    },
  }
}

/** A channel and the one message in it, which has its name. */
const at = (name: string) => ({ channel: ref('channels', name), messages: [ref('channels', name, 'messages', name)] })

const mqtt = ({ qos, retained }: Pick<Topic, 'qos' | 'retained'>) => ({ mqtt: { qos, retain: retained, bindingVersion: '0.2.0' } })

const command = (name: string, summary: string, payload: Json): [string, Json] =>
  [name, { name, summary, payload, correlationId: { location: '$message.payload#/transaction' } }]

function channel(
  { base, device, cameras }: Described, { topic, message, description }: { topic: string; message: string; description: string },
): Json {
  const parameters = {
    ...device === null && { device: { description: 'Name of the box, the key `device` of its configuration' } },
    ...topic.includes('{camera}') && { camera: { description: 'Name of the camera', ...cameras && { enum: [...cameras] } } },
  }
  return {
    address: `${base}/${device ?? '{device}'}/${topic}`, description, messages: { [message]: ref('components', 'messages', message) },
    ...Object.keys(parameters).length && { parameters },
  }
}

function server({ url, protocol }: NonNullable<Described['broker']>, device: string, base: string): Json {
  const { host, protocol: scheme, pathname } = new URL(withoutPasswords(url))
  const { topic, qos, retained: retain } = topics.availability
  return {
    host, ...pathname !== '/' && pathname !== '' && { pathname },
    protocol: { 'mqtt:': 'mqtt', 'mqtts:': 'secure-mqtt', 'ws:': 'ws', 'wss:': 'wss' }[scheme] ?? 'mqtt', protocolVersion: protocol,
    bindings: {
      mqtt: {
        clientId: clientIdOf(device), cleanSession: true, bindingVersion: '0.2.0',
        lastWill: { topic: `${base}/${device}/${topic}`, qos, retain, message: 'offline' },
      },
    },
  }
}

/** Shapes that several messages share, by the name that they get. */
const shared = {
  CameraStatus: CameraStatusSchema, DriftAlarm: DriftAlarmSchema, Prediction: PredictionSchema, PromotionRecord: PromotionRecordSchema,
}

/** Schemas by name, those that are used twice written once, as JSON Schema of draft 7: AsyncAPI's own are a superset of it. */
class Schemas {
  private readonly io: 'input' | 'output'
  private readonly registry = z.registry<{ id: string }>()

  constructor(io: 'input' | 'output', named: Record<string, z.ZodType> = {}) {
    this.io = io
    for (const [id, schema] of Object.entries(named)) this.registry.add(schema, { id })
  }

  /** Gives the reference to it. */
  add(name: string, schema: z.ZodType): Json {
    const { id } = this.registry.get(schema) ?? { id: name }
    this.registry.add(schema, { id })
    return ref('components', 'schemas', id)
  }

  all(): Json {
    const { schemas } = z.toJSONSchema(this.registry, {
      target: 'draft-7', io: this.io, uri: id => ref('components', 'schemas', id).$ref, override: ({ jsonSchema }) => { plain(jsonSchema as Json) },
    })
    return Object.fromEntries(Object.entries(schemas).map(([id, { $schema: _schema, $id: _id, ...schema }]) => [id, schema]))
  }
}

/** Bounds that only say what a JavaScript number can hold say nothing. */
function plain(schema: Json): void {
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum
  if (schema.minimum === Number.MIN_SAFE_INTEGER) delete schema.minimum
}
