/**
 * All boxes as numbers for Prometheus: one series a box, with the label `device`. What a box has not said has no series, nor what is unknown while
 * it is offline.
 */
import { Gauge, Registry } from 'prom-client'
import type { Box, Boxes } from './boxes.js'

const is = <T>(value: T | undefined, wanted: T) => (value === undefined ? undefined : Number(value === wanted))
const seconds = (ms: number | undefined) => (ms === undefined ? undefined : ms / 1000)

const isHere = ({ values: { availability } }: Box) => availability === 'online'

/** In base units. */
const gauges: Record<string, { help: string; of: (box: Box) => number | null | undefined }> = {
  online: { help: 'Whether the box is connected to the broker', of: ({ values: { availability } }) => is(availability, 'online') },
  health_ok: { help: 'Whether nothing is wrong, by what the box says of itself', of: ({ values: { health } }) => is(health?.state, 'ok') },
  health_timestamp_seconds: { help: 'When the box last said how it is', of: ({ values: { health } }) => seconds(health?.atMs) },
  model_version: { help: 'Version of the model in service', of: ({ values }) => values['model/active']?.version },
  model_accuracy_ratio: { help: 'Of the model in service, on the promotion images', of: ({ values }) => values['model/active']?.accuracy },
  model_created_timestamp_seconds: { help: 'When the model in service was made', of: ({ values }) => seconds(values['model/active']?.createdAtMs) },
  promotes: { help: 'Whether a challenger that passes the gate is put in service; 0: one model is pinned, or learning is paused', of: ({ values }) => is(values['model/mode']?.kind, 'follow') },
  drift_alarm: { help: 'Whether the pictures are no longer what the model in service began with', of: ({ values: { drift } }) => is(drift?.state, 'alarm') },
  cameras: { help: 'Cameras of the box', of: ({ values: { health } }) => health?.cameras },
  cameras_online: { help: 'Cameras that send pictures, of a box that is online', of: box => (isHere(box) ? box.values.health?.camerasOnline : null) },
  frames: { help: 'Unlabeled frames on disk', of: ({ values: { health } }) => health?.frames },
  frame_bytes: { help: 'Bytes of unlabeled frames on disk', of: ({ values: { health } }) => health?.frameBytes },
  resident_memory_bytes: { help: 'Memory of the agent', of: ({ values: { health } }) => health?.rssBytes },
  collecting: { help: 'Whether frames are stored; 0: the disk is nearly full', of: ({ values: { health } }) => is(health?.collection?.state, 'running') },
  outbox_waiting: { help: 'Events that wait for the broker', of: ({ values: { health } }) => health?.outbox.waiting },
  outbox_dropped: { help: 'Events that were dropped since the agent\'s start, as more waited than it keeps', of: ({ values: { health } }) => health?.outbox.dropped },
  round_running: { help: 'Whether a round runs, at a box that is online', of: box => (isHere(box) ? is(box.values['train/state']?.state, 'running') : null) },
  round_promoted: { help: 'Whether the last round put its model in service', of: ({ values }) => is(values['model/candidate']?.promoted, true) },
  round_failed: { help: 'Whether the last round ended without a model to judge', of: ({ values }) => is(values['model/candidate']?.accuracyChallenger, null) },
  round_timestamp_seconds: { help: 'When the last round was decided', of: ({ values }) => seconds(values['model/candidate']?.decidedAtMs) },
}

export interface FleetMetricsOptions {
  boxes: Boxes
  isConnected: () => boolean
}

export class FleetMetrics {
  private readonly options: FleetMetricsOptions
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE

  constructor(options: FleetMetricsOptions) {
    this.options = options
  }

  /** One metric after the other: of thousands of boxes all at once would take much memory. */
  async text(): Promise<string> {
    const { boxes, isConnected } = this.options
    const own = new Registry()
    new Gauge({ name: 'pawl_fleet_broker_connected', help: 'Whether the MQTT broker is connected; while it is not, everything is as it last was', registers: [own] }).set(Number(isConnected()))
    new Gauge({ name: 'pawl_fleet_boxes', help: 'Boxes that the broker knows of', registers: [own] }).set(boxes.size)
    const passed = new Gauge({ name: 'pawl_fleet_passed_over_messages', help: 'Messages that made no sense, since the start', labelNames: ['why'], registers: [own] })
    for (const [why, count] of Object.entries(boxes.passedOver)) passed.set({ why }, count)
    const parts = [await own.metrics()]
    for (const [name, { help, of }] of Object.entries(gauges)) {
      const registry = new Registry()
      const gauge = new Gauge({ name: `pawl_fleet_${name}`, help, labelNames: ['device'], registers: [registry] })
      for (const box of boxes.all()) {
        const value = of(box)
        if (value !== undefined && value !== null) gauge.set({ device: box.device }, value)
      }
      parts.push(await registry.metrics())
    }
    return parts.join('\n')
  }
}
