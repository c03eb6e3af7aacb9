/** A fleet for tests: boxes that are none at a real broker, and the server that follows them. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { vi } from 'vitest'
import { fleetConfig } from '../../agent/fleet/config.js'
import { Fleet } from '../../agent/fleet/fleet.js'
import { systemClock } from '../../agent/lib/clock.js'
import { createLogger } from '../../agent/lib/logger.js'
import { freePort } from '../free-port.js'
import { quiet, Simulation, type SimulationOptions } from './simulate.js'

/** All of them are online. */
export async function simulate(url: string, boxes: number, more: Partial<SimulationOptions> = {}): Promise<Simulation> {
  const simulation = new Simulation({ ...quiet, url, boxes, ...more })
  await simulation.start()
  for (const box of simulation.boxes) box.setOnline(true)
  await simulation.sent()
  return simulation
}

export interface Served {
  folder: string
  broker: string
  answerSeconds?: number
  passwordFile?: string
  port?: number
}

/** Resolves when it knows all boxes. */
export async function serve({ folder, broker, answerSeconds = 3, passwordFile = '', port }: Served): Promise<{ url: string; fleet: Fleet }> {
  const file = join(folder, 'fleet.yaml')
  const dashboard = { port: port ?? await freePort(), passwordFile }
  await writeFile(file, JSON.stringify({ mqtt: { broker, longestWaitSeconds: 0.5 }, dashboard, answerSeconds }))
  let settled = false
  const fleet = new Fleet({
    config: await fleetConfig({ config: file }), clock: systemClock, random: Math.random, logger: createLogger({ level: 'silent' }),
    onBroker: state => { settled ||= state.up && state.settled },
  })
  fleet.start()
  const url = await fleet.serve() ?? ''
  await vi.waitFor(() => { if (!settled) throw new Error('not settled') }, { timeout: 60_000, interval: 50 })
  return { url, fleet }
}
