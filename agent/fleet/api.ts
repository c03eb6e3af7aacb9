/** What the page of a fleet asks for and does, over HTTP. Its types are the page's too. */
import { Hono } from 'hono'
import { compress } from 'hono/compress'
import { HTTPException } from 'hono/http-exception'
import { streamSSE } from 'hono/streaming'
import { z } from 'zod'
import { commands, verbs, type Verb } from '../report/commands.js'
import { checkedBody } from '../web/checked.js'
import { Ask, type Asking } from './asking.js'
import { camerasOf, retainedBy, toldBy, type Boxes } from './boxes.js'
import type { Changes } from './changes.js'

export interface FleetSite {
  version: string
  base: string
  answerSeconds: number
  boxes: Boxes
  changes: Changes
  asking: Asking
}

const pingMs = 15_000

export function fleetApi({ version, base, answerSeconds, boxes, changes, asking }: FleetSite) {
  return new Hono()
    .get('/fleet', c => c.json({ version, base, answerSeconds, commands: verbs.map(verb => ({ verb, description: commands[verb].description, model: modelOf(verb) })) }))
    // All rows, and where the changes that follow begin.
    .get('/boxes', compress(), c => {
      const { at, json } = changes.since('')
      return c.body(`{"at":${JSON.stringify(at)},"message":${json}}`, 200, { 'content-type': 'application/json' })
    })
    .get('/changes', c => streamSSE(c, async stream => {
      const ending = new AbortController()
      stream.onAbort(() => { ending.abort() })
      const ping = setInterval(() => { void stream.writeSSE({ event: 'ping', data: '' }) }, pingMs)
      try {
        const at = c.req.header('last-event-id') ?? c.req.query('since') ?? ''
        for await (const told of changes.follow(at, ending.signal)) await stream.writeSSE({ id: told.at, data: told.json })
      } finally {
        clearInterval(ping)
      }
    }))
    .get('/boxes/:device', c => {
      const box = boxes.box(c.req.param('device'))
      if (!box) throw new HTTPException(404, { message: 'there is no such box, or none any more' })
      return c.json({ told: toldBy(box), cameras: camerasOf(box), retained: retainedBy(box) })
    })
    .post('/asks', checkedBody(Ask), c => c.json(asking.ask(c.req.valid('json')) as object))
    .get('/asks/:id', compress(), c => {
      const report = asking.report(c.req.param('id'))
      if (!report) throw new HTTPException(404, { message: 'there is no such command, or none any more' })
      return c.json(report as object)
    })
}

export type FleetApi = ReturnType<typeof fleetApi>

/** Whether a command takes the number of a model. */
function modelOf(verb: Verb): 'none' | 'optional' | 'needed' {
  const schema = z.toJSONSchema(commands[verb].payload, { io: 'input' })
  if (!schema.properties?.version) return 'none'
  return schema.required?.includes('version') ? 'needed' : 'optional'
}
