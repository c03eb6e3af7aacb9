import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ClassifierPool } from '../agent/classifier/pool.js'
import { defaultConfig } from '../agent/config.js'
import type { AgentEvent } from '../agent/events.js'
import { Selection } from '../agent/frames/selection.js'
import { FrameStore } from '../agent/frames/store.js'
import { Intake } from '../agent/intake.js'
import { systemClock } from '../agent/lib/clock.js'

let folder = ''
beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'pawl-intake-')) })
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('frames on their way', () => {
  it('do not wait for the disk, up to a bound, and are all written before the end', async () => {
    const { frames: config } = defaultConfig()
    let release: () => void = () => undefined
    const disk = new Promise<void>(resolve => { release = resolve })
    const frames = new FrameStore({ folder, config, clock: systemClock, freeBytes: () => disk.then(() => 1e12) })
    const events: AgentEvent[] = []
    const fail = (camera: string, reason: string) => { throw new Error(`${camera}: ${reason}`) }
    const intake = new Intake({
      classifier: new ClassifierPool({ threads: 1, loadMs: 1000, onProblem: () => undefined }),
      selection: new Selection({ config: config.select, leastFrames: 100, random: () => 0.5 }),
      frames, clock: systemClock, publish: event => { events.push(event) },
      onAnswer: () => undefined, onStored: () => undefined, onLatency: () => undefined, onUnanswered: fail, onUnstored: fail,
    })
    const [atMs, count] = [Date.now(), 30]
    let taken = 0
    const all = (async () => {
      for (; taken < count; taken++) await intake.accept({ camera: 'door', capturedAtMs: atMs + taken, jpeg: Buffer.from(`frame ${String(taken)}`) })
    })()
    await sleep(200)
    expect(taken).toBeGreaterThan(1)
    expect(taken).toBeLessThan(count)
    release()
    await all
    await intake.stop()
    expect(frames.list().map(({ capturedAtMs }) => capturedAtMs - atMs)).toEqual(Array.from({ length: count }, (_, index) => index))
    expect(events.map(({ type }) => type)).toEqual(Array.from({ length: count }, () => 'frame-stored'))
  })
})
