/** What the page asks for and does, over HTTP. Its types are the page's too: page/api.ts has no others. */
import { readFile } from 'node:fs/promises'
import { Hono, type Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { streamSSE } from 'hono/streaming'
import { z } from 'zod'
import type { Verification } from '../../trainer/index.js'
import { PawlError } from '../errors.js'
import type { ModelVersion } from '../events.js'
import type { Labeling } from '../frames/labeling.js'
import type { LabelStore } from '../frames/label-store.js'
import type { FrameStore } from '../frames/store.js'
import type { Machine } from '../lib/machine.js'
import type { LineageEntry } from '../registry/lineage.js'
import type { PromotionRecord } from '../rounds/promotion.js'
import type { RoundRecords } from '../rounds/records.js'
import type { ApiEnv } from '../web/server.js'
import { archiveOf } from './archive.js'
import type { Journal } from './journal.js'
import { checkedBody, checkedQuery } from '../web/checked.js'
import type { Live } from './live.js'
import { reportOn } from './reports.js'

/** What of the box the page shows and changes. */
export interface Site {
  device: string
  version: string
  cameras: readonly string[]
  live: Live
  journal: Journal
  frames: FrameStore
  labels: LabelStore
  labeling: Labeling
  /** JPEG of the newest frame of a camera; null: none yet. */
  newestOf: (camera: string) => Uint8Array | null
  models: () => ModelVersion[]
  active: () => number | null
  history: () => Promise<LineageEntry[] | null>
  decisions: () => PromotionRecord[]
  records: RoundRecords
  /** Carries out a command of report/commands.ts. Errors: COMMAND_INVALID, and its own. */
  command: (verb: string, payload: Buffer) => Promise<unknown>
  /** What is so now and not told as it changes. */
  now: () => Promise<Now>
}

export interface Now {
  machine: Machine
  frames: number
  frameBytes: number
  /** Engines that were verified on this machine. */
  engines: Verification[]
}

/** Frames of one page of the queue at most. */
const mostQueued = 60
const pingMs = 15_000
const pngBegins = 0x89

const One = z.strictObject({ id: z.string().max(400), label: z.string().max(2000) })
const Labels = z.strictObject({ frames: z.array(One).min(1).max(500) })
const Ids = z.strictObject({ ids: z.array(z.string().max(400)).min(1).max(500) })
const Queue = z.object({
  count: z.coerce.number().int().min(1).max(mostQueued).default(24), camera: z.string().optional(), reason: z.string().optional(),
})

const After = z.object({ after: z.coerce.number().int().min(0).default(0) })

export function api(site: Site) {
  const { live, frames, labels, labeling } = site
  return new Hono<ApiEnv>()
    .get('/box', c => c.json({ device: site.device, version: site.version, cameras: site.cameras }))
    .get('/now', async c => c.json(await site.now()))
    .get('/live', c => streamSSE(c, async stream => {
      const ending = new AbortController()
      stream.onAbort(() => { ending.abort() })
      const ping = setInterval(() => { void stream.writeSSE({ event: 'ping', data: '' }) }, pingMs)
      try {
        for await (const message of live.follow(AbortSignal.any([ending.signal, c.get('ending')]))) await stream.writeSSE({ data: JSON.stringify(message) })
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
    .get('/labels.zip', async c => c.body(archiveOf(await labels.images()), 200, {
      'content-type': 'application/zip', 'content-disposition': `attachment; filename="labels-${fileName(site.device)}.zip"`, 'cache-control': 'no-store',
    }))
    .post('/labels/import', async c => {
      const parts = await c.req.parseBody({ all: true }).catch(() => ({}))
      const files = Object.entries(parts).flatMap(([label, values]) =>
        [values].flat().flatMap(file => (file instanceof File ? [{ label, file }] : [])))
      if (files.length === 0) throw new HTTPException(400, { message: 'send each image as a file, in a field that has the name of its class' })
      const outcomes: ImportOutcome[] = []
      // One after the other: each is decoded to see that it can be.
      for (const { label, file } of files) outcomes.push(await imported(file, bytes => labels.add(label, file.name, bytes)))
      return c.json(outcomes)
    })
    .post('/labels', checkedBody(Labels), async c => c.json(await each(c.req.valid('json').frames, ({ id, label }) => labeling.label(id, label))))
    .post('/labels/undo', checkedBody(Labels), async c => c.json(await each(c.req.valid('json').frames, async ({ id, label }) => {
      await labeling.undo(id, label)
      return null
    })))
    .post('/skipped', checkedBody(Ids), c => {
      for (const id of c.req.valid('json').ids) labeling.skip(id)
      return c.json({})
    })
    .post('/skipped/undo', checkedBody(Ids), c => {
      for (const id of c.req.valid('json').ids) labeling.unskip(id)
      return c.json({})
    })
    .get('/log', checkedQuery(After), c => c.json(site.journal.after(c.req.valid('query').after)))
    .get('/models', c => c.json({ active: site.active(), models: site.models() }))
    .get('/history', async c => c.json({ entries: await site.history() }))
    .get('/decisions', c => c.json(site.decisions()))
    .get('/rounds/:round', async c => c.json({ record: await site.records.read(roundOf(c)) }))
    .get('/rounds/:round/report.html', async c => {
      const decision = site.decisions().find(({ round }) => round === roundOf(c))
      if (!decision) throw new HTTPException(404, { message: 'there is no such round' })
      return c.body(await reportOn(decision, site), 200, {
        'content-type': 'text/html; charset=utf-8', 'content-disposition': `attachment; filename="${fileName(site.device)}-round-${String(decision.round)}.html"`,
      })
    })
    .get('/rounds/:round/:picture', async c => picture(c, await site.records.picture(roundOf(c), c.req.param('picture')), 'private, max-age=86400, immutable'))
    .post('/commands/:verb', async c => c.json({ data: await site.command(c.req.param('verb'), Buffer.from(await c.req.arrayBuffer())) as object }))
}

export type Api = ReturnType<typeof api>

/** What became of one of many. */
export type Outcome = { id: string; label: string | null; error: null } | { id: string; label: null; error: { code: string; message: string } }

/** What became of an image that was sent. */
export type ImportOutcome = { name: string; error: null; there: boolean } | { name: string; error: { code: string; message: string } }

async function imported(file: File, take: (bytes: Uint8Array) => Promise<boolean>): Promise<ImportOutcome> {
  try {
    return { name: file.name, error: null, there: !await take(new Uint8Array(await file.arrayBuffer())) }
  } catch (cause) {
    return { name: file.name, error: failureOf(cause) }
  }
}

function fileName(text: string): string {
  return text.replaceAll(/[^\w.-]/g, '_')
}

/** One after the other: what fails of one is told of that one, and keeps no other back. */
async function each<F extends { id: string }>(items: readonly F[], work: (item: F) => Promise<string | null>): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  for (const item of items) {
    outcomes.push(await work(item).then(
      label => ({ id: item.id, label, error: null }),
      (cause: unknown) => ({ id: item.id, label: null, error: failureOf(cause) }),
    ))
  }
  return outcomes
}

/** Of the file system people are told its code alone: a message would name paths. */
function failureOf(cause: unknown): { code: string; message: string } {
  if (cause instanceof PawlError) return { code: cause.code, message: cause.message }
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'INTERNAL'
  return { code, message: `the box could not do it (${code}); its log may say more` }
}

function roundOf(c: Context): number {
  const round = Number(c.req.param('round'))
  if (!Number.isInteger(round) || round < 1) throw new HTTPException(404, { message: 'there is no such round' })
  return round
}

function picture(c: Context, image: Uint8Array | null, caching: string): Response {
  if (!image) throw new HTTPException(404, { message: 'there is no such picture, or none any more' })
  return c.body(new Uint8Array(image), 200, { 'content-type': image[0] === pngBegins ? 'image/png' : 'image/jpeg', 'cache-control': caching })
}
