/**
 * A process of many boxes, each with the agent's own reporter: what they send, keep, and do when the broker is away is what boxes do. It hears of
 * events that somebody made up: a model in service, cameras that are online, pictures whose class stays.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AgentEvent } from '../../agent/events.js'
import type { Reporter } from '../../agent/report/reporter.js'
import { decisionOf, modelOf } from '../fleet/decision.js'
import { makeReporter } from '../reporting.js'

export interface BoxesOptions {
  url: string
  /** File of who signed the broker's certificate; "": no TLS. */
  ca: string
  /** Number of the first one. */
  first: number
  boxes: number
  /** Of each box, and seconds between two messages of its state. */
  cameras: number
  cameraSeconds: number
  /** `mqtt.predictionEveryMs`, in seconds; 0: no predictions. */
  predictionSeconds: number
  longestWaitMs: number
  /** Boxes that begin each second. */
  perSecond: number
}

/** Said every second, and when a connection comes or goes. */
export interface BoxesState {
  /** Boxes whose connection stands. */
  connected: number
  /** Of the processor so far, in milliseconds. */
  cpuMs: number
}

class Box {
  private readonly reporter: Reporter
  private readonly options: BoxesOptions

  constructor(options: BoxesOptions, { device, folder, onBroker }: { device: string; folder: string; onBroker: (up: boolean) => void }) {
    const { url, ca, longestWaitMs, predictionSeconds, cameras } = options
    this.options = options
    this.reporter = makeReporter(url, folder, {
      device, cameras: Array.from({ length: cameras }, (_, index) => `cam-${String(index)}`), predictionEveryMs: 1000 * predictionSeconds, eventsPerSecond: 20,
      vacantMs: 60_000, echoMs: 30_000, random: Math.random, connection: { longestWaitMs, tls: { ca, cert: '', key: '' } },
      emit: event => { if (event.type === 'broker') onBroker(event.state === 'connected') },
    })
  }

  async start(): Promise<void> {
    await this.reporter.start()
    const decision = decisionOf({
      round: 1, promoted: true, reason: 'better', champion: null, accuracyChampion: null, accuracyChallenger: 0.9, decidedAtMs: Date.now(),
    })
    this.reporter.accept({ type: 'model-active', loadedInMs: 140, lineage: null, model: modelOf({ version: 1, accuracy: 0.9, decision }) })
    this.state()
    // Boxes do not begin at one moment.
    const every = (seconds: number, what: () => void) => setTimeout(() => {
      what()
      setInterval(what, 1000 * seconds)
    }, 1000 * seconds * Math.random())
    every(this.options.cameraSeconds, () => { this.state() })
    // A picture may come a little before the prediction of the one before is old enough.
    if (this.options.predictionSeconds > 0) every(1.01 * this.options.predictionSeconds, () => { this.predict() })
  }

  private state(): void {
    this.ofEach(camera => ({
      type: 'camera', status: { camera, state: 'online', lastPictureAtMs: Date.now(), picturesPerSecond: 5.25, restarts: 0, reason: null },
    }))
  }

  private predict(): void {
    const probabilities = { bag: 0.91, dress: 0.05, trouser: 0.04 }
    this.ofEach(camera => ({
      type: 'prediction', prediction: { camera, capturedAtMs: Date.now(), label: 'bag', confidence: 0.91, probabilities, model: 1, latencyMs: 12.5 },
    }))
  }

  private ofEach(event: (camera: string) => AgentEvent): void {
    for (let index = 0; index < this.options.cameras; index++) this.reporter.accept(event(`cam-${String(index)}`))
  }
}

async function run(options: BoxesOptions): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'pawl-boxes-'))
  process.on('disconnect', () => { void rm(folder, { recursive: true, force: true }).then(() => { process.exit(0) }) })
  const up = new Set<string>()
  const tell = () => {
    const { user, system } = process.cpuUsage()
    if (process.connected) process.send?.({ connected: up.size, cpuMs: (user + system) / 1000 } satisfies BoxesState)
  }
  setInterval(tell, 1000)
  for (let index = 0; index < options.boxes; index++) {
    const device = `box-${String(options.first + index).padStart(6, '0')}`
    const onBroker = (isUp: boolean) => {
      if (isUp) up.add(device)
      else up.delete(device)
      tell()
    }
    const box = new Box(options, { device, folder: join(folder, device), onBroker })
    void box.start()
    await sleep(1000 / options.perSecond)
  }
}

process.once('message', (options: BoxesOptions) => { void run(options) })
