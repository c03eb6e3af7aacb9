/** How a round shares the machine. */
import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { Turns } from '../trainer/turns.js'

const running = () => new AbortController().signal

/** Keeps the thread busy, for milliseconds of the processor. */
function work(ms: number): void {
  const before = process.cpuUsage()
  for (let took = 0; took < 1000 * ms;) {
    const { user, system } = process.cpuUsage(before)
    took = user + system
  }
}

describe('turns', () => {
  it('come one after the other while nothing is in the way, and let others have the thread', async () => {
    const turns = new Turns({ signal: running() })
    let others = 0
    const timer = setInterval(() => { others++ }, 1)
    for (let turn = 0; turn < 50; turn++) {
      await turns.next()
      work(2)
    }
    clearInterval(timer)
    expect(others).toBeGreaterThan(10)
  })

  it('wait while the round is to stand still; its time stands still with it, once for all that wait', async () => {
    const told: (string | null)[] = []
    const turns = new Turns({ signal: running(), onPause: reason => { told.push(reason) } })
    turns.pause('hot')
    const [beganMs, began] = [turns.nowMs(), performance.now()]
    let taken = 0
    const waiting = Promise.all(Array.from({ length: 4 }, () => turns.next().then(() => { taken++ })))
    await sleep(300)
    turns.pause('hotter')
    expect([taken, told]).toEqual([0, ['hot']])
    const standing = turns.nowMs()
    await sleep(200)
    expect(turns.nowMs()).toBe(standing)
    turns.resume()
    await waiting
    expect([taken, told]).toEqual([4, ['hot', null]])
    const stood = performance.now() - began - (turns.nowMs() - beganMs)
    expect(stood).toBeGreaterThan(450)
    expect(stood).toBeLessThanOrEqual(performance.now() - began)
    turns.pause('again')
    turns.resume()
    await turns.next()
    expect(told).toHaveLength(2)
  })

  it('are over when the round is, also for one that stands still or rests', async () => {
    const controller = new AbortController()
    const turns = new Turns({ signal: controller.signal, cpuShare: 0.01 })
    work(300)
    const resting = turns.next()
    const still = new Turns({ signal: controller.signal })
    still.pause('hot')
    const standing = still.next()
    setTimeout(() => { controller.abort(new Error('enough')) }, 50)
    const began = performance.now()
    await Promise.all([resting, standing].map(one => expect(one).rejects.toThrow('enough')))
    await expect(still.next()).rejects.toThrow('enough')
    expect(performance.now() - began).toBeLessThan(4000)
  })

  it('come no more often than the share of the processor allows', async () => {
    const share = 0.3 / availableParallelism()
    const turns = new Turns({ signal: running(), cpuShare: share })
    const [began, before] = [performance.now(), process.cpuUsage()]
    let took = 0
    while (performance.now() - began < 3000) {
      await turns.next()
      work(30)
      took++
    }
    await turns.next()
    const { user, system } = process.cpuUsage(before)
    expect((user + system) / 1000 / (performance.now() - began) / availableParallelism()).toBeLessThan(1.15 * share)
    expect(took).toBeGreaterThan(5)
  })
})
