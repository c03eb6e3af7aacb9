/**
 * The box as a device of Home Assistant, announced by MQTT device discovery: one retained message that names everything there is to see and to
 * do, all of it read from the topics that are there anyway (home-assistant.io/integrations/mqtt, "Device discovery payload").
 */
import type { Message } from './link.js'
import type { Verb } from './commands.js'
import { ofCamera, topics } from './topics.js'

export interface AnnouncedDevice {
  device: string
  version: string
  /** Topics of the box begin with it. */
  prefix: string
  cameras: readonly string[]
  /** Commands that are carried out: those that are off get no button. */
  accepted: readonly Verb[]
}

export interface Announcement {
  topic: string
  payload: Record<string, unknown> & { components: Record<string, { platform: string }> }
}

type Component = Record<string, unknown> & { platform: 'sensor' | 'binary_sensor' | 'button'; name: string }

/** Where Home Assistant says that it has started, and wants to hear everything again. */
export const birthTopic = (discoveryPrefix: string) => `${discoveryPrefix}/status`

export function announcement(discoveryPrefix: string, announced: AnnouncedDevice): Announcement {
  const { device, version, prefix, cameras, accepted } = announced
  const at = (topic: string) => `${prefix}/${topic}`
  const each = cameras.map(camera => componentsOfCamera(camera, at))
  const named = { ...componentsOfBox(at, accepted), ...Object.assign({}, ...each) as Record<string, Component> }
  const components = Object.fromEntries(Object.entries(named)
    .map(([id, component]) => [id, { ...component, unique_id: `pawl_${device}_${id}` }]))
  return {
    topic: `${discoveryPrefix}/device/pawl_${device}/config`,
    payload: {
      device: { identifiers: [`pawl_${device}`], name: device, manufacturer: 'pawl', model: 'agent', sw_version: version },
      origin: { name: 'pawl', sw_version: version },
      availability: [{ topic: at(topics.availability.topic) }],
      components,
      qos: 1,
    },
  }
}

/** Platforms of the components by their names. */
export function platformsOf({ payload: { components } }: Announcement): Record<string, string> {
  return Object.fromEntries(Object.entries(components).map(([id, { platform }]) => [id, platform]))
}

/**
 * What is sent to announce it. Components that are gone (platforms by name) are first announced with their platform alone, which takes them away
 * there, then left out.
 */
export function announcements({ topic, payload }: Announcement, gone: Readonly<Record<string, string>>): Message[] {
  const tombstones = Object.fromEntries(Object.entries(gone).map(([id, platform]) => [id, { platform }]))
  const all = Object.keys(gone).length ? [{ ...payload, components: { ...payload.components, ...tombstones } }, payload] : [payload]
  return all.map(one => ({ topic, payload: JSON.stringify(one), qos: 1, retained: true }))
}

const diagnostic = { entity_category: 'diagnostic' } as const
/** `on` and `off` by a condition on the payload. */
const whether = (condition: string) => ({ platform: 'binary_sensor', value_template: `{{ 'ON' if ${condition} else 'OFF' }}` }) as const
/** A share as per cent; nothing while there is none. */
const percent = (value: string) => ({
  platform: 'sensor', value_template: `{{ (value_json.${value} * 100) | round(1) if value_json.${value} is not none else none }}`,
  unit_of_measurement: '%', state_class: 'measurement',
}) as const

/** Commands that have a button, and what they are asked with. */
const buttons = {
  train: { name: 'Train now', asked: { reason: 'Home Assistant' } },
  rollback: { name: 'Put the former model back', asked: {} },
  pause: { name: 'Pause learning', asked: {} },
  follow: { name: 'Go on learning', asked: {} },
} as const satisfies Partial<Record<Verb, { name: string; asked: object }>>

function componentsOfBox(at: (topic: string) => string, accepted: readonly Verb[]): Record<string, Component> {
  const [active, train, health, drift, mode, probation] = [
    topics.modelActive, topics.trainState, topics.health, topics.drift, topics.modelMode, topics.modelProbation,
  ].map(({ topic }) => at(topic))
  const pressed = Object.entries(buttons).filter(([verb]) => accepted.some(other => other === verb)).map(([verb, { name, asked }]) => [verb, {
    platform: 'button', name, command_topic: at(topics.request.topic.replace('{verb}', verb)), payload_press: JSON.stringify(asked),
  }] as const)
  return {
    model: { platform: 'sensor', name: 'Model', state_topic: active, value_template: '{{ value_json.version }}', json_attributes_topic: active },
    accuracy: { ...percent('accuracy'), name: 'Accuracy', state_topic: active },
    mode: { platform: 'sensor', name: 'Mode', state_topic: mode, value_template: '{{ value_json.kind }}', json_attributes_topic: mode },
    probation: {
      platform: 'sensor', name: 'Probation', state_topic: probation, value_template: '{{ value_json.state }}', json_attributes_topic: probation,
    },
    round: { platform: 'sensor', name: 'Round', state_topic: train, value_template: '{{ value_json.phase or value_json.state }}', json_attributes_topic: train },
    progress: { ...percent('fraction'), name: 'Round progress', state_topic: train },
    drift: { ...whether('value_json.state == \'alarm\''), name: 'Drift', device_class: 'problem', state_topic: drift, json_attributes_topic: drift },
    health: { ...whether('value_json.state != \'ok\''), ...diagnostic, name: 'Health', device_class: 'problem', state_topic: health, json_attributes_topic: health },
    frames: { platform: 'sensor', ...diagnostic, name: 'Frames', state_topic: health, value_template: '{{ value_json.frames }}', state_class: 'measurement' },
    ...Object.fromEntries(pressed),
  }
}

function componentsOfCamera(camera: string, at: (topic: string) => string): Record<string, Component> {
  const [status, prediction] = [topics.cameraStatus, topics.cameraPrediction].map(({ topic }) => at(ofCamera(topic, camera)))
  return {
    [`${camera}_class`]: {
      platform: 'sensor', name: `${camera} class`, state_topic: prediction, value_template: '{{ value_json.label }}', json_attributes_topic: prediction,
    },
    [`${camera}_confidence`]: { ...percent('confidence'), name: `${camera} confidence`, state_topic: prediction },
    [`${camera}_online`]: {
      ...whether('value_json.state == \'online\''), ...diagnostic, name: camera, device_class: 'connectivity', state_topic: status, json_attributes_topic: status,
    },
  }
}
