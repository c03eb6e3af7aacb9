/** What the page of a fleet asks for and does, over HTTP. Its types are the page's too. */
import { Hono } from 'hono'
import { compress } from 'hono/compress'
import { HTTPException } from 'hono/http-exception'
import { streamSSE } from 'hono/streaming'
import { z } from 'zod'
import { commands, verbs, type Verb } from '../report/commands.js'
import { checkedBody, checkedQuery } from '../web/checked.js'
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

/** `ending`: aborts when the session of who asks ends. */
interface FleetEnv { Variables: { ending?: AbortSignal } }

const pingMs = 15_000

export function fleetApi({ version, base, answerSeconds, boxes, changes, asking }: FleetSite) {
  return new Hono<FleetEnv>()
    .get('/fleet', c => c.json({ version, base, answerSeconds, commands: verbs.map(verb => ({ verb, description: commands[verb].description, model: modelOf(verb) })) }))
    // All rows, and where the changes that follow begin.
    .get('/boxes', compress(), c => {
      const { at, json } = changes.since('')
      return c.body(`{"at":${JSON.stringify(at)},"message":${json}}`, 200, { 'content-type': 'application/json' })
    })
    .get('/changes', c => streamSSE(c, async stream => {
      const left = new AbortController()
      stream.onAbort(() => { left.abort() })
      const ends = AbortSignal.any([left.signal, c.get('ending') ?? []].flat())
      const ping = setInterval(() => { void stream.writeSSE({ event: 'ping', data: '' }) }, pingMs)
      try {
        const at = c.req.header('last-event-id') ?? c.req.query('since') ?? ''
        for await (const told of changes.follow(at, ends)) await stream.writeSSE({ id: told.at, data: told.json })
      } finally {
        clearInterval(ping)
      }
    }))
    .get('/boxes/:device', c => {
      const box = boxes.box(c.req.param('device'))
      if (!box) throw new HTTPException(404, { message: 'there is no such box, or none any more' })
      return c.json({ told: toldBy(box), cameras: camerasOf(box), retained: retainedBy(box) })
    })
    .post('/asks', checkedBody(Ask), c => c.json(asking.ask(c.req.valid('json'))))
    // How far it is; what each has answered is a lot.
    .get('/asks/:id', c => c.json(known(asking.progress(c.req.param('id')))))
    .get('/asks/:id/answers', compress(), checkedQuery(z.object({ most: z.coerce.number().int().min(1).optional() })), c => {
      const json = known(asking.answers(c.req.param('id'), c.req.valid('query').most))
      return c.body(json, 200, { 'content-type': 'application/json' })
    })
}

function known<T>(value: T | undefined): T {
  if (value === undefined) throw new HTTPException(404, { message: 'there is no such command, or none any more' })
  return value
}

export type FleetApi = ReturnType<typeof fleetApi>

/** Whether a command takes the number of a model. */
function modelOf(verb: Verb): 'none' | 'optional' | 'needed' {
  const schema = z.toJSONSchema(commands[verb].payload, { io: 'input' })
  if (!schema.properties?.version) return 'none'
  return schema.required?.includes('version') ? 'needed' : 'optional'
}
