/** What the page asks for and does, over HTTP. Its types are the page's too: page/api.ts has no others. */
import { readFile } from 'node:fs/promises'
import { Hono, type Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { streamSSE } from 'hono/streaming'
import { z } from 'zod'
import { PawlError } from '../errors.js'
import type { ModelVersion } from '../events.js'
import type { Labeling } from '../frames/labeling.js'
import type { LabelStore } from '../frames/label-store.js'
import type { FrameStore } from '../frames/store.js'
import type { PromotionRecord } from '../rounds/promotion.js'
import { checkedBody, checkedQuery } from '../web/checked.js'
import type { Live } from './live.js'

/** What of the box the page shows and changes. */
export interface Site {
  device: string
  version: string
  cameras: readonly string[]
  live: Live
  frames: FrameStore
  labels: LabelStore
  labeling: Labeling
  /** JPEG of the newest frame of a camera; null: none yet. */
  newestOf: (camera: string) => Uint8Array | null
  models: () => ModelVersion[]
  active: () => number | null
  decisions: () => PromotionRecord[]
  /** Carries out a command of report/commands.ts. Errors: COMMAND_INVALID, and its own. */
  command: (verb: string, payload: Buffer) => Promise<unknown>
}

/** Frames of one page of the queue at most. */
const mostQueued = 60
const pingMs = 15_000

const One = z.strictObject({ id: z.string().max(400), label: z.string().max(2000) })
const Labels = z.strictObject({ frames: z.array(One).min(1).max(500) })
const Ids = z.strictObject({ ids: z.array(z.string().max(400)).min(1).max(500) })
const Queue = z.object({
  count: z.coerce.number().int().min(1).max(mostQueued).default(24), camera: z.string().optional(), reason: z.string().optional(),
})

export function api(site: Site) {
  const { live, frames, labels, labeling } = site
  return new Hono()
    .get('/box', c => c.json({ device: site.device, version: site.version, cameras: site.cameras }))
    .get('/live', c => streamSSE(c, async stream => {
      const ending = new AbortController()
      stream.onAbort(() => { ending.abort() })
      const ping = setInterval(() => { void stream.writeSSE({ event: 'ping', data: '' }) }, pingMs)
      try {
        for await (const message of live.follow(ending.signal)) await stream.writeSSE({ data: JSON.stringify(message) })
      } finally {
        clearInterval(ping)
      }
    }))
    .get('/cameras/:camera/picture', c => picture(c, site.newestOf(c.req.param('camera')), 'no-store'))
    .get('/frames/:camera/:day/:name', async c => {
      const { camera, day, name } = c.req.param()
      const frame = frames.frame(`${camera}/${day}/${name}`)
      return picture(c, frame && await readFile(frame.path).catch(() => null), 'private, max-age=86400, immutable')
    })
    .get('/classes', async c => c.json(await labels.classes()))
    .get('/queue', checkedQuery(Queue), async c => c.json(await labeling.queue(c.req.valid('query'))))
    .post('/labels', checkedBody(Labels), async c => c.json(await Promise.all(c.req.valid('json').frames.map(({ id, label }) => outcome(id, () => labeling.label(id, label))))))
    .post('/labels/undo', checkedBody(Labels), async c => c.json(await Promise.all(c.req.valid('json').frames.map(({ id, label }) => outcome(id, () => labeling.undo(id, label))))))
    .post('/skipped', checkedBody(Ids), c => {
      for (const id of c.req.valid('json').ids) labeling.skip(id)
      return c.json({})
    })
    .post('/skipped/undo', checkedBody(Ids), c => {
      for (const id of c.req.valid('json').ids) labeling.unskip(id)
      return c.json({})
    })
    .get('/models', c => c.json({ active: site.active(), models: site.models() }))
    .get('/decisions', c => c.json(site.decisions()))
    .post('/commands/:verb', async c => c.json({ data: await site.command(c.req.param('verb'), Buffer.from(await c.req.arrayBuffer())) as object }))
}

export type Api = ReturnType<typeof api>

/** What became of one of many. */
export type Outcome = { id: string; label: string | null; error: null } | { id: string; label: null; error: { code: string; message: string } }

async function outcome(id: string, work: () => Promise<string | undefined | void>): Promise<Outcome> {
  try {
    return { id, label: (await work()) ?? null, error: null }
  } catch (cause) {
    if (!(cause instanceof PawlError)) throw cause
    return { id, label: null, error: { code: cause.code, message: cause.message } }
  }
}

function picture(c: Context, jpeg: Uint8Array | null, caching: string): Response {
  if (!jpeg) throw new HTTPException(404, { message: 'there is no such picture, or none any more' })
  return c.body(new Uint8Array(jpeg), 200, { 'content-type': 'image/jpeg', 'cache-control': caching })
}
