/** All cameras of the box: each with its source, its watchdog and its sampler, none in the way of another. */
import { join } from 'node:path'
import { bundled, type CameraConfig } from '../config.js'
import type { CameraStatus, Frame } from '../events.js'
import type { Clock } from '../lib/clock.js'
import { InTurn } from '../lib/in-turn.js'
import { addressOf } from './address.js'
import { Camera } from './camera.js'
import { sourceOf } from './index.js'
import { Sampler } from './sampler.js'
import { Simulation } from './simulation.js'

export interface CamerasOptions {
  cameras: readonly CameraConfig[]
  /** The program that opens RTSP, V4L2 and video files; "": the one there is. */
  ffmpeg: string
  /** Folder where cameras keep how far they came. */
  memory: string
  /** Pixels a side of what the model that serves reads. */
  size: () => number
  clock: Clock
  random: () => number
  /** Awaited: a camera's next picture waits for it. */
  onFrame: (frame: Frame) => Promise<void>
  onStatus: (status: CameraStatus) => void
}

/** Pictures a second of the bundled belt, and pixels that it moves between two. */
const simulated = { picturesPerSecond: 10, speed: 24 }

export class Cameras {
  /** Simulated cameras by id: a demonstration changes their site. */
  readonly simulations = new Map<string, Simulation>()
  private readonly options: CamerasOptions
  private readonly running: Camera[] = []
  private readonly largeOnes = new InTurn()

  constructor(options: CamerasOptions) {
    this.options = options
  }

  /** Gives the address of each camera, for people, by its id. */
  async start(): Promise<Record<string, string>> {
    const addresses: Record<string, string> = {}
    for (const [index, wanted] of this.options.cameras.entries()) {
      const url = wanted.source === 'simulation' ? await this.simulate(wanted.id, index + 1) : wanted.url
      addresses[wanted.id] = URL.canParse(url) ? addressOf(url).shown : url
      this.watch({ ...wanted, url })
    }
    return addresses
  }

  async stop(): Promise<void> {
    await Promise.all(this.running.map(camera => camera.stop()))
    await Promise.all([...this.simulations.values()].map(simulation => simulation.stop()))
  }

  private watch(config: CameraConfig): void {
    const { ffmpeg, memory, size, clock, random, onFrame, onStatus } = this.options
    const sampler = new Sampler({ ...config, size, largeOnes: this.largeOnes })
    const camera = new Camera({
      id: config.id,
      source: sourceOf(config, ffmpeg, join(memory, `${config.id}.json`)),
      maxPerSecond: config.maxPerSecond,
      minPerSecond: config.minPerSecond,
      // One that is looked at once a minute is silent for longer than one that is looked at all the time.
      silentAfterMs: 1000 * Math.max(config.silentAfterSeconds, 2 / config.maxPerSecond),
      uselessAfterMs: config.uselessAfterSeconds * 1000,
      clock,
      random,
      onPicture: async picture => {
        for (const frame of await sampler.sample(picture)) await onFrame(frame)
      },
      onStatus,
    })
    camera.start()
    this.running.push(camera)
  }

  private async simulate(id: string, seed: number): Promise<string> {
    const simulation = new Simulation({ photographs: bundled('unlabeled'), seed, ...simulated })
    this.simulations.set(id, simulation)
    return simulation.start()
  }
}
