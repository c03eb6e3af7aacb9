/** The page's server, asked as a browser would and as somebody would who has no business there. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { request as secureRequest } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer, text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import yauzl from 'yauzl'
import { defaultConfig, parseConfig } from '../agent/config.js'
import { hashOf } from '../agent/web/access.js'
import { Dashboard } from '../agent/dashboard/dashboard.js'
import { startOf } from '../agent/dashboard/format.js'
import { Journal } from '../agent/dashboard/journal.js'
import { Live } from '../agent/dashboard/live.js'
import { PawlError } from '../agent/errors.js'
import { Disagreement } from '../agent/frames/disagreement.js'
import { Labeling } from '../agent/frames/labeling.js'
import { LabelStore } from '../agent/frames/label-store.js'
import { FrameStore } from '../agent/frames/store.js'
import { systemClock } from '../agent/lib/clock.js'
import { createLogger } from '../agent/lib/logger.js'
import { machineOf } from '../agent/lib/machine.js'
import type { PromotionRecord } from '../agent/rounds/promotion.js'
import { RoundRecords } from '../agent/rounds/records.js'
import type { RoundResult } from '../trainer/index.js'

const password = 'open sesame'
let data = ''
let frames: FrameStore
let live: Live
let journal: Journal
let decisions: PromotionRecord[]
let asked: { verb: string; payload: string }[]
let elapsedMs = 0
const cleanups: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'pawl-dashboard-'))
  frames = new FrameStore({ folder: join(data, 'frames'), config: { ...defaultConfig().frames, minFreeBytes: 0 }, clock: systemClock })
  await frames.start()
  live = new Live()
  journal = new Journal({ nowMs: () => 1000 })
  decisions = []
  asked = []
  elapsedMs = 0
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  frames.stop()
  await rm(data, { recursive: true, force: true })
})

/** Serves; gives the address. */
async function serve(dashboard: Record<string, unknown> = {}): Promise<string> {
  const config = parseConfig(JSON.stringify({ dashboard: { port: 28_470, ...dashboard } }), 'pawl.yaml')
  const labels = new LabelStore({ data, config: { import: '', importValidation: '' } })
  await labels.start()
  const onProblem = (message: string) => { throw new Error(message) }
  const labeling = new Labeling({
    frames, labels, file: join(data, 'skipped.json'), judge: () => Promise.resolve(null), disagreement: new Disagreement({ key: () => '', pair: () => Promise.resolve(null), nowMs: () => elapsedMs, onProblem }), onProblem,
  })
  const page = new Dashboard({
    config: config.dashboard,
    site: {
      device: 'box-7', version: '1.2.3', cameras: ['belt'], live, frames, labels, labeling, newestOf: () => null, models: () => [], active: () => null, history: () => Promise.resolve([]), decisions: () => decisions,
      journal, records: new RoundRecords({ folder: join(data, 'records'), onProblem }),
      now: async () => ({ machine: await machineOf(data), frames: 0, frameBytes: 0, engines: [] }),
      command: (verb, payload) => {
        if (verb === 'explode') throw new Error('postgres://user:secret@host')
        if (verb !== 'train') throw new PawlError('COMMAND_INVALID', `there is no command "${verb}"`)
        asked.push({ verb, payload: payload.toString() })
        return Promise.resolve({ started: true })
      },
    },
    nowMs: () => elapsedMs,
    logger: createLogger({ level: 'silent' }),
  })
  cleanups.push(() => page.stop())
  const address = await page.start()
  if (address === null) throw new Error('no port')
  return address
}

async function withPassword(): Promise<string> {
  const file = join(data, 'password')
  await writeFile(file, `${await hashOf(password)}\n`)
  return await serve({ passwordFile: file })
}

interface Asked {
  method?: string
  headers?: Record<string, string>
  body?: string
}

/** Plain requests: a browser's `fetch` would set Host and Origin itself. */
function ask(url: string, { method = 'GET', headers = {}, body }: Asked = {}): Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; text: string }> {
  return new Promise((resolve, reject) => {
    const send = url.startsWith('https:') ? secureRequest : request
    const asking = send(url, { method, headers, ...url.startsWith('https:') && { rejectUnauthorized: false } }, answer => {
      text(answer).then(all => { resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text: all }) }, reject)
    })
    asking.on('error', reject)
    asking.end(body)
  })
}

const json = (value: unknown, headers: Record<string, string> = {}): Asked => ({ method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(value) })
const login = (address: string, given: unknown) => ask(`${address}/api/session`, json({ password: given }))
const cookieOf = ({ headers }: Awaited<ReturnType<typeof ask>>) => (headers['set-cookie'] as string[] | undefined)?.[0] ?? ''

describe('the page without a password', () => {
  it('answers on loopback, to whoever asks for loopback by name, and is whole', async () => {
    const address = await serve()
    expect(new URL(address).hostname).toBe('127.0.0.1')
    const page = await ask(address)
    expect([page.status, page.text]).toEqual([200, expect.stringContaining('<title>pawl</title>') as string])
    for (const file of ['main.js', 'main.css']) expect((await ask(`${address}/${file}`)).status).toBe(200)
    // Nothing of it comes from elsewhere.
    expect(page.text).not.toMatch(/(src|href)="(https?:)?\/\//)
    expect(JSON.parse((await ask(`${address}/api/box`, { headers: { host: 'localhost:28470' } })).text)).toEqual({ device: 'box-7', version: '1.2.3', cameras: ['belt'] })
  })

  it.each(['evil.example', 'evil.example:28470', '127.0.0.1.evil.example', 'localhost.evil.example', '192.168.1.7'])('refuses a request for %j: a name that was turned to loopback', async host => {
    const address = await serve()
    for (const path of ['/', '/api/box', '/api/live']) expect((await ask(`${address}${path}`, { headers: { host } })).status).toBeGreaterThanOrEqual(400)
  })

  it('carries out no command that another site sends with a form or a script', async () => {
    const address = await serve()
    const url = `${address}/api/commands/train`
    const foreign = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/json', '']) {
      const headers: Record<string, string> = { ...foreign, ...type && { 'content-type': type } }
      expect((await ask(url, { method: 'POST', headers, body: '{}' })).status, type).toBe(403)
    }
    // What a browser asks before it sends JSON elsewhere is not allowed either.
    const before = await ask(url, { method: 'OPTIONS', headers: { ...foreign, 'access-control-request-method': 'POST' } })
    expect(before.headers['access-control-allow-origin']).toBeUndefined()
    expect(asked).toEqual([])
    expect((await ask(url, json({}, { origin: address, 'sec-fetch-site': 'same-origin' }))).status).toBe(200)
    expect(asked).toEqual([{ verb: 'train', payload: '{}' }])
  })

  it('tells browsers to load nothing from elsewhere, and to be framed by nobody', async () => {
    const { headers } = await ask(await serve())
    expect(headers['content-security-policy']).toMatch(/default-src 'none'.*frame-ancestors 'none'/)
    expect(headers['content-security-policy']).not.toMatch(/unsafe|https?:/)
    expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' })
  })

  it.each(['/../package.json', '/..%2f..%2fpackage.json', '/%2e%2e/%2e%2e/package.json', '/api/frames/belt/..%2f..%2f/labels', '/api/frames/..%2f../x/y'])('gives no file for %s', async path => {
    const { status, text: said } = await ask(`${await serve()}${path}`)
    expect([status, said]).toEqual([404, expect.not.stringContaining('"name"') as string])
  })

  it('is on no other address', async () => {
    await expect(serve({ address: '0.0.0.0' })).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/dashboard\.address is "0\.0\.0\.0".*pawl password/) as string })
  })
})

describe('the page with a password', () => {
  it('shows nothing of the box before it, and all after it', async () => {
    const address = await withPassword()
    for (const path of ['box', 'live', 'queue', 'classes', 'models', 'decisions', 'cameras/belt/picture']) expect((await ask(`${address}/api/${path}`)).status, path).toBe(401)
    expect((await ask(`${address}/api/commands/train`, json({}))).status).toBe(401)
    expect(asked).toEqual([])
    const opened = await login(address, password)
    const cookie = cookieOf(opened)
    expect([opened.status, cookie]).toEqual([200, expect.stringMatching(/^pawl=[\w-]{43}; .*HttpOnly.*SameSite=Strict/i) as string])
    const headers = { cookie: cookie.split(';')[0] ?? '' }
    expect((await ask(`${address}/api/box`, { headers })).status).toBe(200)
    expect((await ask(`${address}/api/box`, { headers: { ...headers, host: 'box-7.local' } })).status).toBe(200)
    await ask(`${address}/api/session`, { method: 'DELETE', headers })
    expect((await ask(`${address}/api/box`, { headers })).status).toBe(401)
  })

  it('takes no other, and after five wrong ones none for a minute', async () => {
    const address = await withPassword()
    // Who has been let in is not let in faster.
    expect((await login(address, password)).status).toBe(200)
    for (const wrong of ['', 'open sesamE', null, { $ne: 1 }, 'x'.repeat(3000)]) expect((await login(address, wrong)).status).toBe(401)
    expect((await login(address, password)).status).toBe(429)
    elapsedMs = 61_000
    expect((await login(address, password)).status).toBe(200)
  })

  it('lets nobody try more by trying at once', async () => {
    const address = await withPassword()
    const answers = await Promise.all(Array.from({ length: 12 }, () => login(address, 'guess')))
    expect(answers.filter(({ status }) => status === 401)).toHaveLength(5)
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(7)
  })

  it('ends a session after a week', async () => {
    const address = await withPassword()
    const headers = { cookie: cookieOf(await login(address, password)).split(';')[0] ?? '' }
    elapsedMs = 6.9 * 86_400_000
    expect((await ask(`${address}/api/box`, { headers })).status).toBe(200)
    elapsedMs = 7.1 * 86_400_000
    expect((await ask(`${address}/api/box`, { headers })).status).toBe(401)
  })

  it('is kept as a hash, and a file that holds the password itself is refused', async () => {
    expect(await hashOf(password)).not.toBe(await hashOf(password))
    const file = join(data, 'password')
    await writeFile(file, password)
    await expect(serve({ passwordFile: file })).rejects.toThrow(/holds no hash of a password; write one with `pawl password`/)
    await expect(hashOf('short')).rejects.toMatchObject({ code: 'COMMAND_INVALID' })
  })

  it('goes over TLS with a certificate of its own, and its cookie over nothing else', async () => {
    const [cert, key, passwordFile] = [join(data, 'cert.pem'), join(data, 'key.pem'), join(data, 'password')]
    await promisify(execFile)('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert, '-days', '2', '-subj', '/CN=box-7'])
    await writeFile(passwordFile, await hashOf(password))
    const address = await serve({ passwordFile, tls: { cert, key } })
    expect(address).toMatch(/^https:/)
    const opened = await login(address, password)
    expect([opened.status, cookieOf(opened), opened.headers['strict-transport-security']]).toEqual([200, expect.stringMatching(/Secure/) as string, expect.any(String) as string])
  })
})

describe('what is asked of the page', () => {
  it('gives the frames that wait, their pictures, and takes labels and their undoing', async () => {
    const address = await serve()
    const jpeg = await sharp({ create: { width: 8, height: 8, channels: 3, background: '#888' } }).jpeg().toBuffer()
    await frames.add({ camera: 'belt', capturedAtMs: Date.now(), jpeg }, { reason: 'novel', worth: 1 })
    const queue = async () => JSON.parse((await ask(`${address}/api/queue?count=5`)).text) as { waiting: number; frames: { id: string }[] }
    const id = (await queue()).frames[0]?.id ?? ''
    const picture = await ask(`${address}/api/frames/${id}`)
    expect([picture.status, picture.headers['content-type']]).toEqual([200, 'image/jpeg'])
    const label = (name: string) => ask(`${address}/api/labels`, json({ frames: [{ id, label: name }] }))
    expect(JSON.parse((await label('a/b')).text)).toMatchObject([{ id, label: null, error: { code: 'COMMAND_INVALID' } }])
    expect(JSON.parse((await label('bag')).text)).toEqual([{ id, label: 'bag', error: null }])
    expect(JSON.parse((await label('bag')).text)).toMatchObject([{ error: { code: 'FRAME_GONE', message: expect.stringContaining('"bag"') as string } }])
    expect(await queue()).toEqual({ waiting: 0, frames: [] })
    // One that makes no sense keeps no other back.
    const odd = await ask(`${address}/api/labels/undo`, json({ frames: [{ id: `${id}\0`, label: 'bag' }, { id, label: 'bag' }] }))
    expect([odd.status, JSON.parse(odd.text)]).toMatchObject([200, [{ error: { code: 'FRAME_GONE' } }, { id, error: null }]])
    await label('bag')
    expect(JSON.parse((await ask(`${address}/api/classes`)).text)).toEqual([{ label: 'bag', images: 1 }])
    await ask(`${address}/api/labels/undo`, json({ frames: [{ id, label: 'bag' }] }))
    expect((await queue()).waiting).toBe(1)
  })

  it.each([
    ['labels', {}], ['labels', { frames: [] }], ['labels', { frames: [{ id: 1, label: 'a' }] }], ['labels', { frames: [{ id: 'x', label: 'a', more: 1 }] }], ['skipped', { ids: 'x' }], ['labels', 'text'],
    ['labels', { frames: Array.from({ length: 501 }, () => ({ id: 'x', label: 'a' })) }],
  ])('is refused with its reason where it makes no sense: %s', async (path, value) => {
    const { status, text: said } = await ask(`${await serve()}/api/${path}`, json(value))
    expect([status, JSON.parse(said)]).toEqual([400, { error: { code: 'COMMAND_INVALID', message: expect.any(String) as string } }])
  })

  it('is refused where it is too much, or no JSON', async () => {
    const address = await serve()
    expect((await ask(`${address}/api/labels`, { ...json(null), body: '{"frames": [' })).status).toBe(400)
    expect((await ask(`${address}/api/labels`, { ...json(null), body: ' '.repeat(21 * 2 ** 20) })).status).toBe(413)
  })

  it('never says more of a failure than people should read', async () => {
    const address = await serve()
    const failed = await ask(`${address}/api/commands/explode`, json({}))
    expect([failed.status, failed.text]).toEqual([500, expect.not.stringContaining('secret') as string])
    const unknown = await ask(`${address}/api/commands/reboot`, json({}))
    expect([unknown.status, JSON.parse(unknown.text)]).toMatchObject([422, { error: { code: 'COMMAND_INVALID' } }])
  })
})

describe('labels that come and go as folders', () => {
  it('come in by class, with a word for each that does not, and go out as one archive', async () => {
    const address = await serve()
    const image = await sharp({ create: { width: 8, height: 8, channels: 3, background: '#888' } }).png().toBuffer()
    const send = async (parts: [label: string, name: string, bytes: Uint8Array][]) => {
      const form = new FormData()
      for (const [label, name, bytes] of parts) form.append(label, new File([new Uint8Array(bytes)], name))
      const answer = await fetch(`${address}/api/labels/import`, { method: 'POST', body: form })
      return [answer.status, await answer.json() as unknown]
    }
    expect(await send([['bag', '1.png', image], ['Käse 🧀', '1.png', image], ['bag', '2.png', Buffer.from('no picture')], ['__proto__', '1.png', image], ['a/b', '1.png', image]])).toEqual([200, [
      { name: '1.png', error: null, there: false },
      { name: '2.png', error: { code: 'COMMAND_INVALID', message: expect.stringContaining('cannot be decoded') as string } },
      { name: '1.png', error: null, there: false },
      { name: '1.png', error: null, there: false },
      { name: '1.png', error: { code: 'COMMAND_INVALID', message: expect.stringContaining('slash') as string } },
    ]])
    expect(await send([['bag', '1.png', image]])).toEqual([200, [{ name: '1.png', error: null, there: true }]])
    expect(await send([])).toMatchObject([400, { error: { message: expect.stringContaining('name of its class') as string } }])
    const archive = await fetch(`${address}/api/labels.zip`)
    expect(archive.headers.get('content-disposition')).toBe('attachment; filename="labels-box-7.zip"')
    const entries = await unzipped(Buffer.from(await archive.arrayBuffer()))
    expect([...entries.keys()].sort()).toEqual(['labels/Käse 🧀/1.png', 'labels/__proto__/1.png', 'labels/bag/1.png'].sort())
    for (const bytes of entries.values()) expect(bytes.equals(image)).toBe(true)
  })
})

describe('who may ask', () => {
  it('is no other site, not even to look: pictures and queue make the box work', async () => {
    const address = await serve()
    const from = async (site: string, path: string) => (await ask(`${address}${path}`, { headers: { 'sec-fetch-site': site } })).status
    for (const path of ['/api/queue', '/api/labels.zip', '/api/live', '/api/box']) expect(await from('cross-site', path), path).toBe(403)
    expect([await from('same-origin', '/api/box'), await from('none', '/api/box'), await from('cross-site', '/')]).toEqual([200, 200, 200])
  })

  it('hears nothing more once the session is closed', async () => {
    const address = await withPassword()
    const headers = { cookie: cookieOf(await login(address, password)).split(';')[0] ?? '' }
    live.tell({ topic: 'health', value: 1 })
    const ended = new Promise<void>((resolve, reject) => {
      const asking = request(`${address}/api/live`, { headers }, answer => {
        answer.once('data', () => { void ask(`${address}/api/session`, { method: 'DELETE', headers }) })
        answer.once('close', resolve)
      })
      asking.on('error', reject)
      asking.end()
    })
    await ended
  })

  it('sends no more than a password before that is known', async () => {
    const address = await withPassword()
    expect((await ask(`${address}/api/session`, json({ password: 'x'.repeat(10_000) }))).status).toBe(413)
    expect((await ask(`${address}/api/labels`, json({ frames: 'x'.repeat(1_000_000) }))).status).toBe(401)
  })

  it('is told which file is missing where a certificate is, and no address is mistaken for this machine\'s', async () => {
    await expect(serve({ tls: { cert: join(data, 'gone.pem'), key: join(data, 'gone.pem') } })).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('gone.pem') as string })
    const file = join(data, 'password')
    await writeFile(file, await hashOf(password))
    await expect(serve({ address: '10.99.99.99', passwordFile: file })).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('10.99.99.99') as string })
    expect(new URL(await serve({ address: '::1' })).hostname).toBe('[::1]')
  })
})

describe('what is kept of rounds', () => {
  it('is told with its pictures, and as a report that loads nothing and runs nothing', async () => {
    const address = await serve()
    const records = new RoundRecords({ folder: join(data, 'records'), onProblem: message => { throw new Error(message) } })
    const image = join(data, 'wrong.png')
    await sharp({ create: { width: 300, height: 200, channels: 3, background: '#a11' } }).png().toFile(image)
    await writeFile(join(data, 'reconstruction.png'), await sharp(image).png().toBuffer())
    decisions = [decisionOf(3), decisionOf(4)]
    const { card, ...shown } = resultOf(image)
    await records.keep(3, { ...shown, card: { ...card, parent: { version: 2, sha256 }, start: 'words' } }, data)
    const get = async (path: string) => ask(`${address}/api/rounds/${path}`)
    expect(JSON.parse((await get('3')).text)).toMatchObject({ record: {
      classes: ['<b>bag</b>', 'coat'], confusion: [[1, 2], [0, 1]], reconstruction: 'reconstruction.png', losses: [{ step: 10 }, { step: 20 }],
      // The surest first; of an image that is gone there is no picture.
      mistakes: [{ label: '<b>bag</b>', predicted: 'coat', confidence: 0.9, picture: 'mistake-1.jpg' }, { label: '<b>bag</b>', predicted: 'coat', confidence: 0.7, picture: null }],
    } })
    expect(await get('3/mistake-1.jpg')).toMatchObject({ status: 200, headers: { 'content-type': 'image/jpeg' } })
    expect(await get('3/reconstruction.png')).toMatchObject({ status: 200, headers: { 'content-type': 'image/png' } })
    for (const path of ['3/record.json', '3/..%2f..%2fwrong.png', '3/mistake-2.jpg', '0', 'x', '-1', '9/report.html']) expect((await get(path)).status, path).toBe(404)
    expect(JSON.parse((await get('4')).text)).toEqual({ record: null })
    const report = await get('3/report.html')
    expect(report.headers['content-disposition']).toBe('attachment; filename="box-7-round-3.html"')
    expect(report.text).toContain('&lt;b>bag&lt;/b>')
    expect(report.text).toMatch(/Content-Security-Policy" content="default-src 'none'/)
    expect(report.text.match(/<img[^>]*src="data:image\/(png|jpeg);base64,[^"]{100,}"/g)).toHaveLength(2)
    expect(report.text).not.toMatch(/<script|(src|href)="(?!data:)/)
    expect((await get('4/report.html')).text).toContain('Nothing more is kept of this round.')
    expect(report.text).toContain('pawl, nano, from the words of model 2: 4 labels')
  })

  it('says what its training began with', () => {
    const parent = { version: 2, sha256 }
    expect((['champion', 'words', 'scratch', undefined] as const).map(start => startOf({ parent, start })))
      .toEqual(['from model 2', 'from the words of model 2', 'from scratch, after model 2', 'after model 2'])
    // A model from elsewhere has no parent here, whatever it began with.
    expect((['champion', 'words', 'scratch', undefined] as const).map(start => startOf({ parent: null, start })))
      .toEqual(['from a model of the box that made it', 'from the words of a model of the box that made it', 'from scratch', 'from scratch'])
  })

  it('goes when there are a hundred newer ones, and one that is damaged is told and passed over', async () => {
    const said: string[] = []
    const records = new RoundRecords({ folder: join(data, 'records'), onProblem: message => { said.push(message) } })
    for (let round = 1; round <= 103; round++) await records.keep(round, { ...resultOf('gone'), losses: [] }, data)
    expect(await Promise.all([1, 3, 4, 103].map(async round => (await records.read(round))?.round))).toEqual([undefined, undefined, 4, 103])
    await writeFile(join(data, 'records', '103', 'record.json'), '{"round": 103')
    expect([await records.read(103), said]).toEqual([null, [expect.stringContaining('record.json cannot be read') as string]])
    await records.keep(104, resultOf('gone'), join(data, 'nowhere'))
    expect((await records.read(104))?.reconstruction).toBeNull()
  })
})

describe('the log', () => {
  it('is told from the line on that was read last, all of it where the agent is another by now', async () => {
    const address = await serve()
    for (const line of ['one\n', 'two\n', 'three\n']) journal.write(line)
    const after = async (at: number) => (JSON.parse((await ask(`${address}/api/log?after=${String(at)}`)).text) as { text: string }[]).map(({ text: said }) => said)
    expect([await after(0), await after(2), await after(3), await after(99)]).toEqual([['one', 'two', 'three'], ['three'], [], ['one', 'two', 'three']])
    for (let line = 0; line < 600; line++) journal.write(String(line))
    expect(await after(0)).toHaveLength(500)
    expect((await ask(`${address}/api/log?after=x`)).status).toBe(400)
  })
})

describe('what the page hears', () => {
  it('is the newest of each topic at once, then what comes, the newest where it comes too fast', async () => {
    live.tell({ topic: 'health', value: 1 })
    live.tell({ topic: 'health', value: 2 })
    live.tell({ topic: 'info', value: 'x' })
    const ending = new AbortController()
    const heard = live.follow(ending.signal)
    expect((await heard.next()).value).toEqual({ topic: 'health', value: 2 })
    expect((await heard.next()).value).toEqual({ topic: 'info', value: 'x' })
    for (let value = 3; value < 1000; value++) live.tell({ topic: 'health', value })
    expect((await heard.next()).value).toEqual({ topic: 'health', value: 999 })
    const next = heard.next()
    live.tell({ topic: 'info', value: 'y' })
    expect((await next).value).toEqual({ topic: 'info', value: 'y' })
    const last = heard.next()
    ending.abort()
    expect((await last).done).toBe(true)
  })

  it('ends with the page, which stops at once though somebody listens', async () => {
    const address = await serve()
    live.tell({ topic: 'health', value: 1 })
    const first = await new Promise<string>((resolve, reject) => {
      const asking = request(`${address}/api/live`, answer => { answer.once('data', (bytes: Buffer) => { resolve(bytes.toString()) }) })
      asking.on('error', reject)
      asking.end()
    })
    expect(first).toBe('data: {"topic":"health","value":1}\n\n')
    const stop = cleanups.pop()
    const beganMs = performance.now()
    await stop?.()
    expect(performance.now() - beganMs).toBeLessThan(15_000)
  })
})

const sha256 = '0'.repeat(64)

function decisionOf(round: number): PromotionRecord {
  return {
    round, decidedAtMs: 1_764_000_000_000, promoted: false, reason: 'inconclusive', explanation: 'not proved', champion: 1, challenger: round,
    accuracyChampion: 0.5, accuracyChallenger: 0.5, comparison: null,
  }
}

/** Four images of the promotion split, two of them wrong; `path` is the file of the surest mistake. */
function resultOf(path: string): RoundResult {
  const one = { predicted: [0, 1, 1, 1], nll: [0, 1, 1, 0], confidence: [0.9, 0.7, 0.9, 0.8] }
  return {
    card: {
      format: 'pawl-model-card/1', createdAt: '2026-01-01T00:00:00Z', method: 'pawl', preset: 'nano', recipe: {}, seed: 1, classes: ['<b>bag</b>', 'coat'],
      parameters: 1, steps: 20, seconds: 1, imagesPerSecond: 1, backend: 'onnxruntime', device: 'cpu', temperature: 1, parent: null,
      data: { labeled: 4, unlabeled: 9, gate: 4, promotion: 4, quarantined: 0, sha256 },
      validation: { images: 4, correct: 2, accuracy: 0.5, interval: [0.2, 0.8], nll: 1, ece: 0.1 },
      pseudoLabels: { used: 3, gateOpenings: 1, lastThreshold: 0.9, precisionLowerBound: 0.9 },
      gate: [{ step: 10, open: true, threshold: 0.9, accepted: 3, correct: 3, precisionLowerBound: 0.9, vetoed: [], accuracy: 0.5 }],
      files: { 'model.onnx': sha256, 'weights.safetensors': sha256 },
    },
    evidence: { classes: ['<b>bag</b>', 'coat'], labels: [0, 0, 0, 1], scenes: ['a', 'b', 'c', 'd'], challenger: one, champion: one },
    paths: ['1', '2', path, '4'],
    losses: [{ step: 10, reconstruction: 1, labeled: 2, unlabeled: 0 }, { step: 20, reconstruction: 0.5, labeled: 1, unlabeled: 0.1 }],
    quarantined: [],
  }
}

/** The files of a ZIP by their paths. */
async function unzipped(bytes: Buffer): Promise<Map<string, Buffer>> {
  const zip = await promisify<Buffer, yauzl.Options, yauzl.ZipFile>(yauzl.fromBuffer)(bytes, { lazyEntries: true })
  const files = new Map<string, Buffer>()
  for await (const entry of zip.eachEntry()) files.set(entry.fileName, await buffer(await zip.openReadStreamPromise(entry)))
  return files
}
