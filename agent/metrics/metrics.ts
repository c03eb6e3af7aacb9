/** The agent's events as numbers for Prometheus. Names and units as its conventions have them: base units, `_total` for what only grows. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { CameraStatus, AgentEvent } from '../events.js'
import { calibrationErrorOf } from '../figures.js'
import type { Mode } from '../registry/state.js'

export class Metrics {
  private readonly registry = new Registry()
  private readonly all: Registry
  private readonly gauges: ReturnType<typeof gaugesIn>
  private readonly counters: ReturnType<typeof countersIn>
  private readonly latency: Histogram<'camera'>
  private readonly restarts = new Map<string, number>()
  private gateOpen = false

  constructor({ device, version }: { device: string; version: string }) {
    const registers = [this.registry]
    this.gauges = gaugesIn(registers)
    this.counters = countersIn(registers)
    this.latency = new Histogram({
      name: 'pawl_prediction_seconds', help: 'From a frame to its prediction', labelNames: ['camera'], registers,
      buckets: [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1],
    })
    this.gauges.info.set({ version }, 1)
    this.all = Registry.merge([processMetrics(), this.registry])
    this.all.setDefaultLabels({ device })
  }

  /** What there is from before this start. */
  begin({ frames, frameBytes, mode }: { frames: number; frameBytes: number; mode: Mode }): void {
    this.gauges.frames.set(frames)
    this.gauges.frameBytes.set(frameBytes)
    this.gauges.collecting.set(1)
    this.gauges.follows.set(mode.kind === 'follow' ? 1 : 0)
  }

  get contentType(): string {
    return this.registry.contentType
  }

  text(): Promise<string> {
    return this.all.metrics()
  }

  accept(event: AgentEvent): void {
    const { gauges, counters } = this
    switch (event.type) {
      case 'camera': return this.camera(event.status)
      case 'frame-stored':
        gauges.frames.set(event.frames)
        gauges.frameBytes.set(event.bytes)
        counters.stored.inc({ camera: event.camera, reason: event.reason })
        return
      case 'prediction': {
        const { camera, label, latencyMs } = event.prediction
        counters.predictions.inc({ camera, label })
        this.latency.observe({ camera }, latencyMs / 1000)
        return
      }
      case 'round-started':
        gauges.training.set(1)
        gauges.progress.set(0)
        gauges.paused.set(0)
        this.gateOpen = false
        return
      case 'round-event':
        if (event.event.type === 'gate') this.gate(event.event.look.open)
        if (event.event.type === 'progress') gauges.progress.set(event.event.fraction)
        if (event.event.type === 'pause') gauges.paused.set(event.event.reason === null ? 0 : 1)
        return
      case 'round-ended': {
        const { decision: { promoted, reason, accuracyChampion, accuracyChallenger, from } } = event
        gauges.training.set(0)
        gauges.paused.set(0)
        // Nothing was learned: it is none of the rounds that a box is to have.
        if (from) {
          counters.offers.inc({ outcome: promoted ? 'promoted' : reason })
          return
        }
        counters.rounds.inc({ outcome: promoted ? 'promoted' : reason })
        if (accuracyChampion !== null) gauges.lastAccuracy.set({ of: 'champion' }, accuracyChampion)
        if (accuracyChallenger !== null) gauges.lastAccuracy.set({ of: 'challenger' }, accuracyChallenger)
        return
      }
      case 'round-refused-to-start':
        counters.rounds.inc({ outcome: 'not-started' })
        return
      case 'model-active': {
        const { version, createdAtMs } = event.model
        gauges.model.set(version)
        gauges.modelCreated.set(createdAtMs / 1000)
        gauges.modelEce.set(calibrationErrorOf(event.model))
        return
      }
      case 'probation':
        gauges.probation.set(event.record.state === 'running' ? 1 : 0)
        if (event.record.state !== 'running') counters.probations.inc({ outcome: event.record.reason ?? event.record.state })
        return
      case 'mode':
        gauges.follows.set(event.mode.kind === 'follow' ? 1 : 0)
        return
      case 'drift':
        gauges.drift.set(event.state === 'alarm' || event.state === 'still' ? 1 : 0)
        return
      case 'quarantine':
        counters.quarantined.inc()
        return
      case 'offer':
        return
      case 'broker':
        gauges.broker.set(event.state === 'connected' ? 1 : 0)
        return
      case 'collection':
        gauges.collecting.set(event.state === 'running' ? 1 : 0)
        return
      case 'problem':
        counters.problems.inc({ code: event.code })
    }
  }

  private gate(open: boolean): void {
    if (open && !this.gateOpen) this.counters.gateOpenings.inc()
    this.gateOpen = open
  }

  private camera({ camera, state, lastPictureAtMs, picturesPerSecond, restarts }: CameraStatus): void {
    this.gauges.cameraOnline.set({ camera }, state === 'online' ? 1 : 0)
    this.gauges.cameraRate.set({ camera }, picturesPerSecond)
    if (lastPictureAtMs !== null) this.gauges.cameraNewest.set({ camera }, lastPictureAtMs / 1000)
    this.counters.restarts.inc({ camera }, Math.max(0, restarts - (this.restarts.get(camera) ?? 0)))
    this.restarts.set(camera, restarts)
  }
}

let ofProcess: Registry | null = null

/** Of the process, whose observers are started once however many agents follow each other in it. */
function processMetrics(): Registry {
  if (ofProcess) return ofProcess
  ofProcess = new Registry()
  collectDefaultMetrics({ register: ofProcess, prefix: 'pawl_' })
  // Gauges with the name of a counter: Prometheus's own check refuses them.
  for (const what of ['handles', 'requests', 'resources']) ofProcess.removeSingleMetric(`pawl_nodejs_active_${what}_total`)
  return ofProcess
}

function gaugesIn(registers: Registry[]) {
  const gauge = <Name extends string = never>(name: string, help: string, labelNames: Name[] = []) =>
    new Gauge<Name>({ name: `pawl_${name}`, help, labelNames, registers })
  return {
    info: gauge('info', 'Always 1; the version of the agent', ['version']),
    cameraOnline: gauge('camera_online', 'Whether a camera sends pictures', ['camera']),
    cameraRate: gauge('camera_pictures_per_second', 'Pictures that a camera sends a second; told every minute', ['camera']),
    cameraNewest: gauge('camera_newest_picture_timestamp_seconds', 'When the newest picture of a camera came; told every minute', ['camera']),
    frames: gauge('frames', 'Unlabeled frames on disk'),
    frameBytes: gauge('frame_bytes', 'Bytes of unlabeled frames on disk'),
    collecting: gauge('collecting', 'Whether frames are stored; 0: the disk is nearly full'),
    training: gauge('round_running', 'Whether a round runs'),
    paused: gauge('round_paused', 'Whether the round stands still because the box is hot or predictions come late'),
    progress: gauge('round_progress_ratio', 'Part of the newest round that is done'),
    lastAccuracy: gauge('round_accuracy_ratio', 'On the promotion images, of the newest round that was decided', ['of']),
    model: gauge('model_version', 'Version of the model in service; 0: none'),
    modelCreated: gauge('model_created_timestamp_seconds', 'When the model in service was made'),
    modelEce: gauge('model_calibration_error_ratio', 'Expected calibration error of the model in service, on the promotion images of its round'),
    probation: gauge('probation_running', 'Whether the model in service is compared with the one before it'),
    follows: gauge('promotes', 'Whether a challenger that passes the gate is put in service; 0: one model is pinned, or learning is paused'),
    drift: gauge('drift_alarm', 'Whether the pictures are no longer what the model in service began with'),
    broker: gauge('broker_connected', 'Whether the MQTT broker is connected'),
  }
}

function countersIn(registers: Registry[]) {
  const counter = <Name extends string = never>(name: string, help: string, labelNames: Name[] = []) =>
    new Counter<Name>({ name: `pawl_${name}_total`, help, labelNames, registers })
  return {
    restarts: counter('camera_restarts', 'Times that a camera was started again', ['camera']),
    stored: counter('frames_stored', 'Frames stored, by why', ['camera', 'reason']),
    predictions: counter('predictions', 'Frames classified', ['camera', 'label']),
    rounds: counter('rounds', 'Rounds that ended, by what came of them', ['outcome']),
    offers: counter('offers_judged', 'Models of other boxes that were judged here, by what came of them', ['outcome']),
    gateOpenings: counter('gate_openings', 'Times that the gate opened, so that pseudo-labels counted'),
    probations: counter('probations', 'Probations that ended: passed, why the former model came back, or ended where another was put in service', ['outcome']),
    quarantined: counter('quarantined', 'Images put aside because they could not be read'),
    problems: counter('problems', 'Things that went wrong, by their code', ['code']),
  }
}
