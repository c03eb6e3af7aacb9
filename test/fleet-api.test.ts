/** What the server of a fleet answers, over boxes that were heard and with no broker. */
import fc from 'fast-check'
import { Hono } from 'hono'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { AskProgress, AskReport } from '../agent/fleet/answers.js'
import { fleetApi } from '../agent/fleet/api.js'
import { Asking } from '../agent/fleet/asking.js'
import { Boxes } from '../agent/fleet/boxes.js'
import { Changes } from '../agent/fleet/changes.js'
import { decisionOf } from './fleet/decision.js'

let ids = 0
beforeEach(() => { ids = 0 })

const askingWith = (mostBytes?: number) => new Asking({
  publish: () => Promise.resolve(), isOnline: () => true, answerMs: 60_000, newId: () => `ask-${String(++ids)}`, nowMs: () => 0, ...mostBytes !== undefined && { mostBytes },
})
const names = (count: number) => Array.from({ length: count }, (_, index) => `box-${String(index)}`)
const say = (asking: Asking, device: string, transaction: string, data: unknown) => {
  asking.heard(device, Buffer.from(JSON.stringify({ status: 'ok', transaction, data })))
}
const reportOf = (asking: Asking, id: string) => {
  const json = asking.answers(id)
  return json === undefined ? undefined : JSON.parse(json) as AskReport
}

/** As a box with five decisions of ten classes. */
const status = {
  device: 'box-1', model: 7, serving: 7, mode: { kind: 'follow' }, probation: false, training: false, frames: 100, frameBytes: 1e6, drift: null,
  decisions: Array.from({ length: 5 }, (_, index) => decisionOf({
    round: index, promoted: true, reason: 'better', champion: 1, accuracyChampion: 0.9, accuracyChallenger: 0.91, decidedAtMs: 1,
  })),
}

describe('the answers to a command', () => {
  it('are kept whole where few were asked, and say that they were too long where many were', () => {
    const asking = askingWith()
    const few = asking.ask({ verb: 'status', devices: names(20), payload: {} })
    say(asking, 'box-3', few.id, status)
    expect(reportOf(asking, few.id)?.answers['box-3']).toEqual({ state: 'ok', data: status })
    const many = asking.ask({ verb: 'status', devices: names(20_000), payload: {} })
    say(asking, 'box-3', many.id, status)
    say(asking, 'box-4', many.id, { ...status, decisions: [] })
    expect(reportOf(asking, many.id)).toMatchObject({
      over: false, counts: { ok: 2, waiting: 19_998 }, answers: { 'box-3': { state: 'ok', tooLong: true }, 'box-4': { state: 'ok', data: { frames: 100 } } },
    })
    asking.stop()
  })

  it('take no more room than they have, all together: the oldest are forgotten, never the newest', () => {
    const mostBytes = 20_000
    const command = fc.record({
      boxes: fc.integer({ min: 1, max: 40 }), sizes: fc.array(fc.integer({ min: 0, max: 30_000 }), { maxLength: 40 }), fails: fc.boolean(),
    })
    fc.assert(fc.property(fc.array(command, { minLength: 1, maxLength: 30 }), all => {
      const asking = askingWith(mostBytes)
      const asked = all.map(({ boxes, sizes, fails }) => {
        const { id } = asking.ask({ verb: 'status', devices: names(boxes), payload: {} })
        sizes.slice(0, boxes).forEach((size, index) => {
          const message = 'é'.repeat(size)
          if (fails) asking.heard(`box-${String(index)}`, Buffer.from(JSON.stringify({ status: 'error', transaction: id, error: { code: 'INTERNAL', message } })))
          else say(asking, `box-${String(index)}`, id, message)
        })
        return { id, counts: { answered: Math.min(boxes, sizes.length) } }
      })
      const kept = asked.filter(({ id }) => asking.progress(id) !== undefined)
      const bytes = kept.map(({ id }) => Object.values(reportOf(asking, id)?.answers ?? {}).filter(({ state }) => state === 'ok' || state === 'error')
        .reduce((sum, answer) => sum + Buffer.byteLength(JSON.stringify(answer)), 0)).reduce((sum, one) => sum + one, 0)
      const newest = asked.at(-1)!
      const counts = asking.progress(newest.id)?.counts
      asking.stop()
      expect(kept).toEqual(asked.slice(-kept.length))
      expect((counts?.ok ?? 0) + (counts?.error ?? 0)).toBe(newest.counts.answered)
      expect(bytes).toBeLessThanOrEqual(mostBytes)
    }), { numRuns: 100 })
  })
})

describe('the server of a fleet', () => {
  /** As the web server mounts it. */
  function site(ending?: AbortSignal) {
    const boxes = new Boxes()
    const changes = new Changes({ boxes, run: 'run', nowMs: () => performance.now() })
    const asking = askingWith()
    const app = new Hono<{ Variables: { ending: AbortSignal } }>()
    app.use(async (c, next) => {
      if (ending) c.set('ending', ending)
      await next()
    })
    app.route('/api', fleetApi({ version: '1.0.0', base: 'pawl', answerSeconds: 20, boxes, changes, asking }))
    return { app, asking, boxes, changes }
  }

  it('tells how far a command is in few bytes, and of the answers those that need a look first', async () => {
    const { app, asking } = site()
    const body = JSON.stringify({ verb: 'status', devices: names(10_000) })
    const { id, counts } = await (await app.request('/api/asks', { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json() as AskProgress
    expect(counts).toEqual({ error: 0, silent: 0, offline: 0, waiting: 10_000, ok: 0 })
    for (const device of names(9999)) say(asking, device, id, status)
    asking.heard('box-77', Buffer.from(JSON.stringify({ status: 'ok', transaction: id, data: 'again' })))
    asking.heard('box-9999', Buffer.from(JSON.stringify({ status: 'error', transaction: id, error: { code: 'INTERNAL', message: 'no' } })))
    const progress = await (await app.request(`/api/asks/${id}`)).text()
    expect(progress.length).toBeLessThan(300)
    expect(JSON.parse(progress)).toMatchObject({ over: true, counts: { ok: 9999, error: 1, waiting: 0 } })
    const { answers } = await (await app.request(`/api/asks/${id}/answers?most=3`)).json() as AskReport
    expect(Object.entries(answers).map(([device, { state }]) => `${device} ${state}`)).toEqual(['box-9999 error', 'box-0 ok', 'box-1 ok'])
    expect((await app.request(`/api/asks/${id}/answers?most=none`)).status).toBe(400)
    expect((await app.request('/api/asks/other')).status).toBe(404)
    expect((await app.request('/api/asks/other/answers')).status).toBe(404)
    asking.stop()
  })

  it('tells no more changes once the session has ended', async () => {
    const ending = new AbortController()
    const { app, asking, boxes, changes } = site(ending.signal)
    const reader = (await app.request('/api/changes')).body!.pipeThrough(new TextDecoderStream()).getReader()
    boxes.accept('box-1/availability', Buffer.from('online'))
    changes.mark('box-1')
    let heard = ''
    await vi.waitFor(async () => {
      heard += (await reader.read()).value ?? ''
      expect(heard).toContain('box-1')
    })
    ending.abort()
    let rest = await reader.read()
    while (!rest.done) rest = await reader.read()
    expect(rest.done).toBe(true)
    changes.stop()
    asking.stop()
  })
})
